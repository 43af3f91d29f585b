"""The command `workbook COMMAND`, or `python -m workbook COMMAND`.

cli          the command line; each command imports its modules when it is called
arguments    its parser of arguments, and checks that commands share
book           executes a notebook in a fresh kernel
book_run       `make workbook`: runs what has changed, two notebooks at a time
book_progress  its progress line
turns          lets cells that measure time run alone
fingerprint    what the outputs of a notebook depend on
diagrams       draws the SVG files of notebooks/figures
site           the website of the executed notebooks, and the PDF
digit          the website's canvas for digits, and int8 inference in JavaScript
doctor         checks this machine, with advice
packages       the packages, and whether each can be imported
free_memory    how much memory is free, for the doctor
evaluate       `workbook evaluate`: a model in several runtimes
live           `workbook live`: a camera's picture with labels, on a page
commands       small commands: train, convert, accuracy, timers
pi             the commands of `workbook pi`
cpp_build      builds the C++ programs of cpp/
"""
