"""Collects, grades and returns lab submissions.

`python -m labs.grading`, run in the repository's root, lists the steps.

Points come from hidden checks, which call a student's functions in another process. All code of a
student runs in a jail (sandbox.sandbox). It contains neither checks nor expected values.

intake          from the zip of an LMS to a folder per student
sandbox         runs a student's code, and trusts nothing that comes from it
checks          what hidden.py is written with, and the checks of records
report          the gradebook, the pages for students, the overview
course          where the files of a course are, and the result of one submission
autograde       grades one submission, or all of a lab; dask_grading does it on many machines
preprocessor    the same as a step of nbgrader
release         the zip for participants
errors          what stops a command
"""
