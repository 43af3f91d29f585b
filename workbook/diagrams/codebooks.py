"""Pictures of notebook 04: a codebook for a weight matrix, and a Huffman tree for its indices."""

import heapq
from dataclasses import dataclass

import numpy as np

from workbook.diagrams.parts import brace, grid, number
from workbook.diagrams.picture import HUES, SMALL, Picture

WEIGHTS = np.array(
    [
        [-0.42, 0.09, 0.53, 0.02],
        [0.11, -0.38, -0.05, 0.47],
        [0.88, 0.05, -0.47, 0.12],
        [-0.02, 0.95, 0.49, -0.36],
    ]
)
FREQUENCIES = {3: 45, 4: 22, 2: 16, 5: 9, 1: 5, 6: 3}  # index: how often, of 100


def codebook() -> Picture:
    """Sixteen weights become sixteen indices and four shared values."""
    centres = lloyd(WEIGHTS.ravel(), 4)
    indices = nearest(WEIGHTS, centres)
    looks = [[HUES[index] for index in row] for row in indices]
    float_bits = 32 * WEIGHTS.size
    index_bits = 2 * WEIGHTS.size
    book_bits = 32 * len(centres)
    picture = Picture(
        "A weight matrix becomes indices and a codebook",
        "Weights that are close to each other share a value. The matrix keeps a 2-bit index per "
        f"weight, and the codebook the {len(centres)} values: "
        f"{index_bits} + {book_bits} bits instead of {float_bits}.",
        320,
    )
    texts = [[number(value, 2) for value in row] for row in WEIGHTS]
    picture.text(142, 28, "weights", "bold")
    grid(picture, 12, 52, texts, looks, 65, 44)
    picture.arrow((284, 140), (326, 140))
    picture.text(424, 28, "indices", "bold")
    grid(picture, 338, 52, indices, looks, 43, 44)
    picture.text(527, 140, "+")
    picture.text(610, 28, "codebook", "bold")
    for index, centre in enumerate(centres):
        y = 74 + 44 * index
        picture.text(554, y, str(index), "quiet", SMALL)
        picture.box(574, y - 22, 88, 44, HUES[index], corner=0)
        picture.text(618, y, number(centre, 2), size=SMALL)
    for x, text in ((142, f"16 × 32 = {float_bits} bits"), (424, f"16 × 2 = {index_bits} bits")):
        picture.text(x, 252, text, "quiet", SMALL)
    picture.text(606, 252, f"4 × 32 = {book_bits}", "quiet", SMALL)
    brace(picture, 338, 664, 270)
    picture.text(501, 296, f"{index_bits + book_bits} bits", "bold")
    return picture


def lloyd(values: np.ndarray, k: int) -> np.ndarray:
    """k centres of `values` by Lloyd's algorithm, from a linear start, in ascending order.

    >>> lloyd(np.array([0.0, 1.0, 8.0, 10.0]), 2)
    array([0.5, 9. ])
    """
    centres = np.linspace(values.min(), values.max(), k)
    for _ in range(20):
        indices = nearest(values, centres)
        centres = np.array([values[indices == index].mean() for index in range(k)])
    return centres


def nearest(values: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The index of the nearest centre for each value."""
    return np.abs(values[..., None] - centres).argmin(-1)


@dataclass(frozen=True)
class Node:
    """A node of a Huffman tree: a leaf has a symbol, any other node has two children."""

    weight: int
    symbol: int | None = None
    children: tuple["Node", ...] = ()


def huffman_tree(frequencies: dict[int, int]) -> Node:
    """The tree that joins the two rarest nodes until one is left."""
    queue = [
        (weight, order, Node(weight, symbol))
        for order, (symbol, weight) in enumerate(frequencies.items())
    ]
    heapq.heapify(queue)
    order = len(queue)
    while len(queue) > 1:
        rare = heapq.heappop(queue)
        other = heapq.heappop(queue)
        weight = rare[0] + other[0]
        # leaves to the left, so that short codes come first
        children = sorted((other[2], rare[2]), key=lambda node: node.symbol is None)
        heapq.heappush(queue, (weight, order, Node(weight, None, tuple(children))))
        order += 1
    return queue[0][2]


def codes(node: Node, prefix: str = "") -> dict[int, str]:
    """{symbol: code}: 0 for each step to the left, 1 for each step to the right.

    >>> codes(huffman_tree({7: 6, 8: 3, 9: 1}))
    {7: '0', 8: '10', 9: '11'}
    """
    if node.symbol is not None:
        return {node.symbol: prefix}
    found: dict[int, str] = {}
    for bit, child in enumerate(node.children):
        found |= codes(child, f"{prefix}{bit}")
    return found


def huffman() -> Picture:
    """The tree for six indices, their codes, and how many bits an index takes on average."""
    tree = huffman_tree(FREQUENCIES)
    found = codes(tree)
    mean = sum(FREQUENCIES[symbol] * len(code) for symbol, code in found.items()) / 100
    listed = ", ".join(f"{symbol} has {code}" for symbol, code in found.items())
    picture = Picture(
        "A Huffman tree: frequent indices have short codes",
        f"Six indices as leaves of a tree. Each step to the left is a 0, each to the right a 1: "
        f"{listed}. On average a code has {mean:.2f} bits instead of 3.",
        470,
    )
    columns = {symbol: 112.0 + 104 * place for place, symbol in enumerate(found)}
    _draw_node(picture, tree, columns, 0)
    for symbol, x in columns.items():
        _leaf(picture, x, symbol, found[symbol])
    for y, text in ((354, "index"), (384, "of 100"), (414, "code")):
        picture.text(8, y, text, "quiet", SMALL, anchor="start")
    picture.text(340, 450, f"{mean:.2f} bits on average instead of 3", "bold", SMALL)
    return picture


def _leaf(picture: Picture, x: float, symbol: int, code: str) -> None:
    picture.text(x, 354, str(symbol), "bold")
    picture.text(x, 384, str(FREQUENCIES[symbol]), size=SMALL)
    picture.text(x, 414, code, "bold", SMALL)


def _draw_node(picture: Picture, node: Node, columns: dict[int, float], depth: int) -> float:
    """Draw what is below `node`, then the node itself; its x."""
    y = 34 + 58 * depth
    if node.symbol is not None:
        x = columns[node.symbol]
        picture.line((x, y + 16), (x, 336), look="thin dashed")
        picture.circle(x, y, 16, "green")
        picture.text(x, y, str(node.symbol), size=SMALL)
        return x
    below = [_draw_node(picture, child, columns, depth + 1) for child in node.children]
    x = sum(below) / 2
    for bit, child_x in enumerate(below):
        side = -1 + 2 * bit
        picture.line((x + 21 * side, y), (child_x, y), (child_x, y + 40))
        picture.text(child_x + 14 * side, y + 16, str(bit), "quiet", SMALL)
    picture.circle(x, y, 21, "plain")
    picture.text(x, y, str(node.weight), size=SMALL)
    return x
