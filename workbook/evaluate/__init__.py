"""`workbook evaluate MODEL DATA`: one model in several runtimes, checked and raced.

command     the command's options, and what happens in which order
runtimes    the names of the runtimes, and their files
examples    reads DATA: an .npz file, or a folder of images by class
network     reads MODEL: a model file, or a PyTorch class with its weights
candidates  the files that are raced, and the conversions that they need
quality     accuracy or error of a file's answers
race        times all candidates in turns and stores the records
rows        the table: a row for each candidate
budget      which file meets limits of time, size and quality
"""
