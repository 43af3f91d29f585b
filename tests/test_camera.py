"""helpers.vision.camera and stages: sources of frames, the newest of them, and their failures.

No camera is needed. This kernel has no v4l2loopback, so cameras are faked at the border of their
libraries: a module `picamera2` with the calls that we use, and a class in place of
cv2.VideoCapture. Videos, folders and processes that hold a device open are real.
"""

import http.server
import itertools
import subprocess
import sys
import threading
import time
import types
import weakref

import cv2
import numpy as np
import psutil
import pytest
from virtual_time import VirtualTime

from helpers.vision import camera, opencv_cameras, sources
from helpers.vision.camera import CameraError, Frame, Latest, Source, open_source
from helpers.vision.stages import StageClock

MS = 1_000_000
PERIOD_NS = 1e9 / 30
READOUT_NS = 5 * MS  # from the exposure until a program can have the frame
DRAW_NS = 1 * MS
MINUTE = 1800  # frames
SMALL = np.zeros((4, 4, 3), np.uint8)
RED = (255, 0, 0)


# the newest frame, with a simulated clock


class SimulatedCamera(Source):
    """30 frames per second of simulated time; remembers which of them are still in memory."""

    def __init__(self, time, frames):
        super().__init__("simulation", (4, 4), 30)
        self.time = time
        self.count = frames
        self.alive = weakref.WeakSet()
        self.most_alive = 0

    def _capture(self):
        if self.frames == self.count:
            return None
        exposed_ns = round(self.frames * PERIOD_NS)
        self.time.sleep_until(exposed_ns + READOUT_NS)
        return SMALL, exposed_ns

    def __next__(self):
        frame = super().__next__()
        self.alive.add(frame)
        self.most_alive = max(self.most_alive, len(self.alive))
        return frame

    def _release(self):
        self.count = self.frames


def watch(monkeypatch, network_ns, frames=MINUTE):
    """A minute of a live picture: its source, the Latest, the stages, and each frame's number and
    time from light to result."""
    simulated = VirtualTime()
    monkeypatch.setattr(camera, "Condition", simulated.Condition)
    monkeypatch.setattr(camera, "Thread", simulated.Thread)
    source = SimulatedCamera(simulated, frames)
    stages = StageClock(simulated.clock, keep=frames)
    shown = []
    with Latest(source) as latest:
        while (frame := latest.take()) is not None:
            stages.begin(frame)
            with stages.stage("network"):
                simulated.sleep(network_ns)
            with stages.stage("draw"):
                simulated.sleep(DRAW_NS)
            stages.finish(frame)
            shown.append((frame.number, simulated.now_ns - frame.exposed_ns))
    return source, latest, stages, shown


