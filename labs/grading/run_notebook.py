"""Executes a notebook inside the jail, for its feedback page: `python -I run_notebook.py NOTEBOOK LIMITS SECONDS`.

The executed notebook goes to standard output as JSON. No points depend on it.
"""

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import inside

MAX_OUTPUT = 100_000  # characters that one cell may show


def main(notebook: str, limits: dict, seconds: float) -> None:
    answer = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    inside.copy_submission()
    sys.modules["rfc3987_syntax"] = None  # as in __main__.py
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    class Client(NotebookClient):
        """Takes only so much output of a cell: a loop that prints must not fill the memory."""

        def output(self, outs, message, display_id, cell_index):
            self.taken = getattr(self, "taken", {})
            size = len(json.dumps(message["content"]))
            image = "image/png" in message["content"].get("data", {}) and size < 2_000_000
            self.taken[cell_index] = self.taken.get(cell_index, 0) + (0 if image else size)
            if self.taken[cell_index] <= MAX_OUTPUT:
                return super().output(outs, message, display_id, cell_index)
            return None

    inside.hide()
    inside.restrict(limits)
    book = nbformat.read(notebook, as_version=4)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    manager = AsyncKernelManager(kernel_name="python3", transport="ipc", connection_file=os.path.abspath(f"{os.environ['HOME']}/kernel.json"))
    ends, running = time.monotonic() + seconds, []
    client = Client(book, km=manager, allow_errors=True, record_timing=False,
                    timeout_func=lambda cell: max(ends - time.monotonic(), 0.5),  # 0 would mean for ever
                    on_cell_execute=lambda cell, cell_index: running.append(cell))
    try:
        client.execute()
    except (CellTimeoutError, DeadKernelError) as error:
        reason = f"the notebook took more than {seconds:.0f} s" if isinstance(error, CellTimeoutError) else "this cell ended the kernel"
        text = f"Stopped here: {reason}. The cells below were not run.\n"
        running[-1].outputs.insert(0, nbformat.v4.new_output("stream", name="stderr", text=text))
    with os.fdopen(answer, "w", encoding="utf-8") as file:
        file.write(nbformat.writes(book))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), float(sys.argv[3]))
