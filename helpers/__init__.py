"""Shared code of the workbook, from the data to the plots.

The steps are data -> model -> converted file -> runtime -> measurement -> record -> table and plot.
Each module is one step. None imports a later one; only training takes its accuracy from metrics.
models, training and convert need torch. All others can be imported on a Pi without
torch; they load a runtime inside the function that needs it.
"""
