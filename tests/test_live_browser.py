"""`workbook live` in a headless Chromium: here, and on a Pi through a real SSH server."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from jupyter_pages import jupyter_lab, run_cells, write_notebook
from ssh_servers import (
    INSTALL,
    Laptop,
    children,
    kill,
    listening,
    needs_sshd,
    real_python,
    wait_until,
)
from test_live import digit_file  # noqa: F401  a fixture

from workbook.pi import setup
from workbook.site import printing

CHROMIUM = printing.chromium()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason=f"chromium is missing: {INSTALL}"),
]
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+")
# the pixels of the canvas, as a number that changes with the picture
SUM = """() => {
  const canvas = document.getElementById("picture");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.reduce((sum, value, i) => (sum + value * (i % 251)) % 1e9, 0);
}"""


def opened_address(command: subprocess.Popen) -> str:
    """The address that the command prints; the test fails if it ends without one."""
    lines = []
    for line in command.stdout:
        lines.append(line)
        found = ADDRESS.search(line)
        if found:
            return found[0]
    pytest.fail("".join(lines))


def looked_at(page, errors: list) -> set[int]:
    """Wait for a picture that moves, and return the sums of its pixels."""
    canvas = page.locator("#picture")
    # not wait_for_function, which the page's policy forbids as it forbids all scripts but its own
    wait_until(lambda: int(canvas.get_attribute("data-turn") or 0) > 3, 30)
    sums = set()
    for _ in range(20):
        sums.add(page.evaluate(SUM))
        page.wait_for_timeout(150)
    assert not errors, errors
    return sums


def new_page(browser, address: str, width: int = 1400):
    page = browser.new_page(viewport={"width": width, "height": 900})
    errors: list = []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    page.goto(address)
    return page, errors


@pytest.fixture
def here(digit_file):  # noqa: F811
    """`workbook live` on this machine, with its address."""
    command = subprocess.Popen(
        [sys.executable, "-m", "workbook", "live", "--model", str(digit_file)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield command, opened_address(command)
    command.kill()
    command.wait()
    command.stdout.close()


def test_the_picture_moves_stops_and_starts_again(browser, here, tmp_path):
    command, address = here
    page, errors = new_page(browser, address)
    assert len(looked_at(page, errors)) > 5
    page.get_by_role("row").filter(has_text="network").wait_for(timeout=10_000)
    assert re.fullmatch(r"[\d.]+ ms", page.locator("#p50").inner_text())
    assert re.fullmatch(r"\d+ ms", page.locator("#age").inner_text())
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Start").wait_for(timeout=10_000)
    assert page.locator("#about").inner_text().endswith(": stopped")
    assert page.evaluate(SUM) == 0, "the picture is gone"
    page.get_by_role("button", name="Start").click()
    page.get_by_role("button", name="Stop").wait_for(timeout=10_000)
    assert len(looked_at(page, errors)) > 5
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=20) == 0
    page.get_by_text("does not answer: was it ended?").first.wait_for(timeout=10_000)
    page.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_fits_the_screen(browser, here, width, tmp_path):
    _, address = here
    page, errors = new_page(browser, address, width)
    looked_at(page, errors)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= width, "no part is outside"
    page.screenshot(path=tmp_path / f"live-{width}.png", full_page=True)
    page.close()


@pytest.fixture
def jupyter(digit_file, tmp_path):  # noqa: F811
    """JupyterLab with a notebook that shows the live picture: the address of the notebook."""
    code = f"from workbook.live.view import view\nseen = view('scenes', {str(digit_file)!r})"
    write_notebook(tmp_path / "live.ipynb", code)
    with jupyter_lab(tmp_path) as address:
        yield address("live.ipynb")


def test_the_picture_moves_in_a_notebook(browser, jupyter):
    pytest.importorskip("ipywidgets")
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.goto(jupyter)
    run_cells(page, 1)
    output = page.locator(".jp-OutputArea").first
    button = page.locator(".jp-OutputArea button", has_text="Start")
    wait_until(lambda: button.count() or "Error" in output.inner_text(), 120)
    assert button.count(), output.inner_text()
    button.click()
    picture = page.locator(".jp-OutputArea img").first
    seen = set()
    for _ in range(40):
        seen.add(picture.get_attribute("src"))
        page.wait_for_timeout(250)
    page.screenshot(path=Path(os.environ.get("WORKBOOK_BUILD", "."), "live-notebook.png"))
    assert len(seen) > 5, seen
    assert page.get_by_text("frames per second").count() == 1
    page.locator(".jp-OutputArea button", has_text="Stop").click()
    page.locator(".jp-OutputArea button", has_text="Start").wait_for(timeout=20_000)
    page.wait_for_timeout(1000)
    still = picture.get_attribute("src")
    page.wait_for_timeout(1000)
    assert picture.get_attribute("src") == still
    page.close()


@pytest.fixture(scope="module")
def pi(tmp_path_factory):
    """A laptop, and a Pi whose environment has this one's packages. It needs no installation."""
    laptop = Laptop(tmp_path_factory.mktemp("live-pi"))
    server = laptop.serve("one", variables={"OMP_NUM_THREADS": "1"})
    venv = [real_python(), "-m", "venv", "--without-pip", "--system-site-packages"]
    subprocess.run([*venv, str(server.workbook / ".venv")], check=True)
    own = next(server.workbook.glob(".venv/lib/python*/site-packages"))
    # packages alone: the workbook itself is the one that was copied
    lent = [path for path in map(Path, sys.path) if path.name == "site-packages"]
    (own / "lent.pth").write_text("\n".join(map(str, [server.workbook, *lent])) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "ROOT", laptop.tree)
        (server.workbook / ".venv/ready").write_text(setup._requirements())
    yield laptop, server
    laptop.close()


