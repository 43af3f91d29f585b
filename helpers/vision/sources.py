"""What all sources of frames share, and those that need no camera: videos, folders, moving scenes.

helpers.vision.camera.open_source opens every kind.
"""

import itertools
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from helpers.data import scenes
from helpers.errors import WorkbookError
from helpers.quiet import quiet
from helpers.vision.fitting import letterbox
from helpers.vision.images import SUFFIXES, list_images, read_image

DEFAULT_FPS = 30.0
DEFAULT_SIZE = (640, 480)  # of cameras
FRAME_TIMEOUT_S = 5.0
UNPLUGGED = "check its cable and its power supply, then start again"
FASTEST_FPS = 240.0  # a file that states more is not believed
COMPLETE = 0.9  # of the frames that a file promises; some formats only estimate their number
SCENE_SIDE = 480  # pixels of a moving scene, height and width
FRAMES_PER_SCENE = 90
DIFFERENT_SCENES = 20
SHAKE = 24  # pixels that a scene moves to each side, as before a camera held in the hand
Size = tuple[int, int]  # width, height

# FFmpeg in OpenCV prints a line for each damaged block; -8 is its level "quiet"
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


class CameraError(WorkbookError, OSError):
    """A camera, a stream, a video or a folder of pictures cannot be opened or read."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A picture, and when the camera caught its light.

    `image` is uint8, height x width x 3, RGB. `exposed_ns` is on the clock of time.monotonic_ns.
    `number` counts the frames of the source from 0: a gap means that frames were dropped.
    """

    image: np.ndarray
    exposed_ns: int
    number: int


class Source(ABC):
    """An iterator of frames that is closed at the end of its `with` block.

    `name` is for messages, `size` is width and height in pixels, `fps` the frames per second that
    the source promises. Reading raises a CameraError if the source fails half-way.
    """

    def __init__(self, name: str, size: Size, fps: float) -> None:
        self.name = name
        self.size = size
        self.fps = fps
        self.frames = 0  # that were read so far
        self._closed = threading.Event()
        self._reading = threading.Lock()
        self._is_released = False

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        with self._reading:
            captured = None
            if not self._closed.is_set():
                captured = self._capture()
        if captured is None:
            self.close()
            raise StopIteration
        image, exposed_ns = captured
        self.frames += 1
        return Frame(image, exposed_ns, self.frames - 1)

    def close(self) -> None:
        """Release the camera or the file; a second call has no effect. Any thread may call it."""
        self._closed.set()
        with self._reading:  # releasing a camera while it is read crashes some drivers
            if not self._is_released:
                self._is_released = True
                self._release()

    @abstractmethod
    def _capture(self) -> tuple[np.ndarray, int] | None:
        """The next picture as RGB and its time of exposure; None at the end."""

    @abstractmethod
    def _release(self) -> None:
        """Give the camera or the file back."""


class Playback(Source):
    """Pictures from files, given at the rate of a camera.

    The time of exposure of a picture is the time when it is due. A reader that is late by more than
    a frame shifts the times of all later frames: a picture from a file cannot be missed.
    """

    def __init__(
        self, name: str, pictures: Iterator[np.ndarray], size: Size | None, fps: float
    ) -> None:
        self._first: np.ndarray | None = fitted(next(pictures), size)
        self._pictures = pictures
        self._fit = size
        self._due_ns: int | None = None
        height, width = self._first.shape[:2]
        super().__init__(name, (width, height), fps)

    def _capture(self) -> tuple[np.ndarray, int] | None:
        image = self._first
        self._first = None
        if image is None:
            following = next(self._pictures, None)
            if following is None:
                return None
            image = fitted(following, self._fit)
        return image, self._wait()

    def _wait(self) -> int:
        """Wait until the next frame is due; its time of exposure in nanoseconds."""
        now_ns = time.monotonic_ns()
        period_ns = round(1e9 / self.fps)
        if self._due_ns is None or now_ns > self._due_ns + 2 * period_ns:
            self._due_ns = now_ns
        else:
            self._due_ns += period_ns
        self._closed.wait(max(0, self._due_ns - now_ns) / 1e9)
        return max(now_ns, self._due_ns)

    def _release(self) -> None:
        close = getattr(self._pictures, "close", None)
        if close is not None:  # a generator that has a file open
            close()