def predicted(network_ns, frames=MINUTE):
    """The same by arithmetic: a loop that takes the newest frame, or waits for the next one."""
    now = 0
    number = -1
    shown = []
    while True:
        newest = min(int((now - READOUT_NS) // PERIOD_NS), frames - 1)
        number = max(number + 1, newest)
        if number >= frames:
            return shown
        now = max(now, number * PERIOD_NS + READOUT_NS) + network_ns + DRAW_NS
        shown.append((number, now - number * PERIOD_NS))


@pytest.mark.parametrize("network_ms", [10, 33, 100])
def test_shown_dropped_and_latency_are_what_arithmetic_says(network_ms, monkeypatch):
    source, latest, stages, shown = watch(monkeypatch, network_ms * MS)
    expected = predicted(network_ms * MS)
    rate = min(30, 1000 / (network_ms + 1))
    assert len(shown) == pytest.approx(60 * rate, rel=0.1)
    assert len(shown) == pytest.approx(len(expected), rel=0.01)
    assert latest.dropped == MINUTE - len(shown)
    assert stages.frames == len(shown)
    assert stages.fps == pytest.approx(rate, rel=0.02)
    for q in (50, 90):
        by_arithmetic = np.percentile([ns for _, ns in expected], q) / MS
        assert stages.latency_ms(q) == pytest.approx(by_arithmetic, rel=0.1)
    whole_step_ns = (network_ms + 1) * MS
    latencies = np.array([ns for _, ns in shown])
    assert latencies.min() >= READOUT_NS + whole_step_ns - 1
    assert latencies.max() <= READOUT_NS + PERIOD_NS + whole_step_ns + 1, "never older than a frame"
    half = len(latencies) // 2
    assert latencies[half:].max() <= latencies[:half].max() * 1.01, "latency does not grow"
    assert source.most_alive <= 3, "memory is constant"


def test_frames_come_in_order_and_none_twice(monkeypatch):
    _, _, _, shown = watch(monkeypatch, 70 * MS, frames=300)
    numbers = [number for number, _ in shown]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 299, "the last frame is shown"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("network_ms", [10, 33, 100])
def test_a_minute_in_real_time(network_ms):
    stages = StageClock(keep=MINUTE)
    process = psutil.Process()
    source = sources.Playback("made", (SMALL.copy() for _ in itertools.count()), None, 30)
    memory = []
    ages = []
    with Latest(source) as latest:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            frame = latest.take()
            with stages.stage("network"):
                time.sleep(network_ms / 1000)
            stages.finish(frame)
            ages.append(time.monotonic_ns() - frame.exposed_ns)
            memory.append(process.memory_info().rss)
        seen = frame.number + 1
    rate = min(30, 1000 / network_ms)
    assert len(ages) == pytest.approx(60 * rate, rel=0.1)
    assert latest.dropped == pytest.approx(seen - len(ages), abs=2)
    assert seen == pytest.approx(1800, rel=0.1)
    expected = np.percentile([ns for _, ns in predicted(network_ms * MS)], 50) / MS
    without_camera = (READOUT_NS + DRAW_NS) / MS  # this loop has neither
    assert stages.latency_ms(50) == pytest.approx(expected - without_camera, rel=0.1, abs=17)
    thirds = np.array_split(np.array(ages), 3)
    assert np.median(thirds[2]) <= np.median(thirds[0]) + PERIOD_NS / 2, "latency does not grow"
    assert memory[-1] - memory[len(memory) // 4] < 8_000_000


# the newest frame, in real time: errors, the end, and closing


def test_a_folder_ends_and_the_thread_with_it(pictures):
    with Latest(open_source(pictures, fps=100)) as latest:
        numbers = []
        while (frame := latest.take()) is not None:
            numbers.append(frame.number)
        assert latest.take() is None
    assert numbers[-1] == len(ANSWERS) - 1
    assert len(numbers) + latest.dropped == len(ANSWERS)
    assert not [thread for thread in threading.enumerate() if "frames of" in thread.name]


def test_close_does_not_wait_for_the_next_frame(pictures):
    latest = Latest(open_source(pictures, fps=0.01))
    assert latest.take().number == 0
    begin = time.monotonic()
    latest.close()
    latest.close()
    assert time.monotonic() - begin < 1
    assert latest.take() is None


def test_take_ends_when_another_thread_closes(pictures):
    latest = Latest(open_source(pictures, fps=0.01))
    latest.take()
    threading.Timer(0.1, latest.close).start()
    assert latest.take(timeout_s=20) is None


def test_an_error_of_the_source_arrives_after_its_last_frame(fake_opencv):
    fake_opencv.frames = 3
    stopped = pytest.raises(CameraError, match="usb:0 stopped after 2 frames: check its cable")
    with Latest(open_source("usb:0")) as latest, stopped:
        while latest.take() is not None:
            pass
    assert fake_opencv.released == 1


def test_a_source_that_hangs(pictures):
    with Latest(open_source(pictures, fps=0.01)) as latest:
        latest.take()
        with pytest.raises(CameraError, match="no frame for 0.05 s: check its cable"):
            latest.take(timeout_s=0.05)


# files: the same answers as the frames singly

COLOURS = [RED, (0, 255, 0), (0, 0, 255), (255, 255, 255)]
ANSWERS = [(n % 4, n % 3, n * 7 % 4) for n in range(12)]  # row, column and colour of a square


def drawn(row, column, colour):
    image = np.full((96, 128, 3), 40, np.uint8)
    image[row * 24 :, column * 32 :][:24, :32] = COLOURS[colour]
    return image


def answer(image):
    """Where the brightest square is, and its colour."""
    assert image.shape == (96, 128, 3) and image.dtype == np.uint8
    cells = image.reshape(4, 24, 4, 32, 3).mean(axis=(1, 3))
    row, column = np.unravel_index(cells.max(axis=2).argmax(), (4, 4))
    distances = np.abs(np.array(COLOURS) - cells[row, column]).sum(axis=1)
    return int(row), int(column), int(distances.argmin())


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, squares in enumerate(ANSWERS):
        bgr = cv2.cvtColor(drawn(*squares), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / f"{number:03}.png"), bgr)
    return folder


def write_video(path, images, fps=200, code="mp4v"):
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), fps, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_folder_and_a_video_give_the_answers_of_single_frames(pictures, tmp_path):
    images = [drawn(*squares) for squares in ANSWERS]
    assert [answer(image) for image in images] == ANSWERS
    video = write_video(tmp_path / "clip.mp4", images)
    for spec in (pictures, str(video)):
        with open_source(spec, fps=200) as source:
            frames = list(source)
        assert [answer(frame.image) for frame in frames] == ANSWERS
        assert [frame.number for frame in frames] == list(range(len(ANSWERS)))
        assert source.size == (128, 96)


def test_red_is_red(tmp_path, fake_opencv, fake_picamera2):
    """The third and fourth are fakes that have BGR in memory where the libraries have it."""
    red = np.full((48, 64, 3), RED, np.uint8)
    folder = tmp_path / "red"
    folder.mkdir()
    cv2.imwrite(str(folder / "red.png"), red[..., ::-1])
    fake_opencv.colour = fake_picamera2.colour = RED
    for spec in (folder, "usb:0", "picamera2"):
        with open_source(spec) as source:
            assert next(source).image[5, 5].tolist() == [255, 0, 0], spec


class RedStream(http.server.BaseHTTPRequestHandler):
    """MJPEG over HTTP, as network cameras send it: 20 red pictures, then the connection ends."""

    def do_GET(self):
        red = np.full((48, 64, 3), RED[::-1], np.uint8)
        jpeg = cv2.imencode(".jpg", red)[1].tobytes()
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        header = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        for _ in range(20):
            self.wfile.write(header.encode() + jpeg + b"\r\n")

    def log_message(self, *_):
        """Print nothing."""


def test_red_is_red_in_a_stream_that_ends():
    """A real server on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RedStream) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/live"
        ends = pytest.raises(CameraError, match=f"{address} stopped after .* frames: check the net")
        with open_source(address, size=(64, 64)) as source, ends:
            for frame in source:
                assert frame.image.shape == (64, 64, 3)
                assert np.abs(frame.image[32, 32] - np.array(RED)).max() < 10
        server.shutdown()
    assert source.frames >= 10


def test_red_is_red_in_a_video(tmp_path):
    video = write_video(tmp_path / "red.mp4", [np.full((48, 64, 3), RED, np.uint8)] * 3)
    with open_source(video) as source:
        red, green, blue = next(source).image[5, 5].tolist()
    assert red > 230 and green < 25 and blue < 25


def test_files_are_played_at_their_rate(tmp_path):
    video = write_video(tmp_path / "clip.mp4", [SMALL.repeat(16, 0).repeat(16, 1)] * 8, fps=50)
    with open_source(video) as source:
        assert source.fps == 50
        exposed = np.array([frame.exposed_ns for frame in source])
    assert np.diff(exposed).min() >= 20 * MS
    assert abs(time.monotonic_ns() - exposed[-1]) < 1000 * MS


def test_files_fill_a_size(pictures):
    with open_source(pictures, size=(64, 64), fps=100) as source:
        image = next(source).image
    assert image.shape == (64, 64, 3) and source.size == (64, 64)
    assert image[0, 0].tolist() == [114] * 3, "a border, not a stretched picture"


def test_scenes_move_and_are_always_the_same():
    with open_source("scenes", fps=200) as source, open_source("scenes", fps=200) as again:
        images = [next(source).image for _ in range(10)]
        assert all((next(again).image == image).all() for image in images)
    assert all((before != after).any() for before, after in itertools.pairwise(images))
    assert images[0].shape == (480, 480, 3)
    with pytest.raises(StopIteration):
        next(source)


# fakes at the border of the libraries


class FakeOpenCV:
    """cv2.VideoCapture: BGR in memory, and it may open without reading, as a Pi's /dev/video0."""

    def __init__(self):
        self.is_open = True
        self.frames = 10
        self.colour = (10, 20, 30)
        self.released = 0
        self.opened = []
        self.properties = {cv2.CAP_PROP_FPS: 30.0}
        self.shape = (48, 64, 3)
        self.dtype = np.uint8

    def __call__(self, *arguments):
        self.opened.append(arguments)
        return self

    def isOpened(self):
        return self.is_open

    def get(self, key):
        return self.properties.get(key, 0.0)

    def set(self, key, value):
        return True

    def read(self):
        if self.frames == 0:
            return False, None
        self.frames -= 1
        image = np.zeros(self.shape, self.dtype)
        if self.shape[2:] == (3,):
            image[:] = self.colour[::-1]
        return True, image

    def release(self):
        self.released += 1


@pytest.fixture
def fake_opencv(monkeypatch, tmp_path):
    fake = FakeOpenCV()
    fake.device = tmp_path / "video0"
    fake.device.touch()
    monkeypatch.setattr(opencv_cameras, "DEVICES", tmp_path)
    monkeypatch.setattr(opencv_cameras.sys, "platform", "linux")
    monkeypatch.setattr(cv2, "VideoCapture", fake)
    return fake


class FakePicamera2:
    """picamera2.Picamera2: libcamera's names of formats, jobs with a result, counted requests."""

    def __init__(self):
        self.cameras = [{"Model": "imx708"}]
        self.refusal = None
        self.frames = 10
        self.colour = (10, 20, 30)
        self.requests = 0
        self.closed = 0
        self.boot_ahead_ns = 0
        self.shape = None

    def __call__(self):
        if self.refusal is not None:
            try:
                raise RuntimeError(self.refusal)
            except RuntimeError:
                raise RuntimeError("Camera __init__ sequence did not complete.")  # noqa: B904
        return self

    def global_camera_info(self):
        return self.cameras

    def create_video_configuration(self, main, controls):
        return {"main": main, "controls": controls}

    def configure(self, configuration):
        self.configuration = configuration

    def start(self):
        self.is_started = True

    def capture_request(self, wait):
        assert wait is False
        return self

    def get_result(self, timeout):
        if self.frames == 0:
            raise TimeoutError
        self.frames -= 1
        self.requests += 1
        assert self.requests == 1, "the request before was not released"
        return self

    def make_array(self, name):
        width, height = self.configuration[name]["size"]
        order = {"BGR888": slice(None), "RGB888": slice(None, None, -1)}  # the bytes in memory
        image = np.zeros(self.shape or (height, width, 3), np.uint8)
        image[:] = self.colour[order[self.configuration[name]["format"]]]
        return image

    def get_metadata(self):
        self.exposed_ns = time.monotonic_ns() - 20 * MS
        return {"SensorTimestamp": self.exposed_ns + self.boot_ahead_ns, "ExposureTime": 9000}

    def release(self):
        self.requests -= 1

    def close(self):
        self.closed += 1


@pytest.fixture
def fake_picamera2(monkeypatch):
    fake = FakePicamera2()
    module = types.ModuleType("picamera2")
    module.Picamera2 = fake
    monkeypatch.setitem(sys.modules, "picamera2", module)
    return fake


def test_picamera2_gives_pictures_with_their_exposure_and_is_released(fake_picamera2, monkeypatch):
    """A fake picamera2, and a machine that was suspended for an hour since it was started."""
    fake_picamera2.boot_ahead_ns = 3_600_000_000_000
    monkeypatch.setattr(
        time, "clock_gettime_ns", lambda _: time.monotonic_ns() + fake_picamera2.boot_ahead_ns
    )
    with open_source("picamera2", size=(320, 240), fps=36) as source:
        frame = next(source)
        assert frame.image.shape == (240, 320, 3)
        assert abs(frame.exposed_ns - fake_picamera2.exposed_ns) < 5 * MS
        assert source.size == (320, 240)
    controls = fake_picamera2.configuration["controls"]
    assert controls == {"FrameDurationLimits": (27778, 27778)}
    assert fake_picamera2.closed == 1 and fake_picamera2.requests == 0


@pytest.mark.parametrize("age_ms, is_used", [(25, True), (-5, False), (5_000_000, False)])
def test_usb_uses_the_time_stamp_of_the_driver_if_it_can_be_right(fake_opencv, age_ms, is_used):
    """A fake cv2.VideoCapture whose position is the driver's time stamp."""
    with open_source("usb:0") as source:
        stamp_ms = time.monotonic_ns() / MS - age_ms
        fake_opencv.properties[cv2.CAP_PROP_POS_MSEC] = stamp_ms
        exposed_ms = next(source).exposed_ns / MS
    assert (abs(exposed_ms - stamp_ms) < 0.01) == is_used
    assert fake_opencv.released == 1


# failures: one sentence each, which says what to do


def no_usb_camera(opencv, picamera2):
    opencv.device.unlink()


def reads_nothing(opencv, picamera2):
    opencv.frames = picamera2.frames = 0


def vanishes(opencv, picamera2):
    opencv.frames = picamera2.frames = 3


def wrong_format(opencv, picamera2):
    opencv.shape = (48, 64, 2)
    picamera2.shape = (48, 64, 4)
    picamera2.colour = (1, 2, 3, 4)


def sixteen_bits(opencv, picamera2):
    opencv.dtype = np.uint16


def does_not_open(opencv, picamera2):
    opencv.is_open = False
    picamera2.refusal = "Failed to start the pipeline"


def is_busy(opencv, picamera2):
    picamera2.refusal = "Failed to acquire camera: Device or resource busy"


def is_busy_in_an_older_version(opencv, picamera2):
    picamera2.refusal = "camera.acquire() returned unexpected code: -16"


def no_ribbon_camera(opencv, picamera2):
    picamera2.cameras = []


def without_picamera2(opencv, picamera2):
    sys.modules["picamera2"] = None


FAILURES = [
    ("usb:0", no_usb_camera, "usb:0 does not exist .* plug the camera in"),
    ("usb:0", reads_nothing, "opens and delivers no picture: .* is the source picamera2"),
    ("usb:0", vanishes, "usb:0 stopped after 2 frames: check its cable"),
    ("usb:0", wrong_format, "wrong format: .* 48 x 64 x 2 uint8.* Choose another camera"),
    ("usb:0", sixteen_bits, "wrong format: .* 48 x 64 x 3 uint16.* Choose another camera"),
    ("usb:0", does_not_open, "cannot be opened: another program uses it, .* try usb:1"),
    ("usb:one", vanishes, "give a number, as in usb:0"),
    ("picamera2", no_ribbon_camera, "no camera is found on the ribbon cable: .* check both ends"),
    ("picamera2", reads_nothing, "opens and delivers no picture: check its cable"),
    ("picamera2", vanishes, "picamera2 stopped after 2 frames: check its cable"),
    ("picamera2", wrong_format, "wrong format: .* 48 x 64 x 4"),
    ("picamera2", does_not_open, "Failed to start the pipeline.*: see if `rpicam-hello`"),
    ("picamera2", is_busy, "in use by another program: close"),
    ("picamera2", is_busy_in_an_older_version, "in use by another program: close"),
    ("picamera2", without_picamera2, "sudo apt install python3-picamera2.*--system-site-packages"),
    ("rtsp://me:secret@10.0.0.1:554/1", does_not_open, "rtsp://10.0.0.1:554/1 cannot be opened"),
    ("rtsp://10.0.0.1/1", reads_nothing, "opens and delivers no picture: check the network"),
    ("http://10.0.0.1/1", vanishes, "stopped after 2 frames: check the network"),
]


@pytest.mark.parametrize("spec, failure, message", FAILURES)
def test_each_failure_of_a_camera_is_one_sentence(
    spec, failure, message, fake_opencv, fake_picamera2, monkeypatch
):
    """A fake cv2.VideoCapture for usb and streams, a fake module picamera2 for picamera2."""
    monkeypatch.setitem(sys.modules, "picamera2", sys.modules["picamera2"])
    failure(fake_opencv, fake_picamera2)
    with pytest.raises(CameraError, match=message) as caught, open_source(spec) as source:
        for _ in source:
            pass
    text = str(caught.value)
    assert "\n" not in text and "secret" not in text and len(text) < 260
    opened = len(fake_opencv.opened)
    assert fake_opencv.released >= opened, "the device is released"


def test_picamera2_is_closed_after_a_failure(fake_picamera2):
    fake_picamera2.frames = 0
    with pytest.raises(CameraError):
        open_source("picamera2")
    assert fake_picamera2.closed == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_busy_device_names_the_program(fake_opencv):
    """A fake cv2.VideoCapture that does not open, and a real process that has the file open."""
    code = "import sys; file = open(sys.argv[1]); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(fake_opencv.device)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        fake_opencv.is_open = False
        with pytest.raises(CameraError, match=rf"in use by .* \(process {program.pid}\): close"):
            open_source("usb:0")
        fake_opencv.is_open = True
        fake_opencv.frames = 0
        with pytest.raises(CameraError, match=rf"in use by .* \(process {program.pid}\): close"):
            open_source("usb:0")
        program.communicate(b"\n")


BROKEN_IMPORTS = [
    ("raise ValueError('numpy.dtype size changed, may indicate')", "pip install simplejpeg"),
    ("import libcamera_that_is_missing", "no module libcamera_that_is_missing.*apt install"),
    ("raise ImportError('libcamera.so.0.5: not found')", "libcamera.so.0.5.*full-upgrade"),
]


@pytest.mark.parametrize("code, message", BROKEN_IMPORTS)
def test_picamera2_that_cannot_be_imported(code, message, tmp_path, monkeypatch):
    """A fake picamera2.py; the first message is the one of simplejpeg 1.7.2 with numpy 2.4.6."""
    (tmp_path / "picamera2.py").write_text(code)
    monkeypatch.delitem(sys.modules, "picamera2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CameraError, match=message):
        open_source("picamera2")


def test_damaged_and_missing_files(tmp_path, pictures):
    images = [drawn(*squares) for squares in ANSWERS]
    video = write_video(tmp_path / "clip.mp4", images)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    for name in ("cut.mp4", "text.mp4", "empty.mp4"):
        with pytest.raises(CameraError, match=rf"{name} is no video .* or it is damaged: copy it"):
            open_source(tmp_path / name)
    with pytest.raises(CameraError, match="000.png is a single picture: name the folder"):
        open_source(pictures / "000.png")
    with pytest.raises(CameraError, match="missing.mp4 does not exist: name a video"):
        open_source(tmp_path / "missing.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CameraError, match="the folder empty contains no pictures"):
        open_source(tmp_path / "empty")


def test_a_picture_that_is_damaged_half_way(pictures):
    broken = sorted(pictures.iterdir())[2]
    broken.write_bytes(broken.read_bytes()[:60])
    with open_source(pictures, fps=200) as source:
        assert [next(source).number, next(source).number] == [0, 1]
        with pytest.raises(CameraError, match="002.png is (not a picture|damaged)"):
            next(source)


def test_a_video_that_ends_early(tmp_path):
    """An .avi of half its length opens; OpenCV gives what is there, and no error."""
    images = [drawn(*squares) for squares in ANSWERS] * 4
    video = write_video(tmp_path / "clip.avi", images, code="MJPG")
    with open_source(video) as source:
        assert len(list(source)) == len(images)
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    ends = pytest.raises(CameraError, match="ends after .* of 48 frames: .* copy it again")
    with open_source(video) as source, ends:
        list(source)
    assert 12 < source.frames < 36


@pytest.mark.parametrize("wrong", [{"size": (0, 4)}, {"size": (4,)}, {"fps": 0}, {"fps": np.nan}])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        open_source("scenes", **wrong)


def test_neither_torch_nor_a_camera_is_needed():
    code = "import helpers.vision.camera, helpers.vision.stages, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# the stage clock


def test_stages_of_a_simulated_clock():
    now = 0

    def clock():
        return now

    stages = StageClock(clock, keep=10)
    assert np.isnan(stages.fps) and np.isnan(stages.latency_ms(50)) and stages.frames == 0
    for number in range(100):
        frame = Frame(SMALL, now, number)
        now += 5 * MS
        stages.begin(frame)
        for name, duration in {"network": 20 + number % 10, "draw": 5}.items():
            with stages.stage(name):
                now += duration * MS
        stages.finish(frame)
    table = stages.table()
    assert table.index.tolist() == ["capture", "network", "draw", "light to result"]
    assert table["p50_ms"].tolist() == [5, 25, 5, 35]
    assert table["p90_ms"].tolist() == [5, 29, 5, 39]
    assert stages.latency_ms(90) == 39
    assert stages.frames == 100
    assert stages.fps == pytest.approx(1000 / 34.5, rel=0.02), "of the last 10 frames"


def test_a_stage_that_fails_is_not_counted():
    stages = StageClock()
    with pytest.raises(ZeroDivisionError), stages.stage("network"):
        1 / 0  # noqa: B018
    assert stages.table().index.tolist() == ["light to result"]


def test_stages_from_two_threads():
    stages = StageClock(keep=1000)

    def work(name):
        for _ in range(500):
            with stages.stage(name):
                stages.table()

    threads = [threading.Thread(target=work, args=[name]) for name in ("network", "draw")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {"network", "draw"} < set(stages.table().index)
