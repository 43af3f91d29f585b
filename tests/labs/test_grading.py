"""The grader keeps its points, its files and its patience, whatever a submission does.

Honest work loses nothing.
"""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest

from helpers.paths import ROOT
from labs.grading.autograde import grade_one
from labs.grading.checks.questions import Question, Student, ask, load_questions
from labs.grading.course import Result
from labs.grading.report import grade_table, gradebook
from labs.grading.sandbox import messages, notebook_loader, sandbox
from labs.grading.sandbox.errors import StudentError
from labs.grading.sandbox.limits import Limits
from tests.labs import hostile, toy

needs_jail = pytest.mark.skipif(
    not sandbox.shutil.which("bwrap"), reason="needs bubblewrap: sudo apt install bubblewrap"
)
QUICK = Limits(
    call_s=2, load_s=10, wall_s=60, notebook_s=8, memory_mb=500, disk_mb=40, processes=64
)


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    return toy.make_course(tmp_path_factory.mktemp("course"))


def asked(course, folder: Path, book, student="1001", jail=True, result=toy.SECRET, **limits):
    """The verdicts on a notebook, and what the instructor would hear of it."""
    nbformat.write(book, folder / "toy.ipynb")
    (folder / "result.json").write_text(f'{{"answer": {result}}}')
    own_limits = dataclasses.replace(QUICK, **limits)
    with Student(student, folder, "toy.ipynb", jail=sandbox, limits=own_limits) as submitted:
        verdicts = ask(submitted, load_questions(course.source(toy.LAB) / "hidden.py"))
    return verdicts, submitted.incidents


def points(verdicts) -> dict[str, float]:
    return {name: verdict.points for name, verdict in verdicts.items()}


def function(body: str) -> str:
    """The source of `double` with this body, a text of one or several indented lines."""
    if not body.startswith("\n"):
        body = "        " + body
    return "def double(x):\n" + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")


