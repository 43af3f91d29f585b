"""The workbook on a Raspberry Pi, through SSH.

commands    `workbook pi ACTION`: a function for each action, beside its help
"""
