"""Notebook 11: late pictures by arithmetic, rendered photographs, and the mending of light."""

import contextlib
import io
import json
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from notebook_code import definitions
from notebook_pages import run_cell
from test_notebooks import QUICK, code_cells, committed, printed

from helpers import metrics, model_files, timing
from helpers.data import mnist
from helpers.paths import ROOT
from helpers.vision.sources import Frame
from helpers.vision.stages import StageClock
from workbook import book
from workbook.pi import setup

NAME = "11_live_camera"
notebook = definitions(NAME, {"simulate", "photographed", "inverted", "evened"})


@pytest.mark.parametrize("network_ms, shown", [(10, 300), (33, 300), (100, 100)])
def test_a_queue_and_the_newest_frame_are_as_late_as_arithmetic_says(network_ms, shown):
    seconds = 10
    network_s = network_ms / 1000
    queue = notebook.simulate(network_s, 30, seconds, newest_only=False)
    newest = notebook.simulate(network_s, 30, seconds, newest_only=True)
    assert len(queue) == 30 * seconds, "a queue drops nothing"
    assert len(newest) == pytest.approx(shown, rel=0.1)
    # frame n is exposed at n / 30 and shown at (n + 1) * network_s, if that is later
    late = max(network_s, len(queue) * network_s - (len(queue) - 1) / 30)
    assert queue[-1, 1] == pytest.approx(late, rel=0.01)
    assert newest[:, 1].max() <= network_s + 1 / 30 + 1e-9
    assert (np.diff(newest[:, 0]) >= network_s - 1e-9).all(), "one network, one frame at a time"


def photos(count: int = 40) -> list:
    generator = np.random.default_rng(3)
    return [notebook.photographed(mnist("test"), generator) for _ in range(count)]


def test_a_rendered_photograph_has_its_digits_in_dark_ink_inside_their_boxes():
    darker = []
    for photo in photos():
        assert photo.image.shape == (96, 96) and photo.image.dtype == np.uint8
        assert 1 <= len(photo.boxes) == len(photo.classes) <= 4
        assert (photo.boxes[:, 2:] > photo.boxes[:, :2]).all()
        assert photo.boxes.min() >= 0 and photo.boxes.max() <= 96
        for box in photo.boxes:
            x1, y1, x2, y2 = box.round().astype(int)
            inside = photo.image[y1:y2, x1:x2]
            darker.append(np.percentile(inside, 90) - np.percentile(inside, 10))
    assert np.median(darker) > 20
    same = [a.image.tobytes() == b.image.tobytes() for a, b in zip(photos(3), photos(3))]
    assert all(same), "a seed gives the same photographs"


def test_evened_ink_is_light_and_a_shadow_disappears():
    page = np.full((96, 96), 220, np.float32)
    page[40:56, 20:23] = 60  # a stroke in the light
    page[40:56, 70:73] = 60  # and the same in the shadow
    shadow = np.where(np.arange(96) < 48, 1, 0.4)
    image = (page * shadow).astype(np.uint8)
    even = notebook.evened(image).astype(int)
    light, dark = even[48, 21], even[48, 71]
    assert abs(light - dark) < 20 and min(light, dark) > 180
    assert even[10, 10] < 60 and even[10, 85] < 60, "the paper is dark on both sides"
    plain = notebook.inverted(image).astype(int)
    assert plain[10, 85] > plain[48, 21] - 60, "inverting alone leaves the shadow as bright as ink"


def test_an_empty_page_stays_empty():
    noise = np.random.default_rng(0).normal(200, 3, (96, 96)).clip(0, 255).astype(np.uint8)
    assert np.percentile(notebook.evened(noise), 99) < 140


TABLE = pd.DataFrame(
    {"p50_ms": [50.0, 2.0, 15.0, 1.0, 2.0, 70.0]},
    index=["capture", "resize", "network", "draw", "encode", "light to result"],
)
WORK = ["resize", "network", "draw", "encode"]


