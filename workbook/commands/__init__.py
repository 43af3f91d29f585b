"""Small commands, each a function next to its help.

train      `workbook train`: train a network of the book
convert    `workbook convert`: write a model file for another runtime; --matrix tries every arrow
accuracy   `workbook accuracy`: the accuracy of one file, in two lines
timers     `workbook timers`: one file by our timer and by the one of its runtime's authors
networks   `workbook networks`: the networks of the measurement table, and published figures
table_rows the rows of that table
claims     two published claims, judged by arithmetic
matrix     the conversion matrix: tries every arrow with a small network
arrows     the arrows of the matrix
"""
