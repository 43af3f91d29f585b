"""Frames from a camera, a video, a folder or moving scenes, and always the newest of them.

    with open_source("usb:0") as source, Latest(source) as latest:
        while (frame := latest.take()) is not None:
            show(network(frame.image))

A network that is slower than the camera then misses frames and is never late: the frame that it
takes is at most one frame old.
"""

import math
from pathlib import Path
from threading import Condition, Thread

from helpers.vision.opencv_cameras import open_stream, open_usb
from helpers.vision.pi_camera import open_pi_camera
from helpers.vision.sources import (
    CameraError,
    Frame,
    Size,
    Source,
    play_folder,
    play_scenes,
    play_video,
)

__all__ = ["CameraError", "Frame", "Latest", "Source", "open_source"]

TIMEOUT_S = 10.0  # longer than any camera or stream takes for a frame


def open_source(spec: Path | str, size: Size | None = None, fps: float | None = None) -> Source:
    """Open what `spec` names, and read a first frame as a test.

    "picamera2"   the camera on the ribbon cable of a Pi
    "usb:0"       a USB camera; the number is that of /dev/video0
    "scenes"      scenes of handwritten digits that move, without end
    "rtsp://..."  a stream; also http:// and https://
    otherwise     a video file, or a folder of pictures, played once

    `size` is width and height in pixels, `fps` frames per second. A camera may choose the nearest
    values that it has, so read them from the result: its `.size` and `.fps`. Files and streams get
    grey borders to fill `size`, and a stream keeps its own rate. Without them, cameras give
    640 x 480 pixels at 30 frames per second, and files what they hold.

    The time of exposure is measured by the sensor for picamera2 and by the driver for USB cameras
    on Linux. For streams it is the time of arrival. Files have it when a camera at `fps` would.

    CameraError if the source does not exist, is used by another program, is damaged, or opens and
    delivers nothing; the message says what to do. ValueError for a wrong `size` or `fps`.

    >>> with open_source("scenes", fps=120) as source:
    ...     frame = next(source)
    >>> frame.image.shape, frame.number
    ((480, 480, 3), 0)
    """
    _check(size, fps)
    name = str(spec)
    if name == "picamera2":
        return open_pi_camera(size, fps)
    if name.startswith("usb:"):
        return open_usb(name, size, fps)
    if name == "scenes":
        return play_scenes(size, fps)
    if "://" in name:
        return open_stream(name, size)
    path = Path(name).expanduser()
    if path.is_dir():
        return play_folder(path, size, fps)
    if path.is_file():
        return play_video(path, size, fps)
    raise CameraError(
        f"{name} does not exist: name a video, a folder of pictures, picamera2, usb:0, scenes or "
        "the address of a stream"
    )


def _check(size: Size | None, fps: float | None) -> None:
    if size is not None:
        are_whole = all(isinstance(pixels, int) and pixels > 0 for pixels in size)
        if len(size) != 2 or not are_whole:
            raise ValueError(f"size must be width and height in whole pixels, not {size}")
    if fps is not None and not (0 < fps < math.inf):
        raise ValueError(f"fps must be a number above 0, not {fps}")


class Latest:
    """The newest frame of a source, which is read in a thread of its own.

    Only one frame is kept. `dropped` counts the frames that a newer one replaced before anyone took
    them. Leaving the `with` block ends the thread and closes the source.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.dropped = 0
        self._newest: Frame | None = None
        self._error: Exception | None = None
        self._is_over = False
        self._changed = Condition()
        self._thread = Thread(target=self._read, name=f"frames of {source.name}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Latest":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def take(self, timeout_s: float = TIMEOUT_S) -> Frame | None:
        """The newest frame that was not taken yet; waits for one if needed. None at the end.

        An error of the source is raised here, after its last frame. CameraError if no frame arrives
        within `timeout_s`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._is_over, timeout_s)
            frame = self._newest
            self._newest = None
            if frame is not None:
                return frame
            if self._error is not None:
                raise self._error
            if self._is_over:
                return None
        raise CameraError(
            f"{self.source.name} delivered no frame for {timeout_s:g} s: check its cable or its "
            "network, then start again"
        )

    def close(self) -> None:
        """End the thread and close the source; `take` returns None from now on."""
        with self._changed:
            self._is_over = True
            self._newest = None
            self._error = None
            self._changed.notify_all()
        self.source.close()
        self._thread.join()

    def _read(self) -> None:
        error = None
        try:
            for frame in self.source:
                if not self._put(frame):
                    break
        except Exception as raised:  # take() raises it, in the thread that can show it
            error = raised
        finally:
            self.source.close()
        with self._changed:
            if not self._is_over:
                self._error = error
                self._is_over = True
            self._changed.notify_all()

    def _put(self, frame: Frame) -> bool:
        """Replace the newest frame; False after close()."""
        with self._changed:
            if self._is_over:
                return False
            self.dropped += self._newest is not None
            self._newest = frame
            self._changed.notify_all()
        return True
