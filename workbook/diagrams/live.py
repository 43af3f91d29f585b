"""Picture of notebook 11: a camera, a slot for one frame, and a network that takes the newest."""

from workbook.diagrams.picture import SMALL, Picture

PERIOD_MS = 1000 / 30  # of the camera
NETWORK_MS = 110
FRAMES = 13


def taken(network_ms: float, period_ms: float, frames: int) -> list[tuple[int, float]]:
    """[(number of a frame, when the network takes it in ms)], always the newest of `frames`.

    >>> taken(110, 1000 / 30, 10)
    [(0, 0.0), (3, 110.0), (6, 220.0), (9, 330.0)]
    """
    found = []
    now = 0.0
    number = 0
    while number < frames:
        found.append((number, now))
        now += network_ms
        number = max(number + 1, int(now // period_ms))
        now = max(now, number * period_ms)
    return found


def latest_frame() -> Picture:
    """The way of a frame to the display, and which frames a slow network takes."""
    network = taken(NETWORK_MS, PERIOD_MS, FRAMES)
    used = [number for number, _ in network]
    picture = Picture(
        "The newest frame only",
        f"A camera puts each frame into a slot that holds one. A network of {NETWORK_MS} ms takes "
        f"the newest, and the display shows its result. Of the frames 0 to {FRAMES - 1} it takes "
        f"{', '.join(map(str, used))}; the others are replaced before the network is free.",
        350,
    )
    blocks = (
        ("camera", "30 a second", 16, 140, "plain"),
        ("slot", "one frame", 196, 120, "blue"),
        ("network", f"{NETWORK_MS} ms", 360, 120, "orange"),
        ("display", "a JPEG", 524, 140, "green"),
    )
    for name, about, x, width, look in blocks:
        picture.block(x, 16, width, 72, name, about, look=look)
    for left, right in ((156, 196), (316, 360), (480, 524)):
        picture.arrow((left, 52), (right, 52))
    picture.arrow((256, 88), (256, 124))
    picture.text(272, 112, "replaced by a newer frame: dropped", "quiet", SMALL, "start")

    def x_of(ms: float) -> float:
        return 40 + 1.4 * ms

    picture.text(16, 160, "frames of the camera", size=SMALL, anchor="start")
    for number in range(FRAMES):
        x = x_of(number * PERIOD_MS)
        is_used = number in used
        picture.box(x - 17, 178, 34, 32, "blue" if is_used else "empty dashed")
        picture.text(x, 194, str(number), "" if is_used else "quiet", SMALL)
    for number, start in network:
        picture.arrow((x_of(number * PERIOD_MS), 210), (x_of(start), 244))
        end = min(x_of(start + NETWORK_MS) - 3, 664)
        picture.box(x_of(start), 244, end - x_of(start), 40, "orange")
        picture.text((x_of(start) + end) / 2, 264, f"frame {number}", size=SMALL)
    picture.text(16, 306, "the network, which takes the newest frame", size=SMALL, anchor="start")
    picture.text(
        16, 332, "dashed: dropped, so that the picture never falls behind", "quiet", SMALL, "start"
    )
    return picture
