"""Pictures of notebook 00: two networks, a kernel, and the way from the laptop to the Pi."""

import math

import numpy as np

from workbook.diagrams.parts import file, grid, number, sheets
from workbook.diagrams.picture import SMALL, Picture

ROW = 62


def network() -> Picture:
    """MnistNet and LeNet, layer by layer, with the shapes that leave each layer."""
    from helpers.metrics import count_parameters
    from helpers.models import LeNet, MnistNet

    networks = {"MnistNet": MnistNet(), "LeNet": LeNet()}
    rows = {name: stages(model) for name, model in networks.items()}
    deepest = max(map(len, rows.values()))
    described = "; ".join(
        f"{name}: {', '.join(f'{operation} gives {shape_text(shape)}' for operation, shape in row)}"
        for name, row in rows.items()
    )
    height = ROW * deepest + 104
    picture = Picture("MnistNet and LeNet as blocks", f"{described}.", height)
    for left, (name, model) in zip((0, 340), networks.items()):
        picture.text(left + 170, 28, name, "bold")
        _column(picture, left, rows[name])
        total = f"{count_parameters(model):,} parameters"
        picture.text(left + 170, height - 24, total, "quiet", SMALL)
    picture.line((340, 20), (340, height - 20), look="thin")
    return picture


def _column(picture: Picture, left: int, rows: list[tuple[str, tuple[int, ...]]]) -> None:
    """The layers of one network below each other; `left` is the left edge of the column."""
    x = left + 58
    bottom = 0.0
    for row, (operation, shape) in enumerate(rows):
        y = 80 + ROW * row
        half = _draw_shape(picture, x, y, shape)
        if row:
            picture.arrow((x, bottom + 1), (x, y - half - 1))
        bottom = y + half
        picture.text(left + 118, y - 11, operation, "bold", SMALL, anchor="start")
        picture.text(left + 118, y + 12, shape_text(shape), "quiet", SMALL, anchor="start")


def _draw_shape(picture: Picture, x: float, y: float, shape: tuple[int, ...]) -> float:
    """Feature maps as squares, a vector as a bar; half of the height that it takes."""
    if len(shape) == 3:
        count = 1 + int(math.log2(shape[0])) * 2 // 3
        side = 1.1 * shape[1]
        sheets(picture, x, y, side, count, "blue")
        return side / 2 + 1.5 * (count - 1)
    length = 22 * math.log10(shape[0])
    picture.box(x - length / 2, y - 6, length, 12, "green", corner=2)
    return 6


