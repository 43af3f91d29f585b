"""What runs on the Pi. Standard library only; the syntax is that of Python 3.7.

answers      answers the laptop's requests, one line each
files        which files the Pi needs, and which to bring back
evaluations  starts `workbook evaluate` there for files that the laptop sent
live         starts `workbook live` there, which ends with the connection
jobs         processes that outlive the connection: the set-up, a notebook, JupyterLab

The laptop sends these modules as text, so they work before anything is installed there.
"""
