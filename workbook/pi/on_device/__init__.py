"""What runs on the Pi. Standard library only; the syntax is that of Python 3.7.

answers      answers the laptop's requests, one line each
files        which files the Pi needs, and which to bring back
evaluations  starts `workbook evaluate` there for files that the laptop sent
live         starts `workbook live` there, which ends with the connection
jobs         processes that outlive the connection: the set-up, a notebook, JupyterLab
notebooks    the job that runs a notebook, in the environment: it alone needs more than Python

The laptop sends the others as text, so they work before anything is installed there.
"""