# ------------------------------------------------------------------------------------- hostile work
@needs_jail
@pytest.mark.parametrize("name", hostile.FUNCTIONS)
def test_hostile_function_loses_its_own_points_only(course, tmp_path, name):
    body, said = hostile.FUNCTIONS[name]
    began = time.monotonic()
    verdicts, _ = asked(course, tmp_path, toy.answer(course, double=function(body)))
    assert points(verdicts) == toy.POINTS | {"double_values": 0}, verdicts
    message = verdicts["double_values"].message
    assert re.search(said, message), message
    assert str(toy.SECRET) not in message and str(toy.SECRET // 2) not in message
    assert time.monotonic() - began < QUICK.wall_s + 20


@needs_jail
@pytest.mark.parametrize("name", hostile.CHEATS)
def test_cheats_get_no_points(course, tmp_path, name):
    book = nbformat.read(course.release(toy.LAB), 4)
    book.cells.append(nbformat.v4.new_code_cell(hostile.CHEATS[name]))
    verdicts, _ = asked(course, tmp_path, book, result=0)
    assert sum(points(verdicts).values()) == 0, verdicts


@needs_jail
def test_thief_finds_nothing(course, tmp_path):
    (tmp_path / "submission").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        targets = [
            str(course.root / "gradebook.db"),
            str(course.source(toy.LAB) / "hidden.py"),
            str(ROOT / "labs"),
            str(ROOT / "tests"),
            str(tmp_path),
            str(Path.home() / ".ssh"),
            "/etc/passwd",
            "/etc/shadow",
        ]
        source = hostile.THIEF.format(targets=targets, port=server.getsockname()[1])
        nbformat.write(toy.answer(course, double=source), tmp_path / "submission" / "toy.ipynb")
        with Student("1001", tmp_path / "submission", "toy.ipynb", limits=QUICK) as student:
            assert student.call("double", 1, timeout=8) == ""


@needs_jail
@pytest.mark.parametrize("jailed", [True, False])
def test_nothing_is_left_behind(course, tmp_path, jailed):
    before = {p.pid for p in psutil.process_iter()}
    left = function("""
        import atexit, subprocess, threading, time
        def spin():
            while True: time.sleep(0.01)
        threading.Thread(target=spin).start()
        subprocess.Popen(['sleep', '1234'], start_new_session=True)
        atexit.register(spin)
        return 2 * x""")
    verdicts, _ = asked(course, tmp_path, toy.answer(course, double=left), jail=jailed)
    assert points(verdicts) == toy.POINTS
    time.sleep(0.3)
    ours = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    lines = [" ".join(p.info["cmdline"] or []) for p in ours]
    assert not [line for line in lines if "sleep 1234" in line]
    assert not [line for line in lines if "worker.py" in line and "toy.ipynb" in line]


@needs_jail
def test_links_and_modules_in_the_submission_lead_nowhere(course, tmp_path):
    for name in ("numpy.py", "json.py", "messages.py", "notebook_loader.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('shadowed')")
    (tmp_path / "stolen.py").symlink_to(course.source(toy.LAB) / "hidden.py")
    verdicts, _ = asked(course, tmp_path, toy.answer(course))
    assert points(verdicts) == toy.POINTS
    (tmp_path / "result.json").unlink()
    (tmp_path / "secret").write_text(f'{{"answer": {toy.SECRET}}}')
    (tmp_path / "result.json").symlink_to(tmp_path / "secret")
    with Student("1001", tmp_path, "toy.ipynb", limits=QUICK) as student:
        for name in ("result.json", "../secret", "/etc/passwd", "stolen.py"):
            with pytest.raises(StudentError, match="was not submitted"):
                student.file(name)


@needs_jail
def test_no_code_of_the_submission_runs_where_models_run(tmp_path):
    # what libraries try to import
    for name in ("ai_edge_litert_sdk_intel", "msvcrt", "org", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise ValueError('run where models run')")
    limits = dataclasses.replace(QUICK, memory_mb=1500, call_s=20)
    for name in ("model.tflite", "model.onnx"):
        (tmp_path / name).write_bytes(b"no model")
        with (
            Student("1001", tmp_path, "toy.ipynb", limits=limits) as student,
            pytest.raises(StudentError) as refused,
        ):
            student.predict(name, np.zeros((2, 1, 28, 28), np.float32))
        assert "run where" not in str(refused.value) and name in str(refused.value)


def test_the_place_of_an_error_carries_nothing_out(course, tmp_path):
    forged = (
        "def double(x):\n    n = 8128 + int(x.ravel()[-1])\n"
        "    exec(compile('\\n' * n + 'raise ValueError', f'<cell {n}>', 'exec'))"
    )
    verdicts, _ = asked(course, tmp_path, toy.answer(course, double=forged), jail=False)
    message = verdicts["double_values"].message
    assert re.fullmatch(r"double: ValueError( \(cell 3, line 3\))?", message)


@needs_jail
def test_time_for_a_whole_submission_is_limited(course, tmp_path):
    slow = (
        "import time\n"
        "def double(x):\n    time.sleep(1)\n    return 2 * x\n"
        "def total(x):\n    time.sleep(1)\n    return x.sum()"
    )
    verdicts, _ = asked(course, tmp_path, toy.answer(course, double=slow, total=""), wall_s=1.5)
    assert points(verdicts)["total_shape"] == 0
    assert "for the whole submission were used up" in verdicts["total_shape"].message


@needs_jail
@pytest.mark.parametrize("name", hostile.CELLS)
@pytest.mark.slow
def test_hostile_cell_does_not_touch_the_points_of_right_functions(course, name, tmp_path):
    student = f"90{list(hostile.CELLS).index(name)}"
    before = (course.root / "gradebook.db").read_bytes()
    toy.submit(course, student, toy.answer(course, student, try_it=hostile.CELLS[name]))
    result = grade_one(course.root, toy.LAB, student, limits=QUICK)
    assert not result.problem and result.points == 5, result
    assert (course.root / "gradebook.db").read_bytes() == before  # one process writes it, later
    assert result.wall_s < QUICK.notebook_s + QUICK.load_s + 30
    if name in ("loop", "hog", "ends the kernel", "kills what runs it"):
        assert any("the notebook" in reason for reason in result.flags), result.flags
    outputs = [
        output
        for c in nbformat.reads(result.notebook, 4).cells
        if c.cell_type == "code"
        for output in c.outputs
    ]
    # no HTML, and no picture that is none
    assert all(set(output.get("data", {})) <= {"text/plain"} for output in outputs)
    assert "forged" not in json.dumps(outputs)
    assert len(result.notebook) < 1_000_000
    result.write(tmp_path / "result.json")
    assert Result.read(tmp_path / "result.json").points == 5


@needs_jail
def test_tampered_cells_and_points_are_as_released(course):
    book = toy.answer(
        course,
        "2001",
        double_values="print('passed')",
        total_shape="10**6",
        double="def double(x):\n    return x",
    )
    toy.cell(book, "double_values").metadata.nbgrader.points = 2000
    toy.cell(book, "why").metadata.nbgrader.update(points=99, solution=False, locked=True)
    toy.submit(course, "2001", book)
    result = grade_one(course.root, toy.LAB, "2001", limits=QUICK)
    given = {name: question["points"] for name, question in result.questions.items()}
    assert given == toy.POINTS | {"double_values": 0}
    assert sum("was changed, and has been restored" in note for note in result.notes) == 2
    gradebook.write(course, toy.LAB, [result])
    most = {row["student"]: row["max_points"] for row in grade_table.rows(course, toy.LAB)}
    assert most["2001"] == 7


# -------------------------------------------------------------------------------------- honest work
HONEST = {
    "prints and warns": """\
import sys, warnings
def double(x):
    warnings.warn('old')
    print('x' * 10_000, file=sys.stderr)
    print(x)
    return 2 * x""",
    "logs": "import logging\ndef double(x):\n    logging.error('here')\n    return 2 * x",
    "plots": """\
import matplotlib.pyplot as plt
def double(x):
    plt.plot(np.ravel(x))
    plt.show()
    return 2 * x""",
    "torch": """\
import torch
def double(x):
    return 2 * torch.from_numpy(np.array(x)).requires_grad_()""",
    "a loop": """\
def double(x):
    y = np.empty(np.shape(x))
    for i in np.ndindex(*np.shape(x)):
        y[i] = x[i] + x[i]
    return y""",
    "lists": "def double(x):\n    return (2 * x).tolist()",
    "float64": "def double(x):\n    return 2 * x.astype(np.float64)",
    "Fortran order": "def double(x):\n    return np.asfortranarray(2 * x)",
    "a subclass": "def double(x):\n    return np.ma.masked_array(2 * x)",
    "a global that is computed": """\
table = np.arange(3)
table[2] = 2
two = table[2].item()
def double(x):
    return two * x""",
    "a global that is filled in a loop": """\
table = {}
for i in range(3):
    table[i] = i
def double(x):
    return table[2] * x""",
    "a global list that is filled by calls": """\
table = []
for i in range(3):
    table.append(i)
table.reverse()
def double(x):
    return table[0] * x""",
    "a global that an import brings in": """\
from numpy import *
factor = array(2)
def double(x):
    return multiply(factor, x)""",
    "a global that a function sets": """\
two = None
def prepare():
    global two
    two = 2
prepare()
def double(x):
    return two * x""",
    "a global that a call fills": """\
table = np.zeros(3)
np.copyto(table, [0, 1, 2])
def double(x):
    return table[2] * x""",
    "a network that a loop trains": """
class Net:
    weight = 0
class Optimizer:
    def __init__(self, net): self.net = net
    def step(self): self.net.weight += 1
net = Net()
optimizer = Optimizer(net)
for epoch in range(2):
    optimizer.step()
def double(x):
    return net.weight * x""",
    "help, time and a shell's answer": """\
files = !ls
np.sum?
def double(x):
    return 2 * x
t = %timeit -o -n 1 -r 1 double(1)""",
    "a timed cell": "%%time\ndef double(x):\n    return 2 * x",
    "a line that starts with %": """\
odd = (5
%3)
def double(x):
    display(x)
    return odd * x""",
    "types that are not defined": """\
from __future__ import annotations
def double(x: Nothing) -> Nothing:
    return 2 * x""",
    "a match": """\
match [1, 2]:
    case [_, two]:
        pass
def double(x):
    return two * x""",
    "a main block and a dataclass": """
from __future__ import annotations
import dataclasses, typing
@dataclasses.dataclass
class Two:
    all: typing.ClassVar[list] = []
    value: int = 2
if __name__ == "__main__":
    two = Two()
def double(x):
    return two.value * x""",
    "a class and a decorator": """\
import functools
class Doubler:
    factor = 2
    def __call__(self, x):
        return self.factor * x

@functools.wraps(print)
def double(x):
    return Doubler()(x)""",
    "magics": """\
%matplotlib inline
%load_ext autoreload
!echo installed
def double(x):
    return 2 * x""",
    "changes its argument": "def double(x):\n    x *= 2\n    return x",
    "tries another library": """\
try:
    import cupy as xp
except ImportError:
    import numpy as xp
def double(x):
    return xp.add(x, x)""",
    "a syntax error in another cell": (
        "def double(x):\n    return 2 * x",
        "for i in range(3) print(i)",
    ),
    "training in another cell": (
        "def double(x):\n    loss = 2 * x\n    return loss",
        "import time\nloss = time.sleep(1000)",
    ),
    "a function that reads what training made": (
        "def double(x):\n    return 2 * x",
        "import time\nnetwork = time.sleep(1000)\ndef answer(x):\n    return network(x)",
    ),
    "a global that takes too long": (
        """\
weights = None
def double(x):
    if weights is not None: return weights
    return 2 * x""",
        "import time\nweights = time.sleep(1000)",
    ),
}
QUICK_HONEST = (
    "help, time and a shell's answer",
    "a network that a loop trains",
    "prints and warns",
    "lists",
    "a global that is computed",
    "magics",
    "a syntax error in another cell",
    "training in another cell",
)


def honest_names():
    """The names of HONEST as parameters of a test; most of them in `make test-all` only."""
    for name in HONEST:
        yield pytest.param(name, marks=() if name in QUICK_HONEST else pytest.mark.slow)


@needs_jail
@pytest.mark.parametrize("name", honest_names())
def test_honest_styles_lose_nothing(course, tmp_path, name):
    entry = HONEST[name]
    double, other = entry if isinstance(entry, tuple) else (entry, "")
    verdicts, incidents = asked(
        course,
        tmp_path,
        toy.answer(course, double=double, try_it=other),
        memory_mb=1500,
        call_s=20,
        load_s=3 if "too long" in name else 20,
    )
    assert points(verdicts) == toy.POINTS, verdicts
    assert not incidents or "too long" in name


def test_only_what_a_function_needs_is_loaded(tmp_path):
    cells = [
        "import numpy as np\nimport not_there\nlimit = 3",
        "limit = limit + 1\nother = 1 / 0",
        "def helper(x):\n    return min(x, limit)\n"
        "def ask(x):\n    y = other = helper(x)\n    return y",
        "class Far:\n    limit = other\nfor i in range(3):\n    limit += i",
        "helper2 = lambda x: Far()",
        "slow = 1 / 0\nfor i in range(3):\n    print(len(slow), min(slow))",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    nbformat.write(book, tmp_path / "a.ipynb")
    namespace = {}
    assert notebook_loader.load(str(tmp_path / "a.ipynb"), "ask", namespace, plain=False) == []
    assert namespace["ask"](99) == 3 + 1 + 3
    assert {"np", "Far", "other", "helper2"}.isdisjoint(namespace)
    failed = notebook_loader.load(str(tmp_path / "a.ipynb"), "helper2", {}, plain=False)
    assert failed == ["cell 2, line 2: ZeroDivisionError", "cell 4, line 1: NameError"]
    namespace = {}
    assert notebook_loader.load(str(tmp_path / "a.ipynb"), "ask", namespace, plain=True) == []
    assert namespace["ask"](99) == 4


@pytest.mark.parametrize(
    "broken, said",
    [
        ("", "double: the notebook does not define it"),
        (
            "def double(x:\n    return 2 * x",
            "double: the notebook does not define it; these parts of it fail: cell 3: SyntaxError",
        ),
        ("double = 7", "double: the notebook does not define it"),
        ("def double(x):\n    return y", r"double: NameError \(cell 3, line 2\)"),
        ("def double():\n    return 2", "double: TypeError"),
    ],
)
def test_feedback_says_what_is_wrong(course, tmp_path, broken, said):
    verdicts, _ = asked(course, tmp_path, toy.answer(course, double=broken), jail=False)
    assert re.fullmatch(said, verdicts["double_values"].message), verdicts["double_values"].message
    assert points(verdicts) == toy.POINTS | {"double_values": 0}


def test_a_check_that_stumbles_calls_a_human_and_shows_nothing(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "toy.ipynb")

    def numpys_own(student):
        np.testing.assert_allclose(1, toy.SECRET)

    questions = {
        "a": Question(1, lambda student: {}["hidden"], "function f"),
        "b": Question(1, numpys_own, "function g"),
    }
    with Student("1", tmp_path, "toy.ipynb", jail=False) as student:
        verdicts = ask(student, questions)
    assert "KeyError" in verdicts["a"].flags[0]
    assert "hidden" not in verdicts["a"].message
    assert verdicts["a"].points == 0
    assert str(toy.SECRET) not in verdicts["b"].message and verdicts["b"].points == 0


# ----------------------------------------------------------------------------------------- messages
@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        3,
        -1.5,
        "text",
        2**70,
        np.arange(6).reshape(2, 3),
        np.float32(1.5),
        np.zeros((0, 4)),
        np.array(5),
        (1, np.ones(2)),
        {"a": np.ones((2, 2), np.int8), "b": [np.zeros(1), "x"]},
        np.arange(4)[::2],
        np.float64(np.nan),
    ],
)
def test_values_cross_unchanged(value):
    received = messages.decode(messages.encode(value))
    np.testing.assert_equal(received, value)
    if isinstance(value, np.ndarray) and value.shape:
        assert received.dtype == value.dtype and received.flags.writeable


def test_other_byte_orders_cross_by_value():
    np.testing.assert_array_equal(
        messages.decode(messages.encode(np.arange(4, dtype=">i4"))), np.arange(4)
    )


def test_lists_of_numbers_become_arrays_where_asked():
    assert messages.decode(messages.encode([[1, 2], [3, 4]])).shape == (2, 2)
    assert messages.decode(messages.encode([[1, 2], [3, 4]]), lists_to_arrays=False) == [
        [1, 2],
        [3, 4],
    ]
    assert messages.decode(messages.encode([1, "two"])) == [1, "two"]


@pytest.mark.parametrize(
    "tree",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"plain": [1]}',
        b'{"array": ["<f8", [-1]]}',
        b'{"array": ["O", [1]]}',
        b'{"array": ["<f8", [1e9]]}',
        b'{"array": ["<f8", [99999999999999]]}',
        b'{"list": 3}',
        b'{"other": []}',
        b'{"a": 1, "b": 2}',
        b"[" * 200_000,
        b'{"plain": ' + b"9" * 5000 + b"}",
        b'{"dict": [["a"]]}',
        b"\xff\xfe",
    ],
)
def test_malformed_messages_are_refused(tree):
    with pytest.raises(messages.WireError):
        messages.decode(messages._HEAD.pack(len(tree), 0) + tree)
    with pytest.raises(messages.WireError):  # bytes that belong to no array
        messages.decode(messages._HEAD.pack(14, 8) + b'{"plain": 1}  ' + bytes(8))


