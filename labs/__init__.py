"""Homework: source/ has the labs and their answers (keep it private), grading/ the grader."""
