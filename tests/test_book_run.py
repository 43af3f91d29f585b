"""`make workbook`: what it runs, at the same time as what, and what a failure leaves."""

import asyncio
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest

from helpers.paths import ROOT, build_path
from modelfiles.errors import WorkbookError
from workbook import book, book_run, fingerprint
from workbook.book_progress import Progress
from workbook.turns import Turns

# each cell notes when it began and ended
NOTE = """
import json, pathlib, time
def note(event):
    with open({log!r}, "a") as file:
        file.write(json.dumps([event, time.monotonic()]) + chr(10))
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A book of toy notebooks: `toy(name, *sources)` writes one; its site is a list of builds."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(book, "HERE", folder)
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setattr(book_run.site, "build", lambda: None)

    def write(name, *sources, alone=(), runs_on=(), seconds=None):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        for i in alone:
            cells[i].metadata["tags"] = ["measures-time"]
        for i in runs_on:
            cells[i].metadata["tags"] = ["runs-on"]
        cells.insert(0, nbformat.v4.new_markdown_cell(f"# {name}"))
        notebook = nbformat.v4.new_notebook(cells=cells)
        if seconds:
            notebook.metadata["workbook"] = {"seconds": seconds}
        for i, cell in enumerate(notebook.cells):
            cell["id"] = f"cell{i}"
        nbformat.write(notebook, folder / f"{name}.ipynb")

    return write


def printed(name: str) -> list[str]:
    """What the code cells of the executed copy printed."""
    executed = nbformat.read(build_path("notebooks", f"{name}.ipynb"), 4)
    return [
        "".join(output.get("text", "") for output in cell.outputs)
        for cell in executed.cells
        if cell.cell_type == "code"
    ]


def about(name: str) -> dict:
    return nbformat.read(build_path("notebooks", f"{name}.ipynb"), 4).metadata["workbook"]


def test_a_second_run_redoes_only_what_changed_and_says_so(toy, capsys):
    toy("01_a", "import time; print(time.monotonic())")
    toy("02_b", "import time; print(time.monotonic())")
    book_run.run([])
    first = printed("01_a"), printed("02_b")
    assert capsys.readouterr().out.count("(it has not run yet)") == 2

    toy("02_b", "import time; print(time.monotonic(), 'changed')")
    book_run.run([])
    said = capsys.readouterr().out
    assert re.search(r"01_a +unchanged since its last run", said)
    assert re.search(r"02_b .* ok +\(its code\)", said)
    assert printed("01_a") == first[0]
    assert printed("02_b") != first[1]


def test_a_new_sentence_needs_no_run(toy, capsys):
    toy("01_a", "import time; print(time.monotonic())")
    book_run.run([])
    before = printed("01_a")
    notebook = nbformat.read(book.HERE / "01_a.ipynb", 4)
    notebook.cells[0].source = "# Another title"
    nbformat.write(notebook, book.HERE / "01_a.ipynb")
    book_run.run([])
    assert "unchanged" in capsys.readouterr().out
    assert printed("01_a") == before
    executed = nbformat.read(build_path("notebooks", "01_a.ipynb"), 4)
    assert executed.cells[0].source == "# Another title"


def test_a_failure_leaves_the_others_and_names_its_cell(toy, capsys):
    toy("01_bad", "print('before')", "1 / 0", "print('after')")
    toy("02_good", "print('fine')")
    with pytest.raises(WorkbookError, match="01_bad.ipynb, code cell 2 of 3:\n1 / 0"):
        book_run.run([])
    said = capsys.readouterr().out
    assert re.search("01_bad .* FAILED", said) and re.search("02_good .* ok", said)
    assert printed("01_bad") == ["before\n", "", ""] and printed("02_good") == ["fine\n"]
    sentence = "01_bad.ipynb, code cell 2 of 3: ZeroDivisionError: division by zero"
    assert about("01_bad")["failed"] == sentence and "failed" not in about("02_good")
    with pytest.raises(WorkbookError):
        book_run.run([])
    said = capsys.readouterr().out
    assert "(it failed)" in said and re.search("02_good +unchanged", said)


def test_two_run_at_a_time_and_cells_that_measure_run_alone(toy, tmp_path):
    log = tmp_path / "log.jsonl"
    cell = "note('{0} begins'); time.sleep(0.3); note('{0} ends')"
    for letter in "abc":
        ordinary, measuring = cell.format(letter), cell.format(letter.upper())
        toy(
            f"0{'abc'.index(letter)}_{letter}",
            NOTE.format(log=str(log)),
            ordinary,
            measuring,
            alone=[2],
        )
    book_run.run([])
    running: set[str] = set()
    together = set()
    for line in log.read_text().splitlines():
        name, what = json.loads(line)[0].split()
        if what == "begins":
            running.add(name)
        together.add("".join(sorted(running)))
        if what == "ends":
            running.remove(name)
    measuring = [
        names for names in together if names.upper() != names.lower() and names != names.lower()
    ]
    assert sorted(measuring) == ["A", "B", "C"], "each without any other"
    assert any(len(names) == 2 for names in together)
    assert max(map(len, together)) == 2


def test_the_longest_begin_first(toy, tmp_path):
    log = tmp_path / "log.jsonl"
    for name, seconds in (("00_a", 10), ("01_b", 30), ("02_c", 5), ("03_d", 20)):
        toy(name, NOTE.format(log=str(log)), f"note({name!r}); time.sleep(1)", seconds=seconds)
    book_run.run([])
    order = [json.loads(line)[0] for line in log.read_text().splitlines()]
    assert set(order[:2]) == {"01_b", "03_d"} and set(order[2:]) == {"00_a", "02_c"}


def test_nothing_is_measured_while_a_process_runs_on(toy, tmp_path):
    log = tmp_path / "log.jsonl"
    note = NOTE.format(log=str(log))
    background = ["note('begins')", *["time.sleep(0.1)"] * 8, "note('ends')"]
    toy("00_a", note, *background, runs_on=range(1, 10), seconds=2)
    toy("01_b", note, *["note('measures'); time.sleep(0.1)"] * 16, alone=range(1, 17), seconds=1)
    toy("02_c", note, "note('measures later')", alone=[1], seconds=0.5)
    book_run.run([])
    events = [json.loads(line)[0] for line in log.read_text().splitlines()]
    # who measures beside it has done so before it begins, and does not wait for it
    assert events[:16] == ["measures"] * 16
    assert events[16:] == ["begins", "ends", "measures later"]


def test_notebooks_wait_until_the_one_that_trains_has_saved(toy, tmp_path):
    saved = tmp_path / "saved"
    ended = tmp_path / "ended"
    toy(
        "01_train",
        f"import time, pathlib\ntime.sleep(0.5); pathlib.Path({str(saved)!r}).touch()\n"
        'if False: training.save("lenet", None, None)',
        # ends only after 02_use has looked, so 02_use must not wait for it
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "while not seen.exists(): time.sleep(0.05)\n"
        f"pathlib.Path({str(ended)!r}).touch()",
    )
    toy(
        "02_use",
        f"import pathlib; print(pathlib.Path({str(saved)!r}).exists(), "
        f"pathlib.Path({str(ended)!r}).exists())\n"
        f'pathlib.Path({str(tmp_path / "seen")!r}).touch(); name = "lenet"',
    )
    book_run.run([])
    assert printed("02_use") == ["True False\n"]


def test_what_is_stored_about_a_run(toy):
    toy("01_a", "x = 1")
    book_run.run(["01_a"])
    kept = about("01_a")
    assert kept["seconds"] > 0 and kept["versions"]["python"].startswith("3.")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", kept["executed"])
    with pytest.raises(WorkbookError, match="no notebook is called 77_x; there are 01_a"):
        book_run.run(["77_x"])


INTERRUPTED = """
import sys
from pathlib import Path
from workbook import book, book_run
book.HERE = Path(sys.argv[1])
book_run.site.build = lambda: None
book_run.run([])
"""


def test_ctrl_c_leaves_no_kernel_and_the_next_run_goes_on(toy, tmp_path, capsys):
    pids = tmp_path / "pids"
    toy("01_a", "print('fine')")
    slow = f"import os, time\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(60)"
    toy("02_slow", slow)
    toy("03_slow", slow)
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(book.HERE)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(1200):
        if pids.exists() and len(pids.read_text().split()) == 2:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
    for pid in pids.read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)
    toy("02_slow", "print(2)")
    toy("03_slow", "print(3)")
    book_run.run([])
    said = capsys.readouterr().out
    assert re.search("01_a +unchanged", said) and "03_slow" in said


def test_the_fingerprint_names_what_changed(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("from helpers import timing\nnet = trained('lenet')")]
    )
    before = fingerprint.fingerprint("01_a", notebook)
    assert "helpers/timing.py" in before and "helpers/plots.py" not in before
    assert fingerprint.changes(before, fingerprint.fingerprint("01_a", notebook)) == []
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models/lenet.pt").write_bytes(b"weights")
    (tmp_path / "models/other.pt").write_bytes(b"weights")
    monkeypatch.setenv("WORKBOOK_OFFLINE", "another")
    now = fingerprint.fingerprint("01_a", notebook)
    assert fingerprint.changes(before, now) == ["the network lenet", "the settings"]
    (tmp_path / "my_digit.npy").write_bytes(b"a drawing")
    assert fingerprint.changes(now, fingerprint.fingerprint("01_a", notebook)) == []
    notebook.cells[0].source += "\nread(my_digit())"
    assert "the drawn digit" in fingerprint.fingerprint("01_a", notebook)


def test_what_modules_use_is_followed():
    names = {
        path.relative_to(ROOT).as_posix()
        for path in fingerprint.modules(["from helpers.runtimes import open_model"])
    }
    assert {"helpers/__init__.py", "helpers/runtimes.py", "modelfiles/runtimes/opening.py"} <= names
    assert "helpers/training.py" not in names


def test_one_that_waits_to_be_alone_comes_before_later_ones():
    order = []

    async def run():
        turns = Turns()
        first_may_end = asyncio.Event()

        async def task(name, alone, until=None):
            async with turns.turn(alone):
                order.append(name)
                if until:
                    await until.wait()

        first = asyncio.create_task(task("first", False, first_may_end))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        measuring = asyncio.create_task(task("measuring", True))
        await asyncio.sleep(0.01)
        later = asyncio.create_task(task("later", False))
        await asyncio.sleep(0.01)
        assert order == ["first"]
        first_may_end.set()
        await asyncio.gather(first, measuring, later)

    asyncio.run(run())
    assert order == ["first", "measuring", "later"]


def test_one_that_gives_up_waiting_blocks_nobody():
    async def run():
        turns = Turns()
        async with turns.turn():
            waiting = asyncio.create_task(turns.turn(alone=True).__aenter__())
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            async with asyncio.timeout(1), turns.turn():
                pass

    asyncio.run(run())


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_the_progress_line_names_cells_and_counts_seconds(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    progress = Progress({"01_a": 30.0, "02_b": 60.0, "03_c": 10.0})

    async def run():
        async with progress.shown():
            progress.of("01_a")(4, 6)  # three of six cells are done: 15 s of 100
            progress.of("02_b")(1, 5)
            progress.skip("03_c", "03_c unchanged")  # 15 s of 90
            await asyncio.sleep(1.1)
            progress.end("01_a", "01_a ok")
            await asyncio.sleep(1.1)

    asyncio.run(run())
    lines = re.split(r"[\r\n]+", terminal.getvalue())
    assert any("17 %" in line and "01 cell 4 of 6, 02 cell 1 of 5, " in line for line in lines)
    assert any(
        "33 %" in line and "02 cell 1 of 5" in line and "01 cell" not in line for line in lines
    )
    assert all(line.rstrip().endswith("left") for line in lines if "%" in line)
    assert capsys.readouterr().out.split("\n")[:2] == ["03_c unchanged", "01_a ok"]