class Clock(SimpleNamespace):
    """A clock that has seen frames; its latency is 70 ms."""

    def table(self) -> pd.DataFrame:
        return TABLE.copy()

    def latency_ms(self, q: float) -> float:
        return 70 if q == 50 else 90


class Score:
    """It keeps the truths of guesses."""

    def __init__(self) -> None:
        self.truths = {}

    def __call__(self, name: str, truth: object, within: float | None = None) -> None:
        self.truths[name] = truth


def shown_by(part: str, **variables) -> tuple[dict, str, dict]:
    """The variables, the printed text and the truths of guesses of the cell that has `part`."""
    score = Score()
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        variables = run_cell("11_live_camera", part, score=score, np=np, pd=pd, **variables)
    return variables, text.getvalue(), score.truths


def test_the_budget_is_a_frame_and_the_stages_share_it():
    variables, _, _ = shown_by('table["share of the budget"]', stages=Clock(), camera_fps=25)
    table = variables["table"]
    assert variables["budget_ms"] == 40, "25 frames per second"
    assert table.loc["resize", "share of the budget"] == pytest.approx(2 / 40)
    said = []
    variables, _, truths = shown_by(
        "busy = table.loc",
        table=table,
        budget_ms=40.0,
        stages=Clock(fps=20),
        name_of_machine="a Pi",
        Markdown=said.append,
    )
    assert variables["busy"] == 20, "neither waiting for the camera nor the sum of all"
    assert truths == {"11-network-share": 75}
    assert "take 20.0 of 40.0 ms; the network is 75% of that" in said[0]


class Camera:
    """Frames whose light is 50 ms old."""

    name = "test"

    def __iter__(self):
        for number in range(100):
            old_ns = time.monotonic_ns() - 50_000_000
            yield Frame(np.zeros((24, 32, 3), np.uint8), old_ns, number)
            time.sleep(0.02)

    def close(self) -> None:
        pass


class SlowModel:
    """It takes 60 ms."""

    def run(self, x: np.ndarray) -> np.ndarray:
        assert x.shape == (1, 3, 224, 224)
        time.sleep(0.06)
        return np.eye(1, 1000, 7, np.float32)


def test_the_age_of_a_result_counts_from_the_light_until_it_was_shown():
    live = definitions(NAME, {"live"}).live
    live.__globals__["names"] = [f"class {number}" for number in range(1000)]
    stages = StageClock()
    shown = []

    def show(jpeg: bytes) -> None:
        time.sleep(0.1)
        shown.append(jpeg)

    last = live(SlowModel(), Camera(), 0.3, stages, show)
    assert last == shown[-1] and last.startswith(b"\xff\xd8")
    assert len(shown) == stages.frames < 100 * 0.02 / 0.06, "frames were dropped"
    p50 = stages.table()["p50_ms"]
    assert p50["capture"] >= 50 and p50["network"] >= 60
    assert stages.latency_ms(50) >= 50 + 60 + 100
    assert list(p50.index) == ["capture", *WORK, "light to result"]


def test_how_late_and_how_many_dropped_is_said_as_simulated():
    late = {(100, newest): notebook.simulate(0.1, 30, 10, newest_only=newest) for newest in (0, 1)}
    late = {key: shown[shown[:, 0] <= 10] for key, shown in late.items()}
    said = []
    variables, _, truths = shown_by("queued = late[", late=late, Markdown=said.append)
    assert truths["11-late"] == pytest.approx(6.7, abs=0.06)
    assert variables["dropped"] == 300 - 100
    for sentence in ("s late after 10 s", "second adds 0.67 s", "Both show 100 of 300 frames"):
        assert sentence in " ".join(said[0].split())
    assert len(late[100, 0]) == len(late[100, 1]), "so `both` is true"


def test_the_real_run_is_compared_with_arithmetic():
    _, text, _ = shown_by(
        "expected = simulate(",
        simulate=notebook.simulate,
        took=110,
        camera_fps=30,
        slow=Clock(fps=9.1, frames=27),
        source=SimpleNamespace(frames=90),
    )
    assert "110 ms of work per frame" in text
    assert "9.1 frames per second; the arithmetic says 9.1" in text
    assert "90 frames came, 27 were shown" in text
    assert "from light to result 70 ms, 90 ms at p90; the arithmetic says 12" in text