# ------------------------------------------------------------------------------- without bubblewrap
def test_without_bubblewrap_it_stops_unless_allowed(course, monkeypatch, tmp_path):
    for name in ("python", "python3"):
        (tmp_path / name).symlink_to(sys.executable)
    command = [sys.executable, "-m", "labs.grading", "--course", str(course.root), "grade", toy.LAB]
    environment = os.environ | {"PATH": str(tmp_path)}
    refused = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert refused.returncode == 1
    said = r"bubblewrap is not installed, and .*: sudo apt install bubblewrap .*--no-jail\n"
    assert re.fullmatch(said, refused.stderr), refused.stderr
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    sandbox.check.cache_clear()
    try:
        with pytest.raises(sandbox.NoJail):
            grade_one(course.root, toy.LAB, "1001")
        with pytest.raises(sandbox.NoJail), Student("1001", tmp_path, "toy.ipynb") as student:
            student.call("double", 1)
        toy.submit(course, "3001")
        assert grade_one(course.root, toy.LAB, "3001", jail=False).points == 5
    finally:
        sandbox.check.cache_clear()


def test_a_jail_that_does_not_start_is_no_zero(course, tmp_path, monkeypatch):
    toy.submit(course, "3002")
    failing = ["sh", "-c", "echo no user namespaces >&2; exit 1"]
    monkeypatch.setattr(sandbox, "check", lambda: None)
    monkeypatch.setattr(sandbox, "command", lambda argv, *_: failing)
    result = grade_one(course.root, toy.LAB, "3002", limits=QUICK)
    assert "no user namespaces" in result.problem and result.points is None
