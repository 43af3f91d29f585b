"""The command `workbook COMMAND`, or `python -m workbook COMMAND`.

cli          the command line; each command imports its modules when it is called
book         runs the notebooks
pages        exports them as HTML pages
doctor       checks this machine, with advice
free_memory  how much memory is free, for the doctor
pi           the commands of `workbook pi`
cpp_build    builds the C++ programs of cpp/
"""