def latency(ms: float) -> timing.Latency:
    samples = np.full((6, 10), round(ms * 1e6), np.int64)
    return timing.Latency(samples, samples, samples[:, :2], timing.WarmUp(1, 1, True), 1)


CLIMBED = {
    "PyTorch, training mode": 80,
    "eval mode": 40,
    "inference_mode": 35,
    "ONNX Runtime": 14,
    "int8": 28,
    "two threads": 10,
    "two stages in parallel": 7,
}


@pytest.mark.parametrize(
    "is_faster, last_step, best", [(False, "2.00", "ONNX Runtime"), (True, "4.00", "two stages in")]
)
def test_a_step_of_the_climb_is_compared_with_the_one_it_starts_from(is_faster, last_step, best):
    climbed = {name: latency(ms) for name, ms in CLIMBED.items()}
    variables, _, truths = shown_by(
        "before = dict(zip(",
        climbed=climbed,
        timing=timing,
        is_faster=is_faster,
        frames_each=2,
        name_of_machine="a Pi",
    )
    rows = pd.DataFrame(variables["rows"])
    assert rows.loc["step: times as fast"].str[:4].tolist()[1:5] == ["2.00", "1.14", "2.50", "0.50"]
    assert rows.loc["step: times as fast"].iloc[-1].startswith(last_step)
    assert rows.loc["since the first"].str[:4].iloc[3] == "5.71"
    assert rows.loc["frames per second"].iloc[1] == "50", "two frames in a call of 40 ms"
    assert truths["11-step"].startswith(best)
    variables, _, _ = shown_by(
        "axes.barh(",
        climbed=climbed,
        rungs=list(climbed),
        frames_each=2,
        budget_ms=1000 / 30,
        camera_fps=30,
        plt=plt,
    )
    plt.close("all")
    assert variables["ms"][:2] == [40, 20], "of one frame"


@pytest.mark.parametrize(
    "seen, sentence",
    [
        ((29.8, 59, 119), "With 30, 60 or 120 frames per second, the camera is the limit."),
        ((29.8, 59, 80), "With 30 or 60 frames per second, the camera is the limit; with 120"),
        ((12, 12, 12), "With 30, 60 or 120 frames per second, this computer is the limit."),
    ],
)
def test_the_limit_is_the_camera_while_all_its_frames_are_seen(seen, sentence):
    class Timed(Clock):
        def __init__(self) -> None:
            super().__init__(fps=fps.pop(0))

    fps = list(seen)
    variables, _, _ = shown_by(
        "for asked in (30, 60, 120)",
        open_model=lambda file: None,
        FASTEST="file",
        StageClock=Timed,
        open_source=lambda name, fps: contextlib.nullcontext(),
        live=lambda *_: None,
        watch_s=1,
        work=WORK,
    )
    assert variables["seen"][30] == {
        "frames per second": seen[0],
        "from light to result (ms)": 70,
        "work per frame (ms)": 20,
    }
    said = []
    bound = pd.DataFrame(variables["seen"]).T
    _, _, truths = shown_by(
        "keeps_up = ", bound=bound, seen=variables["seen"], Markdown=said.append
    )
    assert said[0].startswith(sentence)
    assert truths == {"11-fast-camera": round(seen[2])}


@pytest.mark.parametrize("way", ["one_by_one", "in_parallel"])
def test_a_call_ends_when_all_its_frames_are_drawn(way):
    function = getattr(definitions(NAME, {way}), way)
    shown = []

    def show(logits: int) -> None:
        time.sleep(0.02)
        shown.append(logits)

    with ThreadPoolExecutor(1) as pool:
        image = np.zeros((24, 32, 3), np.uint8)
        function.__globals__.update(frame=image, frames_each=3, show=show, pool=pool)
        ran = []
        function(lambda x: [ran.append(x) or len(ran)])()
        assert len(ran) == 3 and shown == [1, 2, 3]


