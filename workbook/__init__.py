"""What people type: `workbook COMMAND`, or `python -m workbook COMMAND`.

cli          the command line; each command imports what serves it when it is called
book         runs the notebooks
pages        makes pages of them
doctor       checks this machine and says what to do
free_memory  how much memory is free, for the doctor
pi           what `workbook pi` does
cpp_build    builds the C++ programs of cpp/
"""
