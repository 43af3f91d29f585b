"""Every notebook: its committed form, and a run from a fresh kernel with small parameters."""

import ast
import base64
import io
import os
import re
import shutil
import statistics

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from PIL import Image

from helpers.interactive.guesses import NAME
from helpers.paths import build_dir, build_path
from workbook import book

# 10 and 10b begin with the same detectors
QUANTIZE_A_DETECTOR = {
    "page_epochs": 1,
    "page_scenes": 320,
    "calibration_scenes": 8,
    "test_scenes": 20,
    "resamples": 20,
    "search_photos": 6,
}
# small parameters for the quick run; a name that a notebook no longer has makes the run fail
QUICK = {
    "00_start_here": {"peak_seconds": 0.05},
    "01_train_mnist_cnn": {
        "cnn_epochs": 1,
        "lenet_epochs": 8,
        "loop_images": 1280,
        "loop_epochs": 1,
        "few_images": 100,
        "few_epochs": 6,
    },
    "02_export_to_every_runtime": {"image_count": 100, "calibration_count": 20},
    "03_measure_latency": {
        "rounds": 6,
        "busy_rounds": 2,
        "repeats": 1,
        "calls_each": 30,
        "measurements": 1,
        "pause_s": 0,
        "switches": 3,
        "batches": [1, 10],
        "image_count": 100,
    },
    "04_kmeans_quantization": {
        "fine_tune_epochs": 1,
        "fine_tune_images": 500,
    },
    "04b_codebooks_to_the_last_byte": {
        "race_weights": 100_000,
        "timed_rounds": 1,
    },
    "05_affine_quantization": {
        "calibration_images": 40,
        "test_images": 100,
    },
    "05b_integer_only_inference": {
        "calibration_images": 40,
        "test_images": 100,
        "tie_images": 100,
        "second_network_images": 10,
        "third_network_images": 20,
    },
    "06_post_training_quantization": {
        "calibration_images": 50,
        "test_images": 100,
        "bit_widths": [8],
        "deployed": ["lenet"],
        "rounds": 6,
    },
    "07_quantization_aware_training": {
        "calibration_images": 40,
        "qat_epochs": 1,
        "library_epochs": 1,
        "shipping_epochs": 1,
    },
    "08_benchmark_on_the_pi": {
        "networks": ["mnist_cnn"],
        "thread_counts": [1, 2],
        "rounds": 6,
        "round_s": 0.005,
        "image_count": 100,
        "pause_s": 0,
        "peak_seconds": 0.05,
        "sustained_s": 2,
        "profiled_calls": 3,
    },
    "08b_evaluate_your_own_model": {
        "runtimes": ["torch", "onnx", "mnn"],
        "own_runtimes": ["onnx"],
        "rounds": 6,
        "image_count": 100,
        "calibration_count": 20,
        "own_epochs": 20,
    },
    "09_object_detection": {
        "page_epochs": 1,
        "page_scenes": 320,
        "test_scenes": 60,
        "resamples": 50,
    },
    "09b_carry_a_detector": {
        "page_epochs": 1,
        "page_scenes": 320,
        "test_scenes": 60,
        "resamples": 50,
        "formats": ["onnx", "mnn"],
        "rounds": 6,
        "own_steps": 5,
    },
    "10_quantize_a_detector": QUANTIZE_A_DETECTOR,
    "10b_keep_layers_in_float": QUANTIZE_A_DETECTOR | {"half_forms": ["onnx", "mnn"], "rounds": 6},
    "11_live_camera": {
        "watch_s": 0.5,
        "rounds": 6,
        "frames_each": 1,
        "picture_count": 12,
        "page_epochs": 1,
        "page_scenes": 320,
        "photo_count": 20,
        "mending_steps": 8,
    },
}
# they save networks under the names that others load, so they get a build folder of their own
TRAIN_THE_SHARED = {"01_train_mnist_cnn"}
PARTS = (
    "**You will be able to**",
    "**Runs on**",
    "**Takes**",
    "## What we saw",
    "## Caveats",
    "## Exercises",
    "**Next:**",
)
FORBIDDEN = {
    r"(?<![\w.])/(home|root|work|tmp|Users|mnt)/\w": "a path of one machine",
    r"\b[A-Z]:\\\\": "a path of one machine",
    r"pypi\.org|python[h]osted|deb\.debian\.org|registry\.npmjs": "the host of a package registry",
    r"^\s*[!%]\s*pip\b": "an installation",
    r"^\s*from \S+ import \*": "a star import",
}


def committed(name: str) -> nbformat.NotebookNode:
    return nbformat.read(book.HERE / f"{name}.ipynb", 4)


def code_cells(notebook: nbformat.NotebookNode) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def printed(cell) -> str:
    """All text that a cell's outputs show."""
    texts = []
    for output in cell.get("outputs", []):
        texts.append(output.get("text", ""))
        texts += [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]
    return "\n".join(texts)


