"""Shared code of the workbook: data -> model -> converted file -> runtime -> measurement -> record -> table and plot.

Each module is one step of that line, and none looks back. models, training, convert and conversion need torch; all others
import on a Pi, which has none, and load a runtime inside the function that needs it.
"""
