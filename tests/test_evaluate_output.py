"""`workbook evaluate`: what is printed and written, the Pareto front, the budget."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from evaluate_files import command, evaluate, product

from helpers.paths import ROOT
from workbook.evaluate import columns, output, page, pareto, picture
from workbook.evaluate.budget import Budget, advice
from workbook.evaluate.rows import FAILS, WORKS, Row


def row(name: str, p50: float, size: int, quality: float | None, **others) -> Row:
    known = {"metric": "accuracy", "accuracy": quality, "valid": True, "p90_ms": p50, **others}
    return Row(name, "float32", WORKS, file=name, p50_ms=p50, bytes=size, quality=quality, **known)


FAST = row("fast", 1, 9_000_000, 0.9, ratio=1.0, ratio_low=1.0, ratio_high=1.0)
SMALL = row("small", 4, 1_000_000, 0.97, ratio=0.25, ratio_low=0.24, ratio_high=0.26)
BIG = row("big", 6, 10**7, 0.99, ratio=1 / 6, ratio_low=0.1, ratio_high=0.2)
WORSE = row("worse", 7, 10**7, 0.99)
VOID = row("void", 0.5, 10, 1.0, valid=False, void_reasons=["other programs"])
FAILED = Row("LiteRT", "int8", FAILS, "no <b>operator</b>")
ROWS = [BIG, FAST, SMALL, VOID, FAILED]


def test_the_pareto_front_names_what_no_other_file_beats():
    assert [one.file for one in pareto.front([*ROWS, WORSE])] == ["fast", "small", "big"]
    errors = [row("a", 1, 10, 0.5, metric="MSE"), row("b", 2, 10, 0.1, metric="MSE")]
    errors.append(row("c", 3, 10, 0.2, metric="MSE"))
    assert [one.file for one in pareto.front(errors)] == ["a", "b"], "less error is better"
    twins = [row("a", 1, 1, 0.9), row("b", 1, 1, 0.9)]
    assert pareto.front(twins) == twins, "none beats its twin"
    assert pareto.front([VOID, FAILED]) == []


@pytest.mark.parametrize(
    "budget, wanted",
    [
        (Budget(max_ms=0.5), "fast (fast): p50 1 ms > 0.5 ms, 2 times the limit"),
        (Budget(max_mb=0.1), "small (small): 1 MB > 0.1 MB, 10 times the limit"),
        (Budget(min_accuracy=0.995), "99.50%, 2 times the errors that are allowed"),
        (Budget(max_ms=0.9, max_mb=8.9), "The nearest is small (small): p50 4 ms > 0.9 ms"),
        (Budget(min_accuracy=1), "The nearest is fast (fast): accuracy 90.00% < 100.00%."),
    ],
)
def test_if_nothing_fits_the_nearest_is_named_with_numbers(budget, wanted):
    said = advice(ROWS, budget)
    assert said.startswith("No file is within the budget.") and wanted in said
    assert re.search(r"^For (time|size|accuracy): ", said, re.MULTILINE), "what to try"
    assert "Pareto front (no other file is faster, smaller and better): fast (fast), small" in said


def test_columns_without_a_value_are_not_shown():
    shown = [column.title for column in columns.columns([FAST])]
    assert "accuracy" in shown and "peak (MB)" not in shown and "largest difference" not in shown
    assert "peak (MB)" in [one.title for one in columns.columns([row("a", 1, 1, 1, peak_mb=3)])]


def test_text_is_aligned_and_ranked():
    lines = output.as_text(ROWS).splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["fast", "small", "big", "void"]
    assert lines[1].endswith("yes") and lines[4].endswith("other programs")
    assert "0.25 [0.24, 0.26]" in lines[2] and "fastest" in lines[1] and "90.0%" in lines[1]
    assert lines[5] == "LiteRT, int8: no <b>operator</b>"
    at = lines[0].index("p50 (ms)") + len("p50 (ms)")
    assert all(line[:at].rstrip() == line[:at] for line in lines[:5]), "numbers end at one place"
    assert output.as_text([FAILED]) == lines[5] and output.as_text([]) == ""


def test_a_terminal_gets_a_table_that_fits(monkeypatch):
    pytest.importorskip("rich")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

        def fileno(self):
            return 1

    monkeypatch.setattr(
        output.os, "get_terminal_size", lambda descriptor: os.terminal_size((70, 24))
    )
    said = output.for_terminal(ROWS, Terminal())
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert max(map(len, plain.splitlines()[:-1])) <= 70 and "fast" in plain
    assert output.for_terminal(ROWS, io.StringIO()) == output.as_text(ROWS)


def test_csv_has_every_field_unrounded(tmp_path):
    exact = row("net.onnx", 1 / 3, 10, 0.9, others={"F1": 0.5}, void_reasons=["a", "b"])
    output.write_csv([exact, FAILED], tmp_path / "rows.csv")
    with open(tmp_path / "rows.csv", newline="") as file:
        first, second = csv.DictReader(file)
    assert float(first["p50_ms"]) == 1 / 3 and first["others.F1"] == "0.5"
    assert first["void_reasons"] == "a; b" and second["why"] == "no <b>operator</b>"
    assert second["p50_ms"] == "" and "latency" not in first


def test_the_page_stands_alone(tmp_path):
    machine = {"cpu": "Cortex <A76>", "cores": 4, "ram_mb": 8000, "python": "3.13.1"}
    text = page.page([("pi@a", ROWS, machine)], "net.pt2", ["Ship <it>\nnow"])
    assert "Cortex &lt;A76&gt;, 4 cores, 8.0 GB, Python 3.13.1" in text
    assert "<h2>pi@a</h2>" in text and "Ship &lt;it&gt;<br>now" in text
    assert "no &lt;b&gt;operator" in text and "prefers-color-scheme: dark" in text
    assert not re.search(r"(src|href)=|url\(|@import|<script", text), "it loads nothing"
    pictures = [xml.fromstring(found) for found in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert len(pictures) == 3, "bars of the times, then time and size against quality"
    for found in pictures[1:]:
        kinds = [group.get("class") for group in found.iter("g")]
        assert sorted(kinds) == ["best", "best", "best", "other"]
        numbers = [group.find("text").text for group in found.iter("g")]
        assert sorted(numbers) == ["1", "2", "3", "4"], "the numbers of the table's rows"
        for circle in found.iter("circle"):
            assert 0 < float(circle.get("cx")) < picture.WIDTH
            assert 0 < float(circle.get("cy")) < picture.HEIGHT


def test_pictures_of_few_or_equal_points():
    assert picture.picture([FAILED], "ms", lambda one: one.p50_ms) == ""
    assert picture.picture([row("a", 1, 1, None)], "ms", lambda one: one.p50_ms) == ""
    for quality in (0.0, 0.9, 1.0, 1e-12, -3.0):
        twins = [row("a", 2, 1, quality), row("b", 2, 1, quality)]
        found = xml.fromstring(picture.picture(twins, "ms", lambda one: one.p50_ms))
        assert len(found.findall(".//circle")) == 2


@pytest.mark.parametrize(
    "values, ticks",
    [([0.9, 0.99], [0.9, 0.92, 0.94, 0.96, 0.98, 1.0]), ([10, 40], [10, 15, 20, 25, 30, 35, 40])],
)
def test_ticks_are_round_numbers(values, ticks):
    low, high, found = picture._axis(values)
    assert low < min(values) and high > max(values) and found == pytest.approx(ticks)


def test_only_results_reach_standard_output():
    code = (
        "import os\n"
        "from workbook.evaluate import output\n"
        "with output.results_only() as stream:\n"
        "    print('a library prints')\n"
        "    os.write(1, b'so does C++\\n')\n"
        "    os.system('echo and a program')\n"
        "    output.write(stream, 'the result')\n"
        "print('afterwards')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "the result\nafterwards\n", done.stderr
    for line in ("a library prints", "so does C++", "and a program"):
        assert line in done.stderr


def test_a_stream_in_the_place_of_standard_output_gets_the_results(capsys):
    with output.results_only() as stream:
        print("a library prints")
        output.write(stream, "the result")
    out, errors = capsys.readouterr()
    assert out == "the result\n" and errors == "a library prints\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
def test_results_for_a_full_disk(tmp_path):
    model, data = product(tmp_path)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(model, data, "--runtimes", "onnx", "--rounds", 6),
            cwd=ROOT,
            env=os.environ | {"WORKBOOK_BUILD": str(tmp_path)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1 and "cannot be written: No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "results").glob("*.jsonl")), "the records are kept"


@pytest.mark.parametrize(
    "name, message",
    [("", "is a folder"), ("none/a.csv", "there is no folder")],
)
def test_files_that_cannot_be_written_are_known_before(tmp_path, name, message):
    with pytest.raises(output.OutputError, match=message):
        output.check_writable(tmp_path / name)
    model, data = product(tmp_path)
    done = evaluate(tmp_path, model, data, "--csv", tmp_path / name)
    assert done.returncode == 1 and message in done.stderr and "racing" not in done.stderr


def test_the_whole_command_prints_json_alone_and_writes_files(tmp_path):
    model, data = product(tmp_path)
    arguments = (model, data, "--runtimes", "onnx", "--rounds", 6)
    files = ("--csv", tmp_path / "a.csv", "--html", tmp_path / "a.html")
    done = evaluate(tmp_path / "build", *arguments, "--json", *files)
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)
    assert found["accuracy"] == 1 and found["file"] == "net.onnx" and found["ratio"] == 1
    assert "<svg" in (tmp_path / "a.html").read_text() and "net.onnx" in files[1].read_text()
    done = evaluate(tmp_path / "build", *arguments, "--max-ms", 1e-9)
    # on a busy machine, no measurement is valid
    assert done.returncode == 0 and re.search("No file (is within|was measured)", done.stdout)
