"""Shared code of the workbook: data -> model -> converted file -> runtime -> measurement -> record -> table and plot.

Each module is one step of that line and knows only the steps before it. Importing a module costs no heavy
runtime: torch, TensorFlow and the others are imported inside the functions that need them.
"""
