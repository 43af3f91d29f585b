"""Two published claims, judged by arithmetic: what would have to be true?

1. A row for int8 with exactly the time of its float32 row. Two measurements never agree to the
   last digit, and int8 is faster or slower: such a row was copied.
2. A face detector (Ultra-Light slim-320, MNN) with 65 frames per second on a Raspberry Pi 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from workbook.evaluate.published import FIGURES, Published, of_network

MOBILENET_GMACS = 0.301  # helpers.metrics.count_macs of mobilenet_v2, 3 x 224 x 224
FACE_GMACS = 0.0862  # half of the GFLOPs that OpenVINO's model zoo publishes for 320 x 240
FACE_FPS = 65.0
FACE_MHZ = 1950.0
SOURCES = (
    "https://github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB (accuracy, times), "
    "https://docs.openvino.ai/2021.4/omz_models_model_ultra_lightweight_face_detection_slim_320.html"
    " (GFLOPs), https://github.com/Qengineering/Face-detection-Raspberry-Pi-32-64-bits (what is "
    "timed)"
)
STOCK_MHZ = 1500.0  # of the Raspberry Pi 4 that MobileNetV2 ran on: its clock is not stated
# the authors' own figures: Raspberry Pi 4B at 1.5 GHz, MNN, int8, 320 x 240, the network alone
AUTHORS_MS = {1: 29.0, 2: 16.0, 3: 12.0, 4: 9.5}


def copied(figures: Sequence[Published] = FIGURES) -> list[tuple[Published, Published]]:
    """Pairs of rows that differ in the precision only, and not in the time."""
    pairs = []
    for number, first in enumerate(figures):
        for second in figures[number + 1 :]:
            same = ("network", "machine", "runtime", "source")
            is_pair = all(getattr(first, name) == getattr(second, name) for name in same)
            if is_pair and first.precision != second.precision and first.ms == second.ms:
                pairs.append((first, second))
    return pairs


@dataclass(frozen=True)
class Reference:
    """A published figure of a Pi 4, and the frames per second that the face detector would reach.

    `fps` assumes as many MACs per clock cycle as in the reference.
    """

    name: str
    gmacs_per_s: float
    fps: float


def rates(mhz: float = FACE_MHZ) -> list[Reference]:
    """What MobileNetV2's published times on a Pi 4 imply for the face detector at `mhz`."""
    found = []
    for figure in of_network("mobilenet_v2"):
        if figure.machine == "Raspberry Pi 4":
            rate = MOBILENET_GMACS / figure.ms * 1e3
            name = f"MobileNetV2, {figure.runtime}, {figure.precision}"
            found.append(Reference(name, rate, rate * mhz / STOCK_MHZ / FACE_GMACS))
    return found


def authors_fps(cores: int, mhz: float = FACE_MHZ) -> float:
    """The frames per second of the authors' own times, at another clock."""
    return 1e3 / AUTHORS_MS[cores] * mhz / STOCK_MHZ


def needed_rate() -> float:
    """The GMACs per second that the claim needs."""
    return FACE_GMACS * FACE_FPS


def as_text() -> str:
    """Both claims with their arithmetic."""
    lines = ["Claim 1: int8 takes exactly as long as float32"]
    for first, second in copied():
        lines.append(
            f"  {first.network}, {first.machine}: {first.ms:g} ms in {first.precision} and "
            f"{second.ms:g} ms in {second.precision}: a copied row, not a measurement"
        )
    lines += [
        "",
        f"Claim 2: {FACE_FPS:g} frames per second for a face detector on a Pi 4, "
        f"{FACE_MHZ:,.0f} MHz",
        f"  a frame takes {1e3 / FACE_FPS:.1f} ms, so {FACE_GMACS:g} GMACs need "
        f"{needed_rate():.1f} GMACs per second",
        "  at that clock, other published figures of a Pi 4 would give:",
    ]
    for found in rates():
        lines.append(f"  {found.fps:5.0f} FPS from {found.name} ({found.gmacs_per_s:.1f} GMACs/s)")
    for cores in AUTHORS_MS:
        lines.append(f"  {authors_fps(cores):5.0f} FPS from the authors' int8, {cores} core(s)")
    lines += [
        "  The claim lies between these rates. It is believable for the network alone, on a",
        "  processor overclocked by 30 %. What you would need to know: threads, int8 or float32,",
        "  what was timed, the temperature after ten minutes. Its source leaves out loading,",
        "  drawing and showing. A camera with 30 frames per second shows 30. And 67.1 % is the AP",
        "  on one of three parts of WIDER FACE, medium: comparable with no AP on COCO.",
        f"Sources: {SOURCES}",
    ]
    return "\n".join(lines)
