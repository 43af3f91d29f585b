"""FastestDet on an emulated Pi 4 and Pi 5: the same boxes as here.

`make test-all` runs it. Compared are boxes, never times. ncnn's half precision needs a Pi 5's
processor; what it changes is printed.
"""

import inspect
import json

import emulated_pi
import numpy as np
import pytest

from helpers import data
from helpers.vision import open_detector

pytestmark = [
    pytest.mark.skipif(bool(emulated_pi.missing()), reason=str(emulated_pi.missing())),
    pytest.mark.data,
]
FILES = ("fastestdet.onnx", "fastestdet.ncnn.param")
PHOTOS = 3
PIXELS = 0.5  # how far a box may be from the same box on x86
CLOSE = 5  # pixels, in half precision

DETECT = """
import json, sys
import ncnn
from helpers.vision import open_detector
from modelfiles.runtimes import ncnn_file

def half_net(threads):
    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = True
    net.opt.use_fp16_storage = True
    net.opt.use_fp16_arithmetic = True
    return net

files, photos, precision = map(json.loads, sys.argv[1:])
if precision == "float16":
    ncnn_file.float32_net = half_net
print(json.dumps(detected(files, photos)))
"""


@pytest.fixture(scope="module")
def photos():
    return [photo.path for photo in data.coco("val").photos[:PHOTOS]]


def on_the_pi(cpu, files, photos, precision="float32"):
    """What `detected` returns on an emulated processor."""
    places = [[str(path) for path in paths] for paths in (files, photos)]
    arguments = map(json.dumps, [*places, precision])
    script = inspect.getsource(detected) + DETECT
    done = emulated_pi.run(cpu, "-c", script, *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def detected(files, photos):
    """{file and photo: [class, score, box]}; the emulated Pi runs this function too."""
    found = {}
    for file in files:
        detector = open_detector(file)
        for photo in photos:
            one = detector.detect(photo, confidence=0.25, iou=0.45)
            rows = zip(one.classes.tolist(), one.scores.tolist(), one.boxes.tolist())
            found[f"{detector.model.path.name} {photo}"] = list(rows)
    return found


def farthest(theirs, ours):
    """The largest distance in pixels between the sides of the same boxes; classes must agree."""
    assert [row[0] for row in theirs] == [row[0] for row in ours]
    sides = np.array([row[2] for row in theirs]) - np.array([row[2] for row in ours])
    return np.abs(sides).max(initial=0)


def nearest(row, others):
    """How far the sides of a box are from those of the nearest box of its class, in pixels."""
    same = [other[2] for other in others if other[0] == row[0]]
    return min((np.abs(np.subtract(box, row[2])).max() for box in same), default=np.inf)


@pytest.mark.parametrize("cpu", emulated_pi.CPUS)
def test_fastestdet_finds_the_same_boxes(cpu, photos):
    files = [data.fetch(name) for name in FILES]
    data.fetch("fastestdet.ncnn.bin")
    ours = detected(files, photos)
    theirs = on_the_pi(cpu, files, photos)
    assert theirs.keys() == ours.keys() and sum(map(len, ours.values())) >= PHOTOS
    apart = {key: farthest(theirs[key], ours[key]) for key in ours}
    print(f"\n{cpu}: boxes differ by at most {max(apart.values()):.2g} pixels")
    assert max(apart.values()) <= PIXELS


def test_half_precision_on_a_pi_5(photos):
    file = [data.fetch("fastestdet.ncnn.param")]
    full = on_the_pi("cortex-a76", file, photos)
    half = on_the_pi("cortex-a76", file, photos, "float16")
    assert half != full, "the processor has half precision, and ncnn did not use it"
    apart = [nearest(row, half[key]) for key, rows in full.items() for row in rows]
    close = sum(distance <= CLOSE for distance in apart)
    print(
        f"\nfloat16 against float32: {close} of {len(apart)} boxes are found again within {CLOSE} "
        f"pixels, half of them within {np.median(apart):.2g} pixels"
    )
    assert close >= 2 / 3 * len(apart)
