"""The notebooks that run on a Pi, unmodified, in a kernel on an emulated Pi 4 and Pi 5.

`make test-all` runs it. Their outputs are searched for errors and then dropped: every
time in them is the emulator's.
"""

import json

import emulated_pi
import pytest
from test_notebooks import QUICK, book, code_cells, printed

pytestmark = pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing()))
ON_A_PI = ["00_start_here", "03_measure_latency", "08_benchmark_on_the_pi", "11_live_camera"]


@pytest.fixture(scope="module")
def model_files(quick_networks):
    """The book's model files, converted on the laptop: a Pi gets them by copy."""
    from helpers import model_files

    return model_files.build_missing(["mnist_cnn", "mobilenet_v2", *model_files.TOY_NETWORKS])


@pytest.mark.parametrize("cpu", emulated_pi.CPUS)
@pytest.mark.parametrize("name", ON_A_PI)
def test_it_runs_on_a_pi(name, cpu, model_files, tmp_path, monkeypatch):
    specification = {
        "argv": [str(emulated_pi.python()), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": cpu,
        "language": "python",
        "env": emulated_pi.settings(cpu),
    }
    folder = tmp_path / "kernels" / cpu
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(specification))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = book.execute(name, QUICK[name], kernel=cpu)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        for output in cell.outputs:
            is_error = output.output_type == "error" or output.get("name") == "stderr"
            assert not is_error, (cell.source, output)
    said = "\n".join(map(printed, cells))
    assert "aarch64" in said or cpu.title() in said, "it ran on the laptop instead"
