"""Collects, grades and returns lab submissions.

`python -m labs.grading`, run in the repository's root, lists the steps.

Points come from hidden checks that call a student's functions across a process boundary (api.py).
All code of a student runs in a jail (sandbox.sandbox) that sees neither checks nor expected values.
"""
