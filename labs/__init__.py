"""Homework: source/ holds the labs with their answers (keep it private), grading/ the grader. See README.md."""
