"""Cameras on USB and streams from the network, through OpenCV.

OpenCV also opens /dev/video0 of a Pi's ribbon-cable camera, and then reads nothing from it. So each
source is tested by reading a frame (https://github.com/opencv/opencv/issues/22820).
"""

import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from helpers.quiet import quiet
from helpers.vision.sources import (
    DEFAULT_FPS,
    DEFAULT_SIZE,
    FRAME_TIMEOUT_S,
    UNPLUGGED,
    CameraError,
    Size,
    Source,
    checked,
    fitted,
    no_frames,
    rgb,
)

DEVICES = Path("/dev")
TRIES = 3  # some USB cameras fail to deliver their first frames
OLDEST_NS = 1_000_000_000  # an older time stamp is on another clock


def open_usb(name: str, size: Size | None, fps: float | None) -> Source:
    """The camera `name`, as "usb:0", through OpenCV; on Linux with V4L2."""
    number = name.removeprefix("usb:")
    if not number.isdecimal():
        raise CameraError(f"{name} is no USB camera: give a number, as in usb:0")
    device = DEVICES / f"video{number}"
    is_linux = sys.platform == "linux"
    if is_linux and not device.exists():
        others = sorted(path.name.replace("video", "usb:") for path in DEVICES.glob("video*"))
        there = ", ".join(others) or "none"
        raise CameraError(
            f"{name} does not exist (there is no {device}; found: {there}): plug the camera in. A "
            "camera on a Pi's ribbon cable is the source picamera2"
        )
    system = cv2.CAP_V4L2 if is_linux else cv2.CAP_ANY
    with quiet():
        capture = cv2.VideoCapture(int(number), system)
    try:
        if not capture.isOpened():
            raise CameraError(_why_no_usb(name, device))
        return UsbCamera(capture, name, device, size or DEFAULT_SIZE, fps or DEFAULT_FPS)
    except BaseException:
        capture.release()
        raise


def _why_no_usb(name: str, device: Path) -> str:
    users = _users(device)
    if users:
        return f"{name} is in use by {', '.join(users)}: close that program, then start again"
    if device.exists() and not os.access(device, os.R_OK | os.W_OK):
        return (
            f"{name} may not be used by you: `sudo usermod -aG video $USER`, then log out and log "
            "in again"
        )
    return (
        f"{name} cannot be opened: another program uses it, or it is no camera. Close other "
        "programs, try usb:1, and on a Pi `v4l2-ctl --list-devices` names them"
    )


def _users(device: Path) -> list[str]:
    """The processes that have `device` open; those of other users are not visible."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            files = {os.readlink(file) for file in (process / "fd").iterdir()}
            if str(device) in files:
                program = (process / "comm").read_text(encoding="utf-8").strip()
                found.append(f"{program} (process {process.name})")
        except OSError:  # it has ended, or belongs to another user
            continue
    return found


class UsbCamera(Source):
    """A camera that OpenCV reads. Its driver has a few buffers, so read it all the time."""

    def __init__(
        self, capture: cv2.VideoCapture, name: str, device: Path, size: Size, fps: float
    ) -> None:
        width, height = size
        if width * height > DEFAULT_SIZE[0] * DEFAULT_SIZE[1]:
            # USB 2 is too slow for larger pictures at 30 frames per second without compression
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_FPS, fps)
        super().__init__(name, size, capture.get(cv2.CAP_PROP_FPS) or fps)
        self._camera = capture
        self._device = device
        for _ in range(TRIES):
            is_read, image = capture.read()
            if is_read:
                break
        else:
            raise CameraError(self._why_no_frame())
        self.size = (image.shape[1], image.shape[0])
        checked(image, name)

    def _capture(self) -> tuple[np.ndarray, int]:
        is_read, image = self._camera.read()
        if not is_read:
            raise CameraError(self._why_no_frame())
        return rgb(image, self.name), self._exposed_ns()

    def _exposed_ns(self) -> int:
        """The driver's time stamp if it has one on our clock, otherwise now.

        The driver of USB cameras stamps the start of the exposure with CLOCK_MONOTONIC (Linux,
        drivers/media/usb/uvc/uvc_queue.c), and OpenCV's V4L2 gives it as the position.
        """
        now_ns = time.monotonic_ns()
        stamp_ns = round(self._camera.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if 0 <= now_ns - stamp_ns < OLDEST_NS:
            return stamp_ns
        return now_ns

    def _why_no_frame(self) -> str:
        if self.frames:
            return no_frames(self, UNPLUGGED)
        users = _users(self._device)
        others = [user for user in users if f"process {os.getpid()}" not in user]
        if others:
            return f"{self.name} is in use by {', '.join(others)}: close it, then start again"
        return no_frames(
            self,
            "a camera on a Pi's ribbon cable is the source picamera2; plug a USB camera in again, "
            "or try the next number",
        )

    def _release(self) -> None:
        self._camera.release()


def open_stream(address: str, size: Size | None) -> Source:
    """A stream from the network (RTSP or HTTP), through OpenCV's FFmpeg."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    name = f"{parts.scheme}://{host}{parts.path}"  # without a password
    timeout_ms = round(FRAME_TIMEOUT_S * 1000)
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    with quiet():
        capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, [*limits, timeout_ms])
    try:
        if not capture.isOpened():
            raise CameraError(
                f"{name} cannot be opened: check the address, the password and the network, and "
                "that the camera is switched on"
            )
        return Stream(capture, name, size)
    except BaseException:
        capture.release()
        raise


class Stream(Source):
    """A stream that OpenCV reads. The time of exposure is unknown: it is the time of arrival."""

    def __init__(self, capture: cv2.VideoCapture, name: str, size: Size | None) -> None:
        super().__init__(name, size or DEFAULT_SIZE, capture.get(cv2.CAP_PROP_FPS) or DEFAULT_FPS)
        self._camera = capture
        self._fit = size
        image, _ = self._capture()
        self.size = (image.shape[1], image.shape[0])

    def _capture(self) -> tuple[np.ndarray, int]:
        is_read, image = self._camera.read()
        if not is_read:
            raise CameraError(no_frames(self, "check the network and the camera, then start again"))
        arrived_ns = time.monotonic_ns()
        return fitted(rgb(image, self.name), self._fit), arrived_ns

    def _release(self) -> None:
        self._camera.release()
