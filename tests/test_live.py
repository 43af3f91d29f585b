"""`workbook live`: the page, its guards, its bounds, start and stop. Sources are made here."""

import http.client
import json
import re
import socket
import threading
import time
import tracemalloc
from dataclasses import dataclass, field

import cv2
import numpy as np
import onnx
import pytest
from ssh_servers import listening, wait_until

from helpers import device
from helpers.vision.camera import CameraError, Frame, Latest
from helpers.vision.stages import StageClock
from modelfiles.errors import ModelFileError, WorkbookError
from workbook.cli import main
from workbook.live import command, defaults, handler, heat, pipeline, server, view
from workbook.live import session as session_module
from workbook.live.networks import ClassifierStep, DetectorStep, open_step
from workbook.live.pipeline import Label, Newest
from workbook.live.server import LiveServer
from workbook.live.session import Session


class Counted:
    """A source of `count` frames at `fps`; the red of frame n is 16 n, from 240 on again 0."""

    def __init__(self, count: int = 10**6, fps: float = 100, size=(64, 48), error=None) -> None:
        self.name = "counted"
        self.size = size
        self.fps = fps
        self.count = count
        self.error = error
        self.closed = threading.Event()

    def __iter__(self):
        for number in range(self.count):
            if self.closed.wait(1 / self.fps):
                return
            image = np.zeros((self.size[1], self.size[0], 3), np.uint8)
            image[..., 0] = 16 * number % 256
            yield Frame(image, time.monotonic_ns(), number)
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed.set()


@dataclass
class Same:
    """A network that finds the same in every picture."""

    stages: StageClock = field(default_factory=StageClock)
    labels: tuple[Label, ...] = ()
    name: str = "same.onnx"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        with self.stages.stage("network"):
            self.labels = (Label("<b>cat</b>", 0.75),)
            return image


@pytest.fixture
def opened():
    """The sources that were opened, in order."""
    return []


@pytest.fixture
def session(opened):
    def open_source():
        opened.append(Counted())
        return opened[-1]

    with Session(open_source, Same()) as session:
        yield session


@pytest.fixture
def live(session):
    session.start()
    with LiveServer(session) as live:
        yield live


def ask(live, path="/state", method="GET", token=None, **headers):
    """(status, headers, body)"""
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not False:
        headers.setdefault("X-Token", live.token if token is None else token)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


# ---- who may ask


@pytest.mark.parametrize("path", ["/state", "/frame?after=0", "/start", "/stop", "/", "/none"])
@pytest.mark.parametrize("token", [False, "", "wrong", "ü", "x" * 10_000])
def test_without_the_token_nothing_is_shown_or_done(live, path, token):
    method = "POST" if path in ("/start", "/stop") else "GET"
    if token and not token.isascii():
        token = token.encode().decode("latin-1")
    status, headers, body = ask(live, path, method, token)
    assert status == 403 and b"wrong token" in body and live.token.encode() not in body
    assert live.session.is_running
    assert not {name for name in headers if name.lower().startswith("access-control")}


def test_the_page_takes_the_token_from_its_address_and_nothing_else_does(live):
    page = f"/?token={live.token}"
    status, headers, body = ask(live, page, token=False)
    assert status == 200 and headers["Content-Type"] == "text/html; charset=utf-8"
    assert live.token.encode() not in body, "the script reads it from the address"
    assert ask(live, f"/?token={live.token}x", token=False)[0] == 403
    for path in ("/frame", "/state"):
        assert ask(live, f"{path}?token={live.token}", token=False)[0] == 403
    assert ask(live, f"/stop?token={live.token}", "POST", token=False)[0] == 403


def test_two_servers_have_other_tokens(live, session):
    with LiveServer(session) as other:
        assert other.token != live.token and len(other.token) >= 32
        assert ask(other, token=live.token)[0] == 403


@pytest.mark.parametrize(
    "host, status",
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("127.0.0.1:8080", 200),  # the other end of a tunnel has another port
        ("localhost", 200),
        ("evil.example:{port}", 403),  # a name that was made to mean 127.0.0.1
        ("127.0.0.1.evil.example:{port}", 403),
        ("192.168.1.20:{port}", 403),
        ("", 403),
    ],
)
def test_only_this_machine_is_a_host(live, host, status):
    assert ask(live, Host=host.format(port=live.port))[0] == status
    assert ask(live, "/version", token=False, Host=host.format(port=live.port))[0] == status


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_is_refused(live, origin):
    assert ask(live, "/stop", "POST", Origin=origin)[0] == 403
    assert live.session.is_running
    own = f"http://127.0.0.1:{live.port}"
    assert ask(live, "/state", Origin=own, Host=own.removeprefix("http://"))[0] == 200


