"""The live picture in a notebook: view("usb:0") shows it with a button to start and stop it."""

import html
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from helpers.interactive import has_widgets
from helpers.vision import as_jpeg
from helpers.vision.camera import Latest, Source, open_source
from modelfiles.errors import WorkbookError
from workbook.live.defaults import network_for
from workbook.live.networks import open_step
from workbook.live.session import Session

MOST_FPS = 10  # a widget does not report what the browser took; so few pictures pass any network
WAIT_S = 0.5


def view(
    source: str = "scenes",
    model: Path | str | None = None,
    names: list[str] | None = None,
    threads: int = 1,
) -> "View | None":
    """Show the pictures of `source` with what `model` finds, and a button to start and stop.

    `source` is as for helpers.vision.camera.open_source. `names` are those of the classes. Without
    a front end that shows widgets, as when a notebook is executed unattended, one picture is shown
    and None is returned. The errors of open_source and of open_model.
    """
    path = Path(model) if model else network_for(source)
    step = open_step(path, names, threads)

    def opened() -> Source:
        return open_source(source)

    if not has_widgets():
        show_one(opened, step)
        return None
    return View(Session(opened, step))


def show_one(opened: Callable[[], Source], step: Callable) -> None:
    """Show one picture, and close the source."""
    from IPython.display import Image, display

    with Latest(opened()) as latest:
        frame = latest.take()
    if frame is None:
        raise ValueError("the source has no frame")
    display(Image(data=as_jpeg(step(frame.image)), format="jpeg", embed=True))


class View:
    """The picture, a button, and a line of figures. Running the cell again makes a new one."""

    def __init__(self, session: Session) -> None:
        import ipywidgets
        from IPython.display import display

        self.session = session
        self.picture: Any = ipywidgets.Image(format="jpeg", layout={"max_width": "100%"})
        self.button: Any = ipywidgets.ToggleButton(description="Start")
        self.line: Any = ipywidgets.HTML()
        self.button.observe(self._pressed, names="value")
        display(ipywidgets.VBox([self.button, self.picture, self.line]))

    def stop(self) -> None:
        """Stop, and close the source."""
        self.button.value = False

    def _pressed(self, change: dict) -> None:
        if not change["new"]:
            self.button.description = "Start"
            self.session.stop()
            return
        try:
            self.session.start()
        except (WorkbookError, ValueError, OSError) as error:
            self.button.value = False
            self.line.value = html.escape(str(error))
            return
        self.button.description = "Stop"
        Thread(target=self._show, name="pictures of the notebook", daemon=True).start()

    def _show(self) -> None:
        """Send the newest picture, at most MOST_FPS a second, until the session ends."""
        turn = 0
        while self.session.is_running:
            shown = self.session.newest.after(turn, WAIT_S)
            if shown is None:
                continue
            turn = shown.turn
            self.picture.value = shown.jpeg
            self.line.value = self._figures()
            time.sleep(1 / MOST_FPS)
        problem = self.session.state()["problem"]
        if problem:
            self.line.value = html.escape(problem)
            self.stop()

    def _figures(self) -> str:
        state = self.session.state()
        if state.get("fps") is None:
            return ""
        labels = ", ".join(f"{one['name']} {one['score']:.0%}" for one in state["labels"])
        return html.escape(
            f"{state['fps']} frames per second, {state['dropped']} dropped, light to result "
            f"{state['p50_ms']} ms (p90 {state['p90_ms']} ms). {labels}"
        )
