"""A canvas for the website: one draws a digit, and the int8 LeNet of notebook 05b classifies it.

The inference is in network.js, which students read as well. drawing.js, which the notebooks use as
well, turns strokes into an input like MNIST's: it is in helpers.interactive. page.js shows
everything, and style.css has the layout and the colours.

assets       writes the files that a page needs, and the HTML to embed
parameters   the integers of the network, as network.js reads them
lenet        reads them from an .onnx or .tflite file
"""

from workbook.digit.assets import fragment, write_assets

__all__ = ["fragment", "write_assets"]