def live_on(pi, digit_file, *more: str) -> subprocess.Popen:  # noqa: F811
    laptop, _ = pi
    return laptop.workbook("live", "one", "--model", digit_file, *more)


def live_processes(server) -> list[int]:
    return [
        pid for pid in server.processes() if b"live" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


@needs_sshd
def test_two_browsers_see_the_pi_through_the_tunnel(pi, browser, digit_file):  # noqa: F811
    laptop, server = pi
    command = live_on(pi, digit_file)
    try:
        address = opened_address(command)
        first, first_errors = new_page(browser, address)
        second, second_errors = new_page(browser, address, 390)
        assert len(looked_at(first, first_errors)) > 5
        assert len(looked_at(second, second_errors)) > 5
        first.locator("li").first.wait_for(timeout=10_000)
        assert "7" in first.locator("li").first.inner_text()
        first.close()  # a browser that goes away
        assert len(looked_at(second, second_errors)) > 5
        there = live_processes(server)
        assert there, "the server runs on the Pi"
        ours = listening([*server.processes(), command.pid, *children(command.pid)])
        assert len(ours) >= 2 and {host for host, _ in ours} == {"127.0.0.1"}, ours
        token = address.split("token=")[1].encode()
        for pid in server.processes():
            assert token not in Path(f"/proc/{pid}/cmdline").read_bytes(), "others could read it"
        second.close()
        command.send_signal(signal.SIGINT)
        output, _ = command.communicate(timeout=40)
        assert command.returncode == 0 and "The source on the Pi is closed" in output, output
        assert not live_processes(server), "Ctrl-C returns when it is gone"
        wait_until(lambda: not laptop.ssh_processes(), 10)
        logs = [*server.workbook.glob(".pi/*"), *server.workbook.glob("build/**/*")]
        assert not any(path.is_file() and token in path.read_bytes() for path in logs), (
            "the token is stored nowhere"
        )
        kept = [path for path in server.home.rglob("*.jp*g") if ".venv" not in path.parts]
        assert not kept, "no frame is stored"
    finally:
        command.kill()
        command.wait()


@needs_sshd
def test_a_broken_connection_ends_it_on_both_sides(pi, digit_file):  # noqa: F811
    _, server = pi
    command = live_on(pi, digit_file)
    try:
        opened_address(command)
        assert live_processes(server)
        server.break_connections()
        output, _ = command.communicate(timeout=40)
        assert command.returncode == 1 and "the connection was lost" in output, output
        assert "Traceback" not in output
        wait_until(lambda: not live_processes(server), 30)
    finally:
        command.kill()
        command.wait()


@needs_sshd
def test_a_laptop_that_is_silent_ends_it_there(pi, digit_file):  # noqa: F811
    """As when it was unplugged: the connection stays open, and nothing comes."""
    _, server = pi
    command = live_on(pi, digit_file)
    try:
        opened_address(command)
        command.send_signal(signal.SIGSTOP)
        assert live_processes(server)
        start = time.monotonic()
        wait_until(lambda: not live_processes(server), 60)
        assert time.monotonic() - start > 5
        command.send_signal(signal.SIGCONT)
        command.communicate(timeout=40)
        assert command.returncode == 1
    finally:
        command.kill()
        command.wait()


@needs_sshd
@pytest.mark.parametrize(
    "more, sentence",
    [
        (["--source", "none.mp4"], "one: none.mp4 does not exist"),
        (["--source", "usb:77"], "one: .*usb:77|one: .*video77"),
    ],
)
def test_what_fails_there_is_a_sentence_here(pi, digit_file, more, sentence):  # noqa: F811
    _, server = pi
    command = live_on(pi, digit_file, *more)
    output, _ = command.communicate(timeout=60)
    assert command.returncode == 1 and re.search(sentence, output), output
    assert "Traceback" not in output and not live_processes(server)


@needs_sshd
def test_two_at_once_on_one_pi_is_one_too_many(pi, digit_file):  # noqa: F811
    laptop, server = pi
    first = live_on(pi, digit_file)
    try:
        opened_address(first)
        second = live_on(pi, digit_file)
        output, _ = second.communicate(timeout=60)
        assert second.returncode == 1
        assert "one: workbook live is running there" in output and "pi stop" in output
        status, output = laptop.pi("stop", "one")
        assert status == 0 and not server.processes()
        output, _ = first.communicate(timeout=40)
        assert first.returncode == 1 and "it was stopped by `workbook pi stop`" in output
    finally:
        kill([first.pid])
        first.wait()
