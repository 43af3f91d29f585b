"""The camera on a Pi's ribbon cable, through picamera2, which Raspberry Pi OS installs."""

import importlib
import time
from typing import Any

import numpy as np

from helpers.vision.sources import (
    DEFAULT_FPS,
    DEFAULT_SIZE,
    FRAME_TIMEOUT_S,
    UNPLUGGED,
    CameraError,
    Size,
    Source,
    checked,
    no_frames,
)

# Debian 12 compiled picamera2's simplejpeg for numpy 1, and binaries for numpy 1 do not load with
# numpy 2 (https://github.com/raspberrypi/picamera2/issues/1211). Those for numpy 2.2, which
# Debian 13 has, load with every later numpy 2
# (https://numpy.org/doc/stable/dev/depending_on_numpy.html).
FOR_NUMPY_1 = "size changed", "compiled using NumPy 1"
BUSY = "busy", "-16", "acquire", "Configured state"  # -16 is EBUSY


def open_pi_camera(size: Size | None, fps: float | None) -> Source:
    """The first camera on a ribbon cable, through picamera2."""
    picamera2 = _picamera2()
    if not picamera2.global_camera_info():
        raise CameraError(
            "no camera is found on the ribbon cable: switch the Pi off, check both ends of the "
            "cable, and see if `rpicam-hello --list-cameras` lists it. A USB camera is usb:0"
        )
    try:
        camera = picamera2()
    except (RuntimeError, IndexError) as error:
        raise CameraError(_why_not_open(error)) from error
    try:
        return PiCamera(camera, size or DEFAULT_SIZE, fps or DEFAULT_FPS)
    except BaseException:
        camera.close()
        raise


def _picamera2() -> Any:
    """The class Picamera2."""
    try:
        return importlib.import_module("picamera2").Picamera2
    except ModuleNotFoundError as error:
        raise CameraError(
            f"picamera2 is not found (no module {error.name}): `sudo apt install "
            "python3-picamera2` on the Pi, then create .venv again with --system-site-packages. "
            "On other machines use usb:0, a video or scenes"
        ) from error
    except (ImportError, ValueError) as error:
        if any(text in str(error) for text in FOR_NUMPY_1):
            raise CameraError(
                "the system's camera software was compiled for numpy 1: `pip install simplejpeg` "
                "in .venv installs the part that needs numpy 2"
            ) from error
        raise CameraError(
            f"picamera2 cannot be loaded ({error}): `sudo apt full-upgrade` on the Pi, then create "
            ".venv again with --system-site-packages"
        ) from error


def _why_not_open(error: Exception) -> str:
    """picamera2 hides the reason in the exception before the last."""
    reasons = []
    link: BaseException | None = error
    while link is not None:
        reasons.append(str(link))
        link = link.__cause__ or link.__context__
    if any(sign in reason for reason in reasons for sign in BUSY):
        return (
            "the camera is in use by another program: close other notebooks that use it, "
            "`workbook live` and rpicam programs, or restart the kernel of this notebook"
        )
    return (
        f"picamera2 cannot open the camera ({reasons[-1]}): see if `rpicam-hello` shows a picture, "
        "and restart the Pi"
    )


class PiCamera(Source):
    """A camera on the ribbon cable. One request gives the picture and its time of exposure.

    Two calls, capture_array and capture_metadata, take two frames and halve the rate
    (https://github.com/raspberrypi/picamera2/issues/950).
    """

    def __init__(self, camera: Any, size: Size, fps: float) -> None:
        super().__init__("picamera2", size, fps)
        period_us = round(1e6 / fps)
        # libcamera names formats from the highest byte: "BGR888" is R, G, B in memory
        configuration = camera.create_video_configuration(
            main={"size": size, "format": "BGR888"},
            controls={"FrameDurationLimits": (period_us, period_us)},
        )
        self._camera = camera
        try:
            camera.configure(configuration)
            camera.start()
        except (RuntimeError, ValueError) as error:
            raise CameraError(
                f"the camera cannot give {size[0]} x {size[1]} pixels at {fps:g} frames per second "
                f"({error}): try a smaller size or rate"
            ) from error
        image, _ = self._capture()
        self.size = (image.shape[1], image.shape[0])

    def _capture(self) -> tuple[np.ndarray, int]:
        job = self._camera.capture_request(wait=False)
        try:
            request = job.get_result(timeout=FRAME_TIMEOUT_S)
        except TimeoutError as error:
            raise CameraError(no_frames(self, UNPLUGGED)) from error
        try:
            image = request.make_array("main")
            stamp_ns = request.get_metadata().get("SensorTimestamp")
        finally:
            request.release()  # the camera has few buffers and stops without a free one
        exposed_ns = time.monotonic_ns()
        if stamp_ns is not None:
            exposed_ns = from_boot_time(stamp_ns)
        return checked(image, self.name), exposed_ns

    def _release(self) -> None:
        self._camera.close()


def from_boot_time(stamp_ns: int) -> int:
    """A time of CLOCK_BOOTTIME on the clock of time.monotonic_ns.

    SensorTimestamp is on the former (https://libcamera.org/api-html/, control SensorTimestamp),
    which also counts the time that a machine was suspended.
    """
    before_ns = time.monotonic_ns()
    boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    after_ns = time.monotonic_ns()
    return stamp_ns - boot_ns + (before_ns + after_ns) // 2
