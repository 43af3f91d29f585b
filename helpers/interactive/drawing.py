"""A canvas on which a reader draws a digit with mouse, pen or finger, and the digit as an input.

The drawing is stored as build/my_digit.npy, uint8 28 x 28, white on black as MNIST's images are.
"""

import base64
import binascii
import io
import uuid
import zipfile
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from helpers.data import mnist, normalize
from helpers.interactive.front_end import has_widgets
from helpers.paths import build_path, display_path, whole_file

SIDE = 28
SHOWN_TIMES = 5  # each pixel of the static picture is a square of this many pixels
HERE = Path(__file__).parent
DRAWING_JS = HERE / "drawing.js"


def my_digit() -> np.ndarray:
    """The digit that the reader drew in notebook 01, as the networks take it.

    float32 1 x 1 x 28 x 28, normalized. As long as nothing is drawn, it is the first test image,
    and a printed line says so. ValueError if the stored drawing is damaged.
    """
    pixels = drawn_pixels()
    if pixels is None:
        test_set = mnist("test")
        pixels = test_set.images[0]
        print(f"No digit is drawn yet (notebook 01): using a test image, a {test_set.labels[0]}.")
    return normalize(pixels[None])


def drawn_pixels() -> np.ndarray | None:
    """The drawing, uint8 28 x 28, or None. ValueError if its file is damaged."""
    path = drawing_path()
    if not path.exists():
        return None
    try:
        with path.open("rb") as file:
            pixels = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile):
        pixels = None
    if not isinstance(pixels, np.ndarray) or (pixels.dtype, pixels.shape) != ("u1", (SIDE, SIDE)):
        raise ValueError(
            f"{display_path(path)} is not a drawing of 28 x 28 pixels: delete it, "
            "and draw your digit again in notebook 01"
        )
    return pixels


def draw_digit() -> None:
    """Show a canvas. Each stroke stores the digit for `my_digit`; Clear deletes it.

    Without a front end that shows widgets, a picture of `my_digit` is shown instead.
    """
    if has_widgets():
        _show_canvas()
        return
    from IPython.display import Image, display

    pixels = drawn_pixels()
    if pixels is None:
        pixels = mnist("test").images[0]
        print("In JupyterLab, this is a canvas. Until you draw, a test image stands in:")
    label = "The digit that the following cells read"
    display(Image(_png(pixels), format="png", alt=label))


def _show_canvas() -> None:
    """The canvas, whose script writes the pixels into a hidden text field, and a line below it."""
    import ipywidgets
    from IPython.display import HTML, display

    name = f"my-digit-{uuid.uuid4().hex}"
    pixels = drawn_pixels()
    sent: Any = ipywidgets.Textarea(
        # as if it had just been drawn: so Clear is a change
        value="" if pixels is None else base64.b64encode(pixels.tobytes()).decode(),
        continuous_update=False,
        layout={"display": "none"},
    )
    sent.add_class(name)
    line: Any = ipywidgets.HTML(_stored_line(pixels))
    sent.observe(lambda change: _receive(change["new"], line), names="value")
    display(HTML(_page(name)))
    display(ipywidgets.VBox([sent, line]))


def _receive(text: str, line: Any) -> None:
    """Store what the canvas sent: 784 bytes in base64, or nothing after Clear."""
    try:
        pixels = _decoded(text)
    except ValueError as error:
        line.value = escape(str(error))
        return
    if pixels is None:
        drawing_path().unlink(missing_ok=True)
    else:
        with whole_file(drawing_path()) as part, part.open("wb") as file:
            np.save(file, pixels, allow_pickle=False)
    line.value = _stored_line(pixels)


def _decoded(text: str) -> np.ndarray | None:
    if not text:
        return None
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("The drawing did not arrive: draw it again.") from error
    if len(content) != SIDE * SIDE:
        raise ValueError("The drawing did not arrive: draw it again.")
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE)


def _stored_line(pixels: np.ndarray | None) -> str:
    if pixels is None:
        return "Nothing is drawn yet."
    picture = base64.b64encode(_png(pixels)).decode()
    return (
        f"Stored in {escape(display_path(drawing_path()))}. This is what the networks get:<br>"
        f'<img alt="Your digit, 28 x 28 pixels" src="data:image/png;base64,{picture}">'
    )


def _page(name: str) -> str:
    """The canvas as HTML with its scripts: it loads nothing from elsewhere."""
    scripts = "\n".join(
        path.read_text(encoding="utf-8") for path in (DRAWING_JS, HERE / "canvas.js")
    )
    page = (HERE / "canvas.html").read_text(encoding="utf-8")
    return page.replace("SCRIPTS", scripts).replace("MY_DIGIT", name)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    picture = Image.fromarray(np.kron(pixels, np.ones((SHOWN_TIMES, SHOWN_TIMES), np.uint8)))
    file = io.BytesIO()
    picture.save(file, format="png")
    return file.getvalue()


def drawing_path() -> Path:
    """Where the drawing is stored."""
    return build_path("my_digit.npy")
