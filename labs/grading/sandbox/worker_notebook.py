"""Executes a notebook inside the jail, for its feedback page.

    python -I worker_notebook.py NOTEBOOK LIMITS SECONDS

The executed notebook goes to standard output as JSON. No points depend on it.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import outputs
import worker

MAX_ALL_TEXT = 4_000_000  # characters that all cells together may show
MAX_ALL_PICTURES = 12_000_000
END = 5_000  # characters of a long output's end that are shown, too


def main(notebook: str, limits: dict, seconds: float) -> None:
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    worker.copy_submission()
    cuts: dict[int, Cut] = {}
    room = {"text": MAX_ALL_TEXT, "pictures": MAX_ALL_PICTURES}
    sys.modules["rfc3987_syntax"] = None  # as in __main__.py
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    class Client(NotebookClient):
        """Keeps a limited amount of output: a loop that prints must not fill the memory."""

        def output(self, outs, message, display_id, cell_index):
            cut = cuts.setdefault(cell_index, Cut())
            if not cut.shorten(message["msg_type"], message["content"], room):
                return None
            return super().output(outs, message, display_id, cell_index)

    os.environ.pop("MPLBACKEND", None)  # the kernel chooses the one that shows plots
    worker.hide()
    worker.restrict(limits)
    book = nbformat.read(notebook, as_version=4)
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book.metadata["kernelspec"] = python
    manager = AsyncKernelManager(
        kernel_name="python3",
        transport="ipc",
        connection_file=os.path.abspath(f"{os.environ['HOME']}/kernel.json"),
    )
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.outputs = []  # these are the student's own
            cell.execution_count = None
    ends = time.monotonic() + seconds
    running = []
    client = Client(
        book,
        km=manager,
        allow_errors=True,
        record_timing=False,
        startup_timeout=max(60, int(seconds)),  # many notebooks may be graded at once
        timeout_func=lambda cell: max(ends - time.monotonic(), 0.5),  # 0 would mean for ever
        on_cell_execute=lambda cell, cell_index: running.append(cell),
    )
    try:
        client.execute()
    except (CellTimeoutError, DeadKernelError) as error:
        reason = "this cell ended the kernel"
        if isinstance(error, CellTimeoutError):
            reason = f"the notebook took more than {seconds:.0f} s"
        text = f"Stopped here: {reason}. The cells below were not run.\n"
        running[-1].outputs.insert(0, nbformat.v4.new_output("stream", name="stderr", text=text))
    for number, cut in cuts.items():
        if cut.count:
            book.cells[number].outputs.append(nbformat.v4.new_output("stream", text=cut.note()))
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(nbformat.writes(book))


class Cut:
    """The part of one cell's output that is not kept."""

    def __init__(self):
        self.count = 0
        self.end = ""
        self._room = outputs.MAX_TEXT

    def shorten(self, kind: str, content: dict, room: dict[str, int]) -> bool:
        """Shorten the message `content` in place to what is kept of it; whether that is anything.

        room: what all cells together have left; what is kept is subtracted.
        """
        if kind == "error":
            lines = outputs.clipped("\n".join(content["traceback"]), 20_000)
            content["traceback"] = lines.split("\n")
            room["text"] = max(0, room["text"] - len(lines))
            return room["text"] > 0
        if kind == "stream":
            text = content["text"]
            size = len(text[: min(self._room, room["text"])])
            content["text"] = text[:size]
            rest = text[size:]
            self.count += len(rest)
            self.end = (self.end + rest)[-END:]
        else:
            data = outputs.essential(content.get("data", {}))
            content["data"] = data
            size = sum(map(len, data.values()))
            if len(data) > 1:  # a picture
                if size > room["pictures"]:
                    self.count += size
                    return False
                room["pictures"] -= size
                return True
            if size > min(self._room, room["text"]):
                self.count += size
                return False
        self._room -= size
        room["text"] -= size
        return size > 0

    def note(self) -> str:
        return f"\n{outputs.not_shown(self.count)}\n{self.end}"


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]))
