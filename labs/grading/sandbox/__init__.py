"""Runs a student's code, and trusts nothing that comes from it.

    errors           what goes wrong: the submission's fault, or the grader's
    sandbox          the jail that bubblewrap builds; seccomp is its filter of system calls
    limits           what a submission may use, and the watch over it
    staging          the copy of a submission that the jail shows
    worker_client    the grader's side: asks a worker for the results of a student's functions
    messages         what crosses the pipe between them
    notebook_run     the grader's side: the whole notebook, executed for its feedback page

These run inside the jail: worker, notebook_loader, statement_names, module_settings,
worker_notebook, outputs, messages.
"""