def fitted(image: np.ndarray, size: Size | None) -> np.ndarray:
    """`image` with grey borders where it does not fill `size`; unchanged without a size."""
    if size is None or image.shape[1::-1] == size:
        return image
    width, height = size
    return letterbox(image, height, width)[0]


def play_folder(folder: Path, size: Size | None, fps: float | None) -> Source:
    """The pictures of a folder in the order of their names, once."""
    try:
        pictures = (read_image(path) for path in list_images(folder))
        return Playback(folder.name, _explained(pictures), size, fps or DEFAULT_FPS)
    except ValueError as error:
        raise CameraError(str(error)) from error


def _explained(pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same pictures; a damaged one raises a CameraError."""
    try:
        yield from pictures
    except (ValueError, FileNotFoundError) as error:
        raise CameraError(str(error)) from error


def play_scenes(size: Size | None, fps: float | None) -> Source:
    """Scenes of handwritten digits that move, without end: the n-th frame is always the same."""
    return Playback("scenes", _moving_scenes(), size, fps or DEFAULT_FPS)


def _moving_scenes() -> Iterator[np.ndarray]:
    stills = [scene.image for scene in scenes(DIFFERENT_SCENES, seed=11, split="test")]
    for still in itertools.cycle(stills):
        large = cv2.resize(still, (SCENE_SIDE, SCENE_SIDE), interpolation=cv2.INTER_LINEAR)
        wide = np.pad(large, SHAKE, mode="reflect")
        for number in range(FRAMES_PER_SCENE):
            turn = 2 * math.pi * number / FRAMES_PER_SCENE
            x = SHAKE + round(SHAKE * math.sin(turn))
            y = SHAKE + round(SHAKE * math.sin(2 * turn))
            yield cv2.cvtColor(wide[y : y + SCENE_SIDE, x : x + SCENE_SIDE], cv2.COLOR_GRAY2RGB)


def play_video(path: Path, size: Size | None, fps: float | None) -> Source:
    """The frames of a video file, once, at its own rate or at `fps`."""
    if path.suffix.lower() in SUFFIXES:
        raise CameraError(f"{path.name} is a single picture: name the folder that it is in")
    with quiet():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        stated = video.get(cv2.CAP_PROP_FPS)
    if not 0 < stated <= FASTEST_FPS:
        stated = DEFAULT_FPS
    return Playback(path.name, _video_frames(video, path.name), size, fps or stated)


def _video_frames(video: cv2.VideoCapture, name: str) -> Iterator[np.ndarray]:
    try:
        promised = video.get(cv2.CAP_PROP_FRAME_COUNT)
        frames = 0
        is_read, image = video.read()
        while is_read:
            yield rgb(image, name)
            frames += 1
            is_read, image = video.read()
        if frames == 0:
            raise CameraError(
                f"{name} is no video that can be read, or it is damaged: copy it again, or convert "
                "it to MP4 with H.264"
            )
        if frames < COMPLETE * promised:
            raise CameraError(
                f"{name} ends after {frames} of {promised:.0f} frames: it is damaged or "
                "incomplete, so copy it again"
            )
    finally:
        video.release()


def rgb(image: np.ndarray, name: str) -> np.ndarray:
    """OpenCV's picture, which is BGR, as RGB. CameraError if it is no colour picture of 8 bits."""
    return cv2.cvtColor(checked(image, name), cv2.COLOR_BGR2RGB)


def checked(image: np.ndarray, name: str) -> np.ndarray:
    """`image`. CameraError if it is no colour picture of 8 bits."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        shape = " x ".join(map(str, image.shape))
        raise CameraError(
            f"{name} has the wrong format: its pictures are {shape} {image.dtype}, and the "
            "workbook reads height x width x 3 uint8. Choose another camera (usb:1, usb:2, ...) or "
            "convert the file"
        )
    return image


def no_frames(source: Source, advice: str) -> str:
    """The message for a source that stopped, or that never delivered a frame."""
    if source.frames:
        return f"{source.name} stopped after {source.frames} frames: {advice}"
    return f"{source.name} opens and delivers no picture: {advice}"
