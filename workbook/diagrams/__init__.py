"""The diagrams of the book: SVG files in notebooks/figures, drawn by code.

`write_all()` writes them, `workbook book diagrams` calls it.

picture    boxes, lines, arrows, text, and the colours of light and dark pages
parts      grids of cells, number lines, braces, files
networks   a network as blocks, a kernel, laptop and Pi
training   the training loop, one network's files, measuring in rounds
codebooks  a codebook, a Huffman tree
grids      the affine ruler, grids per tensor, ranges
integers   the four terms of a product, an int8 layer, SDOT
files      QDQ, three steps to a file, a decision, fake quantization
machines   the roofline
detectors  a cell and its box, overlaps, suppression, letterboxing
live       the newest frame of a camera
float_layers  one outlier and the grid, the search for layers in float
catalog    the file name of each picture
"""

from workbook.diagrams.catalog import DIAGRAMS, write_all

__all__ = ["DIAGRAMS", "write_all"]