def test_nothing_listens_beyond_loopback(live):
    import os

    ours = listening([os.getpid()])
    assert ("127.0.0.1", live.port) in ours
    assert {address for address, port in ours if port == live.port} == {"127.0.0.1"}


@pytest.mark.parametrize("path", ["/", "/state", "/frame", "/version", "/none"])
def test_the_headers_keep_pictures_out_of_caches_and_of_other_pages(live, path):
    _, headers, _ = ask(live, f"{path}?token={live.token}")
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Set-Cookie" not in headers
    assert headers["Server"] == "workbook"


def test_the_page_may_load_nothing_but_itself(live):
    seen = set()
    for _ in range(2):
        _, headers, body = ask(live, f"/?token={live.token}")
        policy = headers["Content-Security-Policy"]
        [nonce] = set(re.findall(r"'nonce-([\w-]+)'", policy))
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert body.count(f'nonce="{nonce}"'.encode()) == 2 and b"NONCE" not in body
        assert not re.search(rb"https?://", body), "nothing comes from elsewhere"
        seen.add(nonce)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "path, method, status",
    [
        ("/none", "GET", 404),
        ("/../../etc/passwd", "GET", 404),
        ("/start", "GET", 404),
        ("/frame", "POST", 404),
        ("/state", "PUT", 501),
        ("/state", "OPTIONS", 501),
    ],
)
def test_there_is_nothing_else(live, path, method, status):
    assert ask(live, path, method)[0] == status


def test_a_request_with_a_body_is_refused(live):
    assert ask(live, "/stop", "POST", Content_Length="1000000000")[0] == 413
    assert live.session.is_running


# ---- pictures and figures


def test_pictures_move_and_the_figures_fit_them(live):
    turns = []
    reds = []
    for _ in range(5):
        after = turns[-1] if turns else 0
        status, headers, body = ask(live, f"/frame?after={after}")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (48, 64, 3)
        reds.append(int(picture[24, 32, 2]))
        turns.append(int(headers["X-Turn"]))
        assert json.loads(headers["X-Labels"]) == [{"name": "<b>cat</b>", "score": 0.75}]
    assert turns == sorted(set(turns)) and len(set(reds)) == 5
    wait_until(lambda: json.loads(ask(live)[2]).get("fps"), 5)
    state = json.loads(ask(live)[2])
    assert state["running"] and state["source"] == "counted" and state["network"] == "same.onnx"
    assert state["labels"] == [{"name": "<b>cat</b>", "score": 0.75}]
    stages = [row["stage"] for row in state["stages"]]
    assert {"network", "encode"} <= set(stages)
    assert 0 < state["p50_ms"] <= state["p90_ms"] and state["problem"] == ""


def test_the_age_of_a_picture_is_that_of_its_light(live):
    _, headers, _ = ask(live, "/frame?after=0")
    assert "X-Age-Ms" not in headers
    time.sleep(0.3)
    shown = headers["X-Exposed"]
    _, headers, _ = ask(live, f"/frame?after={headers['X-Turn']}&shown={shown}")
    assert 300 <= float(headers["X-Age-Ms"]) < 5000


@pytest.mark.parametrize(
    "query", ["", "?after=x", "?after=-1", "?after=%C2%B2", "?after=" + "9" * 5000]
)
def test_a_number_that_is_none_counts_as_zero(live, query):
    assert ask(live, f"/frame{query}")[0] == 200


def test_without_a_new_picture_the_answer_is_empty(live, monkeypatch):
    monkeypatch.setattr(handler, "WAIT_S", 0.1)
    live.session.stop()
    status, _, body = ask(live, "/frame?after=0")
    assert (status, body) == (204, b"")