@pytest.mark.parametrize("name", book.names())
def test_it_is_committed_executed_in_order_without_errors_or_warnings(name):
    cells = code_cells(committed(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), (
        "run `make notebooks`"
    )
    for cell in cells:
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", (
                cell.source,
                output,
            )


@pytest.mark.parametrize("name", book.names())
def test_nothing_of_one_machine_is_in_it(name):
    for cell in committed(name).cells:
        for text in (cell.source, printed(cell)):
            for pattern, what in FORBIDDEN.items():
                found = re.search(pattern, text, re.MULTILINE)
                assert not found, (
                    f"{what}: {found and text[max(0, found.start() - 40) : found.end() + 40]!r}"
                )


@pytest.mark.parametrize("name", book.names())
def test_its_cells_are_short(name):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(committed(name))]
    assert max(lengths) <= 40
    assert statistics.median(lengths) <= 9
    assert statistics.quantiles(lengths, n=10)[-1] < 30


MEASURES = r"(timing\.(benchmark|time_calls)|measure_roofline|perf_counter)\("


@pytest.mark.parametrize("name", book.names())
def test_cells_that_measure_time_are_tagged(name):
    """`make workbook` runs nothing beside a cell that is tagged."""
    for cell in code_cells(committed(name)):
        outside_functions = re.sub(
            r"^(def|class|@).*\n(([ \t].*)?\n)*", "", cell.source + "\n", flags=re.M
        )
        if re.search(MEASURES, outside_functions):
            assert book.MEASURES_TIME in cell.metadata.get("tags", []), cell.source


@pytest.mark.parametrize("name", book.names())
def test_cells_that_leave_a_process_running_are_tagged(name):
    """`make workbook` measures nothing in the meantime."""
    runs_on = False
    for cell in code_cells(committed(name)):
        begins = ".submit(" in cell.source
        ends = ".result()" in cell.source
        runs_on = (runs_on or begins) and not ends
        assert (book.RUNS_ON in cell.metadata.get("tags", [])) == runs_on, cell.source


@pytest.mark.parametrize("name", book.names())
def test_it_has_the_parts_of_every_notebook(name):
    cells = committed(name).cells
    assert cells[0].source.startswith("# ")
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in cells) == 1
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for part in PARTS:
        assert part in text, f"{part} is missing"


def guesses(source: str, function: str) -> list[str]:
    """The names of the guesses that are the first argument of `function` in `source`."""
    lines = [line for line in source.splitlines() if not line.startswith(("%", "!"))]
    called = [
        node.args[0].value
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", None) == function
        and node.args
        and isinstance(node.args[0], ast.Constant)
    ]
    # a notebook may have a function of its own that is called `score`
    return [name for name in called if NAME.fullmatch(str(name))]


@pytest.mark.parametrize("name", book.names())
def test_a_guess_is_asked_for_in_a_cell_of_its_own_and_scored_once(name):
    cells = code_cells(committed(name))
    asked = []
    for cell in cells:
        names = guesses(cell.source, "ask")
        is_tagged = "guess" in cell.metadata.get("tags", [])
        assert is_tagged == bool(names), f"the tag `guess`: {cell.source}"
        if is_tagged:
            assert len(names) == len(ast.parse(cell.source).body) == 1, cell.source
        asked += names
    scored = [found for cell in cells for found in guesses(cell.source, "score")]
    assert scored == asked, "in the order in which they are asked"
    number = name.split("_")[0]
    assert all(guess.startswith(f"{number}-") for guess in asked)
    text = "\n".join(cell.source for cell in committed(name).cells)
    assert asked or "Predict before you run" in text


def test_guesses_have_names_of_their_own():
    asked = [
        guess
        for name in book.names()
        for cell in code_cells(committed(name))
        for guess in guesses(cell.source, "ask")
    ]
    assert len(set(asked)) == len(asked)


@pytest.mark.parametrize("name", book.names())
def test_its_exercises_link_their_solutions(name):
    [exercises] = [cell for cell in committed(name).cells if "## Exercises" in cell.source]
    link = f"[solutions](solutions/{name}.ipynb)"
    assert (link in exercises.source) == (f"solutions/{name}" in book.names("solutions/"))


@pytest.mark.parametrize("name", book.names())
def test_its_links_lead_somewhere(name):
    text = "\n".join(cell.source for cell in committed(name).cells)
    for link in re.findall(r"\]\((\d\d[a-z]?_\w+\.ipynb)\)", text):
        assert (book.HERE / link).exists(), f"{link} does not exist"