def box(x: float) -> list[float]:
    return [x, 0, x + 10, 10]


def test_found_counts_digits_and_false_alarms():
    scene = SimpleNamespace(image=np.zeros((96, 96), np.uint8))
    # the first digit is right, the second has another class, the third is off: two false alarms
    scene.boxes = np.array([box(0), box(20), box(40)], np.float32)
    scene.classes = np.array([1, 2, 3])
    # IoU 0.67, 1, and 0.25
    boxes = np.array([box(2), box(20), box(46)], np.float32)
    found = SimpleNamespace(boxes=boxes, classes=np.array([1, 7, 3]))
    found_in = definitions(NAME, {"found_in"}).found_in
    found_in.__globals__.update(
        photos=[scene, scene],
        predict=lambda model, images: list(images),
        find=lambda *_, **__: found,
    )
    result = found_in(None, lambda image: image)
    assert result["found, and read right"].value == pytest.approx(1 / 3)
    assert result["found"].value == pytest.approx(2 / 3)
    assert result["false alarms per photo"] == "2.00"
    assert isinstance(result["found"], metrics.Accuracy) and result["found"].n == 6


def test_disagreement_is_shown_with_the_gap_of_the_float_network(capsys):
    agrees = definitions(NAME, {"agrees"}).agrees
    agrees.__globals__["answers"] = [[5, 1, 2], [0, 4, 1], [2, 1, 1.5], [0, 0.1, 0]]
    agrees("int8", np.array([0, 1, 2, 0]))
    text = capsys.readouterr().out
    assert "int8: the same class for 50.0 %" in text
    assert "median gap 3.00, where it differs 0.30" in text


def test_published_times_are_those_that_08_quotes():
    rows = json.loads((ROOT / "notebooks/figures/08_published.json").read_text())["rows"]
    theirs = {
        (row["board"].replace("Raspberry ", ""), row["runtime"], row["precision"]): row["seconds"]
        for row in rows
        if row["network"] == "mobilenet_v2"
    }
    quoted = [row for row in definitions(NAME, {"PUBLISHED"}).PUBLISHED if "08" in row[-1]]
    assert len(quoted) == 6
    for board, _, runtime, ms, _ in quoted:
        name, _, how = runtime.partition(", ")
        precision = "int8" if how == "int8" else "float32"
        assert ms == pytest.approx(1000 * theirs[board, name, precision], abs=0.06)


def test_the_table_of_sections_names_all_of_them():
    text = [cell.source for cell in committed(NAME).cells if cell.cell_type == "markdown"]
    planned = re.findall(r"^\| (.+?) \| (\d+) \| (must|optional)", text[0], re.MULTILINE)
    headings = re.findall(r"^## (.+)$", "\n".join(text), re.MULTILINE)
    assert [section for section, *_ in planned] == headings[: headings.index("What we saw")]


@pytest.mark.slow
def test_it_runs_without_pytorch_from_the_files_that_a_pi_gets(monkeypatch, tmp_path):
    model_files.build_missing(["mobilenet_v2"], batches=())
    copied = [path for name, path in setup.bundle().items() if name.startswith("build/models/")]
    (tmp_path / "build/models").mkdir(parents=True)
    for path in copied:
        shutil.copy(path, tmp_path / "build/models")
    absent = ["torch", "torchvision", "tensorflow", "executorch", "litert_torch", "torchao", "onnx"]
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({absent}))\n"
    )
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    cells = code_cells(book.execute(NAME, QUICK[NAME]))
    shown = "\n".join(map(printed, cells))
    assert "PyTorch, training mode" not in shown and "the camera is the limit" in shown
    assert not any(o.get("name") == "stderr" for cell in cells for o in cell.outputs)


@pytest.mark.slow
def test_the_page_without_data_says_what_is_missing(quick_networks, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", "")
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path))
    shown = "\n".join(map(printed, code_cells(book.execute(NAME, QUICK[NAME]))))
    for sentence in ("No camera is used here", "No weights here", "No photographs here"):
        assert shown.count(sentence) == 1