def stages(model) -> list[tuple[str, tuple[int, ...]]]:
    """[(operation, shape of its output for one image)], from the image to the logits.

    Layers that keep the shape and compute no product (ReLU, dropout) are skipped.
    """
    import torch
    from torch import nn

    x = torch.zeros(1, 1, 28, 28)
    found = [("image", tuple(x.shape[1:]))]
    with torch.no_grad():
        for layer in model.eval():
            x = layer(x)
            if isinstance(layer, nn.Conv2d):
                operation = "convolution {}×{}".format(*layer.kernel_size)
            elif isinstance(layer, nn.MaxPool2d):
                operation = f"max pooling {layer.kernel_size}×{layer.kernel_size}"
            elif isinstance(layer, nn.Flatten):
                operation = "flatten"
            elif isinstance(layer, nn.Linear):
                operation = "dense"
            else:
                continue
            found.append((operation, tuple(x.shape[1:])))
    return found


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape in words.

    >>> shape_text((64, 12, 12)), shape_text((9216,))
    ('64 maps of 12×12', '9,216 values')
    """
    if len(shape) == 1:
        return f"{shape[0]:,} values"
    maps = f"{shape[0]} maps" if shape[0] > 1 else "1 map"
    return f"{maps} of {shape[1]}×{shape[2]}"


def kernel() -> Picture:
    """A 3 x 3 kernel at one place of a padded image, and the output that it makes."""
    image: np.ndarray = np.zeros((5, 5), int)
    image[:, 2:4] = 1
    weights = np.array([[-1, 0, 1]] * 3)
    padded = np.pad(image, 1)
    output = convolved(padded, weights)
    place = (1, 1)  # row and column of the output
    window = padded[place[0] : place[0] + 3, place[1] : place[1] + 3]
    products = [
        f"{number(a)}·{number(w)}" for a, w in zip(window.ravel(), weights.ravel()) if a * w
    ]
    total = f"{' + '.join(products)} = {output[place]}"
    picture = Picture(
        "A kernel slides over a padded image",
        "A 5×5 image with a border of zeros, a 3×3 kernel, and the 5×5 output. At the marked "
        f"place, the products of window and kernel have the sum {output[place]}.",
        384,
    )
    cell = 36
    inner = [["plain"] * 7] + [["plain", *["blue"] * 5, "plain"]] * 5 + [["plain"] * 7]
    grid(picture, 12, 56, padded, inner, cell)
    corner = (12 + cell * place[1], 56 + cell * place[0])
    picture.box(corner[0] + cell, corner[1], 3 * cell, 3 * cell, "violet-line dashed", corner=0)
    picture.box(*corner, 3 * cell, 3 * cell, "orange-line thick", corner=0)
    middle = corner[0] + 1.5 * cell
    picture.arrow((middle, 38), (middle + cell, 38))
    picture.text(middle + cell + 10, 38, "stride 1", "quiet", SMALL, anchor="start")

    picture.text(292, 182, "\N{ASTERISK OPERATOR}", size=26)
    grid(picture, 320, 128, [map(number, row) for row in weights], [["orange"] * 3] * 3, cell)
    picture.text(456, 182, "=", size=26)
    looks = [["green"] * 5 for _ in range(5)]
    grid(picture, 484, 92, [map(number, row) for row in output], looks, cell)
    left = 484 + cell * place[1]
    picture.box(left, 92 + cell * place[0], cell, cell, "orange-line thick", corner=0)

    picture.lines(138, 330, "image 5×5,", "padded with zeros", look="quiet")
    picture.lines(374, 256, "kernel 3×3", look="quiet")
    picture.lines(574, 292, "output 5×5", look="quiet")
    picture.text(476, 342, f"here: {total}")
    return picture


def convolved(padded: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The sum of products at each place where the kernel fits; H x W integers.

    >>> convolved(np.eye(3, dtype=int), np.eye(2, dtype=int))
    array([[2, 0],
           [0, 2]])
    """
    windows = np.lib.stride_tricks.sliding_window_view(padded, weights.shape)
    return np.einsum("ijkl,kl->ij", windows, weights)


def laptop_to_pi() -> Picture:
    """What happens on the laptop, what on the Pi, and what travels between them."""
    picture = Picture(
        "From the laptop to the Pi and back",
        "The laptop trains, exports and quantizes. Model files go to the Pi, which runs and "
        "measures them. Records of the measurements come back to the laptop.",
        300,
    )
    picture.text(140, 28, "laptop", "bold")
    picture.box(30, 50, 220, 200, "empty", corner=10)
    picture.path([(30, 256), (250, 256), (272, 282), (8, 282), (30, 256)], "plain")
    for row, step in enumerate(("train", "export", "quantize")):
        y = 64 + 62 * row
        picture.block(60, y, 160, 44, step, look="blue")
        if row:
            picture.arrow((140, y - 18), (140, y))

    picture.text(550, 28, "Raspberry Pi", "bold")
    picture.box(440, 50, 220, 200, "empty", corner=16)
    for x in (456, 644):
        for y in (66, 234):
            picture.circle(x, y, 6, "empty")
    for row, step in enumerate(("run", "measure")):
        y = 84 + 76 * row
        picture.block(475, y, 150, 52, step, look="green")
        if row:
            picture.arrow((550, y - 24), (550, y))

    picture.arrow((262, 136), (430, 136))
    file(picture, 300, 50, 86, 70, ".tflite", "orange")
    picture.text(346, 158, "model files", "quiet", SMALL)
    picture.arrow((430, 206), (262, 206))
    picture.text(346, 228, "records", "quiet", SMALL)
    return picture