def test_a_stopped_camera_is_closed_and_leaves_no_picture(live, opened):
    assert ask(live, "/frame?after=0")[0] == 200
    state = json.loads(ask(live, "/stop", "POST")[2])
    assert not state["running"] and opened[0].closed.is_set()
    assert live.session.newest.after(0, 0) is None
    state = json.loads(ask(live, "/start", "POST")[2])
    assert state["running"] and len(opened) == 2
    assert ask(live, "/start", "POST")[0] == 200 and len(opened) == 2, "it runs already"
    assert ask(live, "/frame?after=0")[0] == 200


# ---- ten minutes


class HotPi:
    """The files and the firmware of a Pi 5 without a fan: from minute 5 on it is too hot."""

    def __init__(self, root):
        zone = root / "sys/class/thermal/thermal_zone0"
        zone.mkdir(parents=True)
        (zone / "type").write_text("cpu-thermal\n")
        self.root = root
        self.temp = zone / "temp"
        self.minute = 0.0

    @property
    def mhz(self) -> int:
        return 1500 if self.minute >= 5 else 2400

    def conditions(self) -> dict:
        self.temp.write_text(f"{round(1000 * min(85, 50 + 7 * self.minute))}\n")
        return device.conditions(self.root, self.answer)

    def answer(self, command: list[str]) -> str:
        if command == ["vcgencmd", "measure_clock", "arm"]:
            return f"frequency(0)={self.mhz}000000\n"
        assert command == ["vcgencmd", "get_throttled"]
        return "throttled=0xe0008\n" if self.minute >= 5 else "throttled=0x0\n"