@pytest.mark.parametrize("name", book.names())
def test_it_has_a_picture_and_is_small(name):
    outputs = [output for cell in code_cells(committed(name)) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (book.HERE / f"{name}.ipynb").stat().st_size < 350_000


@pytest.mark.parametrize("name", book.names())
def test_it_runs_quickly_from_a_fresh_kernel(
    name, quick_networks, quick_depthwise, monkeypatch, tmp_path
):
    if name in TRAIN_THE_SHARED:
        monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    notebook = book.execute(name, QUICK[name])
    for cell in code_cells(notebook):
        for output in cell.outputs:
            assert output.get("name") != "stderr", output.text


WITHOUT_PYTORCH = [
    pytest.param("00_start_here"),
    pytest.param("03_measure_latency", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", WITHOUT_PYTORCH)
def test_it_runs_on_a_machine_without_pytorch(name, quick_networks, tmp_path, monkeypatch):
    """As on a Pi: the model files were made elsewhere and copied; importing torch fails."""
    from helpers import model_files

    model_files.build_missing(["mnist_cnn"], QUICK["03_measure_latency"]["batches"])
    shutil.copytree(build_dir("models"), tmp_path / "build" / "models")
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))

    absent = ["torch", "torchvision", "tensorflow", "executorch", "litert_torch", "torchao", "onnx"]
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    notebook = book.execute(name, QUICK[name])
    shown = "\n".join(printed(cell) for cell in code_cells(notebook))
    assert (
        "PyTorch is not installed" in shown
        if name.startswith("00")
        else "times ONNX Runtime" in shown
    )
    assert not any(o.get("name") == "stderr" for cell in code_cells(notebook) for o in cell.outputs)


def test_all_notebooks_have_a_quick_run():
    assert sorted(QUICK) == book.names()


def notebook_of(*sources: str, tags: list | None = None) -> nbformat.NotebookNode:
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in sources]
    )
    notebook.cells[0].metadata["tags"] = tags or []
    return notebook


def test_a_parameter_that_is_gone_is_an_error():
    notebook = notebook_of("epochs = 10\nrate, seed = 0.1, 0", tags=["parameters"])
    book.override(notebook, "x", {"epochs": 1, "seed": 2})
    values = {}
    exec(notebook.cells[0].source, values)
    assert (values["epochs"], values["rate"], values["seed"]) == (1, 0.1, 2)
    with pytest.raises(KeyError, match="no parameter rounds"):
        book.override(notebook, "x", {"rounds": 1})
    with pytest.raises(KeyError, match="0 cells tagged"):
        book.override(notebook_of("epochs = 10"), "x", {"epochs": 1})


def test_a_failing_cell_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(book, "HERE", tmp_path)
    nbformat.write(notebook_of("x = 1", "1 / 0"), tmp_path / "77_bad.ipynb")
    with pytest.raises(
        book.NotebookFailed, match="77_bad.ipynb, code cell 2 of 2:\n1 / 0"
    ) as raised:
        book.execute("77_bad")
    assert "ZeroDivisionError" in str(raised.value)
    with pytest.raises(book.NotebookFailed, match="code cell 2 of 2"):
        book.run_in_place(["77_bad"])
    assert capsys.readouterr().out.rstrip().endswith("FAILED")


def test_the_picture_of_the_readme_is_copied_by_the_run_that_draws_it(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "HERE", tmp_path)
    drawn = build_path("html", "runtimes.png")
    drawn.write_bytes(b"an earlier one")
    os.utime(drawn, (1e9, 1e9))
    nbformat.write(notebook_of("x = 1"), tmp_path / "77_draws_nothing.ipynb")
    book.run_in_place(["77_draws_nothing"])
    assert not (tmp_path / "runtimes.png").exists()

    draws = f"import pathlib; pathlib.Path({str(drawn)!r}).write_bytes(b'a new one')"
    nbformat.write(notebook_of(draws), tmp_path / "78_draws.ipynb")
    book.run_in_place(["78_draws"])
    assert (tmp_path / "runtimes.png").read_bytes() == b"a new one"


def test_a_dead_kernel_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "HERE", tmp_path)
    nbformat.write(
        notebook_of("x = 1", "import os; os._exit(1)", "y = 2"), tmp_path / "77_dead.ipynb"
    )
    with pytest.raises(book.NotebookFailed, match="code cell 2 of 3(.|\n)*out of memory"):
        book.execute("77_dead")


def test_pictures_get_smaller_and_look_the_same():
    figure, axes = plt.subplots(figsize=(4, 3), dpi=80)
    for slope in range(8):
        axes.plot([0, 1], [0, slope], label=str(slope))
    axes.legend()
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    plt.close(figure)
    notebook = notebook_of("draw()")
    picture = {"image/png": base64.b64encode(raw.getvalue()).decode()}
    notebook.cells[0].outputs = [nbformat.v4.new_output("display_data", picture)]
    found = book.with_small_pictures(notebook).cells[0].outputs[0].data["image/png"]
    assert len(found) < 0.6 * len(picture["image/png"])
    old, new = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB"), int)
        for text in (picture["image/png"], found)
    )
    assert old.shape == new.shape and np.abs(old - new).mean() < 1 and np.abs(old - new).max() < 100