def ten_minutes(pi: HotPi, network_ms: float) -> heat.Heat:
    """A camera with 30 frames per second and a network, on a clock that nobody waits for."""
    now_ns = 0
    stages = StageClock(lambda: now_ns)
    noted = heat.Heat(lambda: stages, pi.conditions, lambda: now_ns / 1e9)
    period_ns = round(1e9 / 30)
    while now_ns < 600e9:
        newest_ns = now_ns - now_ns % period_ns
        frame = Frame(np.zeros((4, 4, 3), np.uint8), newest_ns, now_ns // period_ns)
        stages.begin(frame)
        with stages.stage("network"):
            now_ns += round(network_ms * 1e6 * 2400 / pi.mhz)
        stages.finish(frame)
        now_ns = max(now_ns, newest_ns + period_ns)  # the next frame
        pi.minute = now_ns / 60e9
        if now_ns / 1e9 > 10 * (len(noted.moments) + 1):
            noted.note()
    return noted


def test_ten_minutes_on_a_hot_pi_show_when_it_gets_slow_and_why(tmp_path):
    noted = ten_minutes(HotPi(tmp_path), network_ms=30)
    assert len(noted.moments) == 60
    for moment in noted.moments:
        is_hot = moment.minute > 5.2
        if not 4.9 < moment.minute < 5.2:
            fps = 1000 / (30 * 2400 / 1500) if is_hot else 30
            assert moment.fps == pytest.approx(fps, rel=0.02)
            assert moment.ghz == (1.5 if is_hot else 2.4)
            assert moment.flags == ("soft temperature limit" if is_hot else "")
    assert noted.moments[0].temp_c < 52 and noted.moments[-1].temp_c == 85
    report = noted.report()
    assert "The rate fell from 30.0 to 20.8 frames per second in 10.0 minutes." in report
    assert re.search(r"From minute 5\.[01] on the Pi reported: soft temperature limit\.", report)
    table = noted.table()
    assert table.iloc[-1].tolist() == ["10.0", "20.8", "85.0", "1.50", "soft temperature limit"]
    assert heat.line(noted.moments[-1]) == "85.0 °C, 1.50 GHz, soft temperature limit"


def test_a_cool_machine_and_one_that_reports_nothing(tmp_path):
    pi = HotPi(tmp_path / "pi")
    pi.answer = lambda command: "throttled=0x50000\n"  # before this run, something happened
    assert ten_minutes(pi, network_ms=10).report() == (
        "The rate stayed about the same: 30.0 to 30.0 frames per second in 10.0 minutes. "
        "The Pi reported no throttling."
    )
    silent = dict.fromkeys(("clock_khz", "freq_khz", "temp_c", "throttled"))
    stages = StageClock()
    noted = heat.Heat(lambda: stages, lambda: silent, iter(range(0, 100, 10)).__next__)
    assert heat.line(noted.note()) == "" and "too short" in noted.report()
    noted.note()
    assert noted.report().endswith("This machine does not report throttling.")
    assert noted.table()["°C"].tolist() == ["-", "-"]


def test_a_picture_that_was_started_again_is_counted_from_zero():
    clocks = [StageClock()]
    silent = dict.fromkeys(("clock_khz", "freq_khz", "temp_c", "throttled"))
    noted = heat.Heat(lambda: clocks[-1], lambda: silent, iter(range(0, 100, 10)).__next__)
    clocks[-1].frames = 300
    assert noted.note().fps == 30
    clocks.append(StageClock())
    clocks[-1].frames = 100
    assert noted.note().fps == 10


# ---- bounds


def test_a_slow_browser_gets_the_newest_picture(live):
    """It misses pictures; between asking and getting one, at most a picture's time passes."""
    _, headers, _ = ask(live, "/frame?after=0")
    time.sleep(0.5)
    before = time.monotonic_ns()
    _, later, _ = ask(live, f"/frame?after={headers['X-Turn']}")
    assert int(later["X-Turn"]) - int(headers["X-Turn"]) > 5, "it missed pictures"
    age_ms = (before - int(later["X-Exposed"])) / 1e6
    assert age_ms < 250, "half a second of old pictures was not waiting for it"


def test_browsers_that_do_not_read_cost_no_memory_and_no_time(live, opened):
    """Each holds one picture at most, and the others get theirs."""
    request = f"GET /frame HTTP/1.1\r\nHost: localhost\r\nX-Token: {live.token}\r\n\r\n".encode()
    stuck = []
    for _ in range(5):
        connection = socket.create_connection(("127.0.0.1", live.port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request * 200)  # and no answer is read
        stuck.append(connection)
    try:
        wait_until(lambda: live.session.state()["frames"] > 20, 10)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        shown = live.session.state()["frames"]
        turn = 0
        for _ in range(20):
            status, headers, _ = ask(live, f"/frame?after={turn}")
            turn = headers["X-Turn"]
            assert status == 200
        grown = tracemalloc.get_traced_memory()[0] - before
        assert live.session.state()["frames"] > shown and grown < 2_000_000
    finally:
        tracemalloc.stop()
        for connection in stuck:
            connection.close()


def test_there_is_room_for_so_many_connections(live, monkeypatch):
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 3)
    held = [socket.create_connection(("127.0.0.1", live.port)) for _ in range(3)]
    wait_until(lambda: len(live._connections) == 3, 5)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(live)
    held.pop().close()
    wait_until(lambda: len(live._connections) == 2, 5)
    assert ask(live)[0] == 200, "one went away, and another can come"
    for connection in held:
        connection.close()


def test_two_browsers_at_once_each_get_moving_pictures(live):
    turns = {0: [], 1: []}

    def watch(browser):
        for _ in range(15):
            after = turns[browser][-1] if turns[browser] else 0
            _, headers, _ = ask(live, f"/frame?after={after}")
            turns[browser].append(int(headers["X-Turn"]))

    threads = [threading.Thread(target=watch, args=(browser,)) for browser in turns]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for seen in turns.values():
        assert len(seen) == 15 and seen == sorted(set(seen))


def test_a_browser_that_goes_away_half_way(live, capfd):
    for _ in range(10):
        connection = socket.create_connection(("127.0.0.1", live.port))
        connection.sendall(
            f"GET /frame HTTP/1.1\r\nHost: localhost\r\nX-Token: {live.token}\r\n\r\n".encode()
        )
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()  # with a reset
    wait_until(lambda: not live._connections, 10)
    assert ask(live, "/frame")[0] == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01" + b"\0" * 200])
def test_nonsense_is_survived(live, nonsense):
    with socket.create_connection(("127.0.0.1", live.port)) as connection:
        connection.sendall(nonsense)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(10)
        while connection.recv(4096):
            pass
    assert ask(live)[0] == 200


# ---- start, stop, errors


def test_the_end_leaves_no_thread_no_port_and_no_open_source(opened):
    def open_source():
        opened.append(Counted())
        return opened[-1]

    before = set(threading.enumerate())
    with Session(open_source, Same()) as session:
        session.start()
        with LiveServer(session) as live:
            port = live.port
            idle = socket.create_connection(("127.0.0.1", port))
            turn = ask(live, "/frame")[1]["X-Turn"]
            assert turn and len(threading.enumerate()) > len(before)
            start = time.monotonic()
        assert time.monotonic() - start < 3, "it waits for no browser"
    idle.close()
    assert set(threading.enumerate()) == before
    assert [source.closed.is_set() for source in opened] == [True]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


class Hangs(Counted):
    """A camera whose driver does not respond any more, until `awake` is set."""

    def __init__(self) -> None:
        super().__init__(count=3)
        self.awake = threading.Event()

    def __iter__(self):
        yield from super().__iter__()
        self.awake.wait(60)

    def close(self) -> None:
        self.awake.wait(60)
        super().close()


def test_a_camera_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(session_module, "CLOSE_S", 0.2)
    at_start = set(threading.enumerate())
    opened = [Hangs(), Counted()]
    hanging = opened[0]
    with Session(lambda: opened.pop(0), Same()) as session:
        session.start()
        wait_until(lambda: session.state()["frames"] > 0, 20)
        session.stop()  # it returns
        state = session.state()
        assert (
            not state["running"]
            and "does not respond, so it could not be closed" in (state["problem"])
        )
        session.start()
        assert session.is_running and session.state()["problem"] == ""
        hanging.awake.set()
        wait_until(lambda: hanging.closed.is_set(), 20)
        wait_until(lambda: session.state()["frames"] > 3, 20)
        assert session.is_running and session.newest.after(0, 5), "the old one ends nothing"
    wait_until(lambda: set(threading.enumerate()) <= at_start, 20)


class Fails(Same):
    """A network that fails."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        raise RuntimeError("a layer")


LOOSE = "the cable is loose: push it in"


@pytest.mark.parametrize(
    "source, step, problem",
    [
        (Counted(3), Same(), "counted has ended."),
        (Counted(3, error=CameraError(LOOSE)), Same(), LOOSE),
        (Counted(), Fails(), "RuntimeError: a layer"),
    ],
)
def test_what_ends_it_is_shown(source, step, problem):
    with Session(lambda: source, step) as session:
        session.start()
        wait_until(lambda: not session.is_running, 10)
        state = session.state()
        assert state["problem"] == problem and not state["running"]
        assert source.closed.is_set() and session.newest.after(0, 0) is None


def test_a_source_that_cannot_be_opened_again(live):
    live.session.stop()

    def fails():
        raise CameraError("/dev/video0 is used by another program: close it")

    live.session._open_source = fails
    state = json.loads(ask(live, "/start", "POST")[2])
    assert not state["running"] and "is used by another program" in state["problem"]
    with pytest.raises(CameraError):
        live.session.start()


# ---- the pipeline


def test_the_pipeline_shows_what_the_step_returns():
    stages = StageClock()
    shown = []
    stop = threading.Event()

    def show(jpeg, frame):
        shown.append((jpeg, frame.number))
        if len(shown) == 3:
            stop.set()

    def inverted(image):
        return 255 - image

    with Latest(Counted(fps=200)) as latest:
        pipeline.run(latest, inverted, show, stages, stop)
    assert stages.frames == len(shown) == 3
    numbers = [number for _, number in shown]
    assert numbers == sorted(set(numbers))
    jpeg, number = shown[0]
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    expected = [255 - 16 * number % 256, 255, 255]
    np.testing.assert_allclose(picture[24, 32].astype(int), expected, atol=6)


def test_the_newest_picture_replaces_the_others():
    newest = Newest()
    frames = [Frame(np.zeros((2, 2, 3), np.uint8), 10 * n, n) for n in range(3)]
    assert newest.after(0, 0) is None
    for frame in frames:
        newest.put(bytes([frame.number]), (), frame)
    shown = newest.after(0, 0)
    assert (shown.jpeg, shown.turn, shown.exposed_ns) == (b"\2", 3, 20)
    assert newest.after(1, 0) is shown and newest.after(3, 0.01) is None
    newest.clear()
    assert newest.after(0, 0.01) is None
    newest.put(b"again", (), frames[0])
    assert newest.after(3, 0).turn == 4, "turns go on, so a browser sees the first new one"


def test_labels_travel_with_their_picture_whatever_they_contain(live):
    """Line breaks of a label would otherwise become headers."""
    names = ["ÿ ü 猫", "a\r\nX-Other: 1", *map(str, range(50))]
    live.session.stop()
    frame = Frame(np.zeros((2, 2, 3), np.uint8), 1, 1)
    live.session.newest.put(b"jpeg", tuple(Label(name, 0.5) for name in names), frame)
    _, headers, body = ask(live, "/frame?after=0")
    found = [label["name"] for label in json.loads(headers["X-Labels"])]
    assert found == names[:10] and "X-Other" not in headers and body == b"jpeg"


# ---- networks


@pytest.fixture(scope="module")
def digit_file(tmp_path_factory):
    """A network with the shapes of the digit detector: it finds a 7 wherever it is bright."""
    weight = np.zeros((15, 1, 8, 8), np.float32)
    weight[0] = 16 / 64
    bias = np.zeros(15, np.float32)
    bias[0] = -8
    bias[5 + 7] = 6
    nodes = [onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"], strides=[8, 8])]
    path = tmp_path_factory.mktemp("live") / "digit_detector.onnx"
    return network_file(path, nodes, {"w": weight, "b": bias}, (1, 1, 96, 96), (1, 15, 12, 12))


def network_file(path, nodes, weights, shape, output):
    """A file with these nodes, from "x" to "y"."""
    numbers = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes)
        for name, sizes in (("x", shape), ("y", output))
    ]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], numbers)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


def colours(path, classes=3):
    """A classifier: the means of the three channels, and a low score for all other classes."""
    weight = np.zeros((classes, 3), np.float32)
    weight[:3] = 4 * np.eye(3)
    bias = np.full(classes, -30, np.float32)
    bias[:3] = 0
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        onnx.helper.make_node("Flatten", ["mean"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"], transB=1),
    ]
    return network_file(path, nodes, {"w": weight, "b": bias}, (1, 3, 32, 32), (1, classes))


def picture_of(colour, size=(48, 64)):
    return np.broadcast_to(np.array(colour, np.uint8), (*size, 3)).copy()


def test_a_detector_draws_boxes_and_names_digits(digit_file):
    step = open_step(digit_file)
    assert isinstance(step, DetectorStep) and step.name == "digit_detector.onnx"
    image = picture_of((200, 200, 200), (96, 96))
    drawn = step(image)
    assert drawn.shape == (480, 480, 3), "enlarged, so that labels can be read"
    assert (drawn != 200).any() and (image == 200).all(), "the frame itself does not change"
    assert {label.name for label in step.labels} == {"7"}
    assert list(step.stages.table().index[:4]) == ["resize", "network", "post-processing", "draw"]


@pytest.mark.parametrize(
    "colour, name", [((255, 0, 0), "red"), ((0, 255, 0), "green"), ((0, 0, 255), "blue")]
)
def test_a_classifier_sees_colours_in_their_order(tmp_path, colour, name):
    path = colours(tmp_path / "colours.onnx")
    step = open_step(path, ["red", "green", "blue"])
    assert isinstance(step, ClassifierStep)
    drawn = step(picture_of(colour))
    assert step.labels[0].name == name and len(step.labels) == 3
    assert sum(label.score for label in step.labels) == pytest.approx(1)
    assert drawn.shape == (336, 448, 3)


@pytest.mark.parametrize(
    "raw, best, score",
    [
        ([0.1, 0.2, 0.7], "class 2", 0.7),
        ([0.25, 0.0, 0.125], "class 0", 0.25),  # probabilities that were rounded to int8
        ([0.0, 2.0, 0.0], "class 1", 0.787),  # logits
        ([-9.0, -9.0, -9.0], "class 0", 0.333),
        ([1e6, 0.0, 0.0], "class 0", 1.0),
    ],
)
def test_scores_become_probabilities(tmp_path, raw, best, score):
    step = open_step(colours(tmp_path / "colours.onnx"))
    labels = step.best(np.array([raw], np.float32))
    assert labels[0].name == best and labels[0].score == pytest.approx(score, abs=1e-3)


def test_scores_that_are_not_finite_are_an_error(tmp_path):
    step = open_step(colours(tmp_path / "colours.onnx"))
    with pytest.raises(ValueError, match="colours.onnx returns NaN or infinity"):
        step.best(np.array([[0, np.nan, 1]], np.float32))


def test_a_classifier_shows_ten_labels_and_numbers_without_names(tmp_path):
    path = colours(tmp_path / "many.onnx", 20)
    step = open_step(path)
    step(picture_of((0, 255, 0)))
    assert len(step.labels) == 10 and step.labels[0].name == "class 1"
    scores = [label.score for label in step.labels]
    assert scores == sorted(scores, reverse=True)


def test_a_classifier_of_digits_gets_them_as_mnist(tmp_path, quick_networks):
    import torch

    from helpers import convert
    from helpers.data import mnist

    path = convert.to_onnx(
        quick_networks["lenet"], torch.zeros(1, 1, 28, 28), tmp_path / "lenet.onnx"
    )
    step = open_step(path)
    test = mnist("test")
    images = test.images[:20]
    found = []
    for image in images:
        step(np.repeat(image[..., None], 3, axis=2))
        found.append(int(step.labels[0].name))
    assert np.mean(np.array(found) == test.labels[:20]) >= 0.8


@pytest.mark.data
def test_mobilenet_knows_the_shared_pictures():
    import os
    from pathlib import Path

    from helpers.data import fetch
    from helpers.vision import read_image

    step = open_step(fetch("mobilenet_v2_1.0_224_quant.tflite"))
    folder = Path(os.environ["WORKBOOK_DATA"], "images")
    step(read_image(folder / "cat_720p.jpg"))
    assert "cat" in step.labels[0].name.lower(), step.labels
    assert 0.2 < step.labels[0].score <= 1 and len(step.labels) == 10


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda folder: folder / "none.onnx", "does not exist: name a model file"),
        (lambda folder: wrong_file(folder, "empty.onnx", b""), "empty.onnx"),
        (lambda folder: wrong_file(folder, "notes.txt", b"hello"), "notes.txt"),
    ],
)
def test_a_file_that_is_no_network(tmp_path, make, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        open_step(make(tmp_path))


def wrong_file(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_network_that_takes_no_pictures(tmp_path):
    nodes = [onnx.helper.make_node("Relu", ["x"], ["y"])]
    path = network_file(tmp_path / "table.onnx", nodes, {}, (1, 4), (1, 4))
    with pytest.raises(ModelFileError, match="table.onnx takes no pictures"):
        open_step(path)


# ---- the network that is used if none is named


def test_the_default_network(build_folder, monkeypatch, digit_file):
    from helpers import data

    made = build_folder / "models/digit_detector.onnx"
    made.parent.mkdir(exist_ok=True)
    made.write_bytes(digit_file.read_bytes())
    try:
        assert defaults.network_for("scenes") == made
        monkeypatch.setattr(data, "fetch", lambda name: made.with_name(name))
        assert defaults.network_for("usb:0").name == "fastestdet.onnx"

        def offline(name):
            raise ConnectionError("no mirror responds")

        monkeypatch.setattr(data, "fetch", offline)
        said = []
        assert defaults.network_for("usb:0", said.append) == made
        assert said == ["no mirror responds. The digit detector takes its place."]
    finally:
        made.unlink()


# ---- the command


@pytest.mark.parametrize(
    "arguments, status, sentence",
    [
        (["--threads", "0"], 2, "--threads must be from 1 to 256"),
        (["--fps", "0"], 2, "--fps must be a number above 0"),
        (["--minutes", "0"], 2, "--minutes must be a number above 0"),
        (["--minutes", "nan"], 2, "--minutes must be a number above 0"),
        (["pi@x", "--minutes", "10"], 2, "--minutes prints a table where it runs: `ssh pi@x`"),
        (["--fps", "nan"], 2, "--fps must be a number above 0"),
        (["--size", "640"], 2, "--size is WIDTHxHEIGHT in pixels, such as 640x480, not 640"),
        (["--size", "0x10"], 2, "--size is WIDTHxHEIGHT"),
        (["--model", "none.onnx"], 2, "--model: there is no file none.onnx"),
        (["--labels", "none.txt"], 2, "--labels: there is no file none.txt"),
        (["--source", "none.mp4", "--model", "{digits}"], 1, "none.mp4 does not exist"),
        (["--model", "{empty}"], 1, "empty.onnx"),
        (["--labels", "{empty}", "--model", "{digits}"], 1, "empty.onnx is empty: write one name"),
        (["two", "hosts"], 2, "unrecognized arguments: hosts"),
        (["-x"], 2, "unrecognized arguments: -x"),
    ],
)
def test_what_the_command_cannot_do(arguments, status, sentence, tmp_path, digit_file, capsys):
    empty = wrong_file(tmp_path, "empty.onnx", b"")
    words = [word.format(digits=digit_file, empty=empty) for word in arguments]
    try:
        found = main(["live", *words])
    except SystemExit as ended:
        found = ended.code
    printed = capsys.readouterr()
    assert found == status and sentence in printed.err, printed.err
    assert "Traceback" not in printed.err and "Open" not in printed.out
    assert status == 2 or len(printed.err.strip().splitlines()) == 1


def test_the_command_ends_with_ctrl_c_and_closes_the_source(digit_file, monkeypatch, capsys):
    from helpers.vision import camera

    opened = []

    def open_source(*_):
        opened.append(Counted())
        return opened[-1]

    def ctrl_c(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(camera, "open_source", open_source)
    monkeypatch.setattr(command.time, "sleep", ctrl_c)
    before = set(threading.enumerate())
    assert main(["live", "--model", str(digit_file)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"Open  http://127\.0\.0\.1:\d+/\?token=[\w-]{32}\n", out)
    assert out.endswith("Stopped. The source is closed.\n")
    assert opened[0].closed.is_set() and set(threading.enumerate()) == before


def test_it_runs_for_some_minutes_and_prints_a_table(digit_file, monkeypatch, capsys):
    from helpers.vision import camera

    source = Counted()
    monkeypatch.setattr(camera, "open_source", lambda *_: source)
    assert main(["live", "--model", str(digit_file), "--minutes", "0.02"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"minute +frames per second +°C +GHz +the Pi reports\n", out)
    assert re.search(r"The rate (fell from|stayed about the same)", out)
    assert source.closed.is_set() and "Open  http" in out


def test_a_video_that_ends_ends_the_minutes(digit_file, monkeypatch, capsys):
    from helpers.vision import camera

    monkeypatch.setattr(camera, "open_source", lambda *_: Counted(count=2))
    assert main(["live", "--model", str(digit_file), "--minutes", "0.1"]) == 0
    assert "counted has ended." in capsys.readouterr().out


# ---- the notebook


def test_without_widgets_a_notebook_shows_one_picture(digit_file, monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    source = Counted()
    monkeypatch.setattr(view, "open_source", lambda spec: source)
    before = set(threading.enumerate())
    assert not view.has_widgets() and view.view("usb:0", digit_file) is None
    [picture] = shown
    assert picture.data[:2] == b"\xff\xd8" and source.closed.is_set()
    assert set(threading.enumerate()) == before


def test_with_widgets_the_picture_moves_until_it_is_stopped(digit_file, monkeypatch):
    pytest.importorskip("ipywidgets")
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    opened = []

    def open_source(spec):
        opened.append(Counted())
        return opened[-1]

    monkeypatch.setattr(view, "open_source", open_source)
    monkeypatch.setattr(view, "has_widgets", lambda: True)
    seen = view.view("usb:0", digit_file)
    assert len(shown) == 1 and not opened, "it starts with the button"
    seen.button.value = True
    pictures = set()

    def has_moved():
        pictures.add(bytes(seen.picture.value or b""))
        return len(pictures) > 3

    wait_until(has_moved, 20)
    assert seen.button.description == "Stop"
    wait_until(lambda: "frames per second" in seen.line.value, 5)
    seen.button.value = False
    assert opened[0].closed.is_set() and not seen.session.is_running
    seen.button.value = True
    assert len(opened) == 2 and seen.session.is_running
    seen.stop()
    assert opened[1].closed.is_set()


def test_a_camera_that_fails_is_a_sentence_in_the_notebook(digit_file, monkeypatch):
    pytest.importorskip("ipywidgets")
    import IPython.display

    monkeypatch.setattr(IPython.display, "display", lambda shown: None)

    def fails(spec):
        raise CameraError("<usb:0> is used by another program: close it")

    monkeypatch.setattr(view, "open_source", fails)
    monkeypatch.setattr(view, "has_widgets", lambda: True)
    seen = view.view("usb:0", digit_file)
    seen.button.value = True
    assert seen.line.value == "&lt;usb:0&gt; is used by another program: close it"
    assert seen.button.value is False and not seen.session.is_running
