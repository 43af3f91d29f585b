"""The workbook on a Pi: set up, run, followed, brought back and opened, on real SSH servers."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from ssh_servers import (
    INSTALL,
    Laptop,
    Server,
    children,
    keygen,
    kill,
    listening,
    needs_sshd,
    real_python,
    wait_until,
)

from helpers import model_files, results
from helpers.paths import ROOT
from workbook.pi import fleet, setup
from workbook.pi.connection import Pi
from workbook.pi.fetch import merge
from workbook.pi.openssh import PiError
from workbook.site import printing

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may do this: run as root"
)


PIECES = """
import json, os, time
from datetime import datetime
from helpers import device, results, timing
from helpers.paths import build_path

store = build_path("results", f"{device.describe()['machine_id'] or 'unknown'}.jsonl")
measured = set()
if reuse_hours and store.exists():
    since = time.time() - 3600 * reuse_hours
    frame = results.read_results(store)
    at = frame["started_at"].map(lambda text: datetime.fromisoformat(text).timestamp())
    measured = set(frame["model.name"][at >= since])
print("found", sorted(measured))
"""
MEASURE = """
run = {"rounds": 6, "min_round_s": 0, "min_calls": calls}
for number in range(pieces):
    if f"piece {number}" not in measured:
        about = {
            "model": {"name": f"piece {number}"},
            "runtime": {"name": "sleep", "version": "1"},
        }
        state = device.conditions()
        latency = timing.benchmark({"a": lambda: sum(range(50))}, **run)["a"]
        line = results.record(latency, before=state, after=state, **about)
        results.append_result(store, line)
        time.sleep(pause_s)
"""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """A laptop whose notebook 03 measures `pieces` pieces, one record each, and can continue."""
    laptop = Laptop(tmp_path_factory.mktemp("pi"))
    sources = ("pieces, calls, pause_s, reuse_hours = 20, 2, 0.3, 0", PIECES, MEASURE)
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    notebooks = laptop.tree / "notebooks"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), notebooks / "03_measure_latency.ipynb")
    benchmark = nbformat.read(notebooks / "08_benchmark_on_the_pi.ipynb", 4)
    for cell in benchmark.cells:
        if cell.cell_type == "code":
            # what a browser shows was computed there and then
            cell.outputs = []
            cell.execution_count = None
    nbformat.write(benchmark, notebooks / "08_benchmark_on_the_pi.ipynb")
    yield laptop
    laptop.close()


@pytest.fixture(scope="module")
def one(laptop):
    """A Pi that was set up from nothing, through pip, as a participant's is."""
    server = laptop.serve("one")
    status, output = laptop.pi("run", "03_measure_latency", "one", "--no-convert", "-p", "pieces=2")
    assert status == 0 and "installing the packages of requirements-pi.txt" in output, output
    return server


def lend_environment(laptop: Laptop, one: Server, other: Server) -> None:
    """Give `other` an environment with the packages of `one`, instead of installing them again."""
    venv = [real_python(), "-m", "venv", "--without-pip", "--system-site-packages"]
    subprocess.run([*venv, str(other.workbook / ".venv")], check=True)
    packages = next(one.workbook.glob(".venv/lib/python*/site-packages"))
    own = next(other.workbook.glob(".venv/lib/python*/site-packages"))
    (own / "lent.pth").write_text(f"{other.workbook}\n{packages}\n")
    shutil.copy(one.workbook / ".venv/ready", other.workbook / ".venv/ready")


@pytest.fixture(scope="module")
def two(laptop, one):
    server = laptop.serve("two")
    lend_environment(laptop, one, server)
    return server


@pytest.fixture
def at_laptop(laptop, monkeypatch):
    """This process at that laptop: its home, its keys, its build folder, its workbook."""
    laptop.use(monkeypatch)
    monkeypatch.setattr(setup, "ROOT", laptop.tree)
    return laptop


def pieces(folder: Path) -> list[str]:
    """What was measured by notebook 03, one entry a record, in the *.jsonl of a folder."""
    if not list(folder.glob("*.jsonl")):
        return []
    return [
        json.loads(line)["model"]["name"]
        for file in folder.glob("*.jsonl")
        for line in file.read_text().splitlines()
        if line.endswith("}") and '"piece ' in line
    ]


def forget_measurements(laptop: Laptop, *servers: Server) -> None:
    for folder in (laptop.tree / "build", *(server.workbook / "build" for server in servers)):
        shutil.rmtree(folder / "results", ignore_errors=True)
        shutil.rmtree(folder / "pi", ignore_errors=True)


@needs_sshd
def test_a_run_brings_back_the_notebook_and_the_records(laptop, one):
    frame = results.read_results(laptop.tree / "build/results")
    assert set(frame["model.name"]) == {"piece 0", "piece 1"} and frame.attrs["skipped_lines"] == 0
    executed = nbformat.read(laptop.tree / "build/pi/one/03_measure_latency.ipynb", 4)
    assert "pieces = 2" in executed.cells[0].source and executed.cells[2].execution_count == 3
    assert not one.processes()
    status, output = laptop.pi("fetch", "one")
    assert status == 0
    assert "0 new records" in output
    assert len(results.read_results(laptop.tree / "build/results")) == 2
    status, output = laptop.pi("run", "03_measure_latency", "one", "--no-convert", "-p", "pieces=1")
    assert "set" not in output and "copying" not in output, "nothing had changed"
    assert status == 0
    assert "1 new records" in output
    assert re.search(r"one .*piece 0 .*sleep 1", output)


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def up_to(process: subprocess.Popen, words: str) -> Iterator[str]:
    """The lines that a command prints, up to the first one with these words."""
    for line in process.stdout:
        yield line
        if words in line:
            return
    pytest.fail(f"it ended without {words!r}")


def cut_off(
    laptop: Laptop, server: Server, measured: int, command: tuple, cut: Callable[[], None]
) -> tuple[int, str]:
    """Start a run, `cut` it off after so many pieces; its exit status and output."""
    forget_measurements(laptop, server)
    process = laptop.command(*command)
    wait_until(lambda: len(pieces(server.workbook / "build/results")) >= measured, 60)
    cut()
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def run_03(*hosts: str, **parameters) -> tuple[str, ...]:
    """The arguments of `pi` that run notebook 03 on `hosts` with these parameters."""
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value}")]
    return ("run", "03_measure_latency", *hosts, "--no-convert", *given)


@needs_sshd
def test_a_broken_connection_loses_nothing_and_the_run_goes_on(laptop, one):
    command = run_03("one", pieces=12, pause_s=0.5)
    status, output = cut_off(laptop, one, 3, command, one.break_connections)
    assert status == 1
    assert output.count("one:") == 1
    assert "the connection was lost" in output
    assert "Traceback" not in output
    stopped = one.processes()
    # so that the run does not end before the slow laptop asks for it
    signal_all(stopped, signal.SIGSTOP)
    again = laptop.command(*command)
    lines = list(up_to(again, "is still running: following it"))
    signal_all(stopped, signal.SIGCONT)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, [*lines, output]
    # each piece once, in one run
    assert pieces(laptop.tree / "build/results") == [f"piece {n}" for n in range(12)]


@needs_sshd
def test_ctrl_c_leaves_the_run_and_nothing_here(laptop, one):
    forget_measurements(laptop, one)
    process = laptop.command(*run_03("one", pieces=100))
    wait_until(lambda: len(pieces(one.workbook / "build/results")) >= 2, 60)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert output.splitlines()[-1].startswith("Interrupted. The job is still running"), output
    assert process.returncode == 130
    assert "lost" not in output, output
    wait_until(lambda: not laptop.ssh_processes(), 10)
    assert one.processes() and laptop.pi("stop", "one")[0] == 0 and not one.processes()


@needs_sshd
def test_a_run_that_ended_unseen_is_brought_back(laptop, one):
    command = run_03("one", pieces=6)
    cut_off(laptop, one, 1, command, one.break_connections)
    wait_until(lambda: not one.processes(), 60)
    status, output = laptop.pi(*command)
    assert status == 0
    assert "finished in the meantime" in output
    assert pieces(laptop.tree / "build/results") == [f"piece {n}" for n in range(6)]


@needs_sshd
def test_after_a_power_cut_only_what_is_missing_is_measured(laptop, one):
    command = run_03("one", pieces=12)
    status, output = cut_off(laptop, one, 3, command, lambda: kill(one.processes()))
    assert status == 1 and "it stopped before it was finished: was the Pi restarted" in output
    assert 3 <= len(pieces(laptop.tree / "build/results")) < 12, "what was finished is here already"
    status, output = laptop.pi(*command)
    assert status == 0
    assert pieces(laptop.tree / "build/results") == [f"piece {n}" for n in range(12)]
    executed = nbformat.read(laptop.tree / "build/pi/one/03_measure_latency.ipynb", 4)
    assert "found ['piece 0', 'piece 1', 'piece 2'" in executed.cells[1].outputs[0].text


@pytest.mark.slow
@needs_sshd
@needs_root
def test_a_full_disk_on_the_other_side(laptop, one, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(home)], check=True)
    try:
        full = laptop.serve("full", home)
        command = run_03("full", pieces=12, calls=20000, pause_s=0)
        status, output = laptop.pi(*command)
        assert status == 1 and "full: its disk is too full:" in output and "MB are needed" in output
        assert not (full.workbook / "helpers").exists(), "nothing is copied that does not fit"

        subprocess.run(["mount", "-o", "remount,size=6m", str(home)], check=True)
        lend_environment(laptop, one, full)
        forget_measurements(laptop)
        status, output = laptop.pi(*command)
        assert status == 1
        assert re.findall("^full: .*", output, re.MULTILINE) == [output.splitlines()[-1]]
        assert "full: its disk is full (" in output and "Traceback" not in output, output
        finished = pieces(full.workbook / "build/results")
        assert 2 <= len(finished) < 12 and pieces(laptop.tree / "build/results") == finished

        subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
        status, output = laptop.pi(*command)
        assert status == 0, output
        assert pieces(laptop.tree / "build/results") == [f"piece {n}" for n in range(12)]
        assert len(results.read_results(laptop.tree / "build/results")) == 12
    finally:
        kill(full.processes())
        subprocess.run(["umount", "--lazy", str(home)], check=True)


@pytest.fixture(scope="module")
def bare(laptop, one):
    """A Pi that has neither rsync nor SFTP, nor any other program but python3."""
    server = laptop.serve("bare", path="/nowhere")
    lend_environment(laptop, one, server)
    return server


# rsync continues within a file
@needs_sshd
@pytest.mark.parametrize(
    "name, kept_parts", [("two", 1), pytest.param("bare", 0, marks=pytest.mark.slow)]
)
def test_a_file_arrives_whole_or_not_at_all(laptop, at_laptop, name, kept_parts, request):
    server = request.getfixturevalue(name)
    with Pi(name) as there:
        setup.prepare(there)  # everything but the large file
    large = laptop.tree / "build/models/resnet18.onnx"
    large.parent.mkdir(parents=True, exist_ok=True)
    large.write_bytes(os.urandom(150_000_000))
    command = run_03(name, pieces=1)
    incoming = server.workbook / ".pi/incoming"
    partial = server.workbook / ".pi/partial"
    try:
        there = server.workbook / "build/models/resnet18.onnx"
        first = laptop.command(*command)
        wait_until(lambda: any(path.stat().st_size > 10**6 for path in incoming.glob("*")), 60)
        server.break_connections()
        output, _ = first.communicate(timeout=60)
        assert first.returncode == 1 and "the connection was lost" in output and not there.exists()
        left = [path.stat().st_size for folder in (incoming, partial) for path in folder.glob("*")]
        # it was broken off in the middle
        assert all(0 < size < large.stat().st_size for size in left)
        assert len(left) == kept_parts
        status, output = laptop.pi(*command)
        # what had arrived is not sent again
        assert status == 0 and re.search(r"copying 1 of \d+ files, 150.0 MB", output)
        assert there.read_bytes() == large.read_bytes()
        assert not list(incoming.glob("*")) and not list(partial.glob("*"))
    finally:
        large.unlink()


@needs_sshd
def test_two_pis_at_once_give_one_table_and_a_dead_one_is_named(laptop, one, two):
    forget_measurements(laptop, one, two)
    dead = laptop.serve("dead")
    dead.process.kill()
    dead.process.wait()
    status, output = laptop.pi(*run_03("one", "dead", "two", pieces=4))
    assert status == 1
    assert re.search(r"^dead: it does not answer .*; is it on", output, re.MULTILINE)
    rows = re.findall(r"^\s*(one|two|dead) .* sleep 1", output, re.MULTILINE)
    assert sorted(rows) == ["one"] * 4 + ["two"] * 4
    twice = [f"piece {n}" for n in (0, 0, 1, 1, 2, 2, 3, 3)]
    assert sorted(pieces(laptop.tree / "build/results")) == twice
    on_one = results.read_results(laptop.tree / "build/pi/one")["started_at"]
    on_two = results.read_results(laptop.tree / "build/pi/two")["started_at"]
    # they were measured at the same time
    assert on_one.min() < on_two.max()
    assert on_two.min() < on_one.max()


@needs_sshd
def test_a_notebook_changed_on_the_pi_is_kept_and_fetched(laptop, two, at_laptop):
    laptop.pi(*run_03("two", pieces=1))
    there = two.workbook / "notebooks/03_measure_latency.ipynb"
    here = laptop.tree / "notebooks/03_measure_latency.ipynb"
    original = here.read_text()
    mine = there.read_text().replace("pause_s, reuse_hours", "pause_s, my_own_name, reuse_hours")
    said = []
    try:
        there.write_text(mine)
        here.write_text(original.replace("20, 2, 0.3, 0", "19, 2, 0.3, 0"))
        with Pi("two") as server:
            setup.prepare(server, said.append)
        kept = "notebooks/03_measure_latency.ipynb was changed on the Pi and is kept"
        assert any(kept in line for line in said)
        assert there.read_text() == mine
        assert not fleet.fetch(["two"], said.append)
        assert (laptop.tree / "build/pi/two/03_measure_latency.ipynb").read_text() == mine
        there.unlink()
        with Pi("two") as server:
            setup.prepare(server, said.append)
        assert there.read_text() == here.read_text()
    finally:
        here.write_text(original)


CHROMIUM = printing.chromium()


@pytest.fixture(scope="module")
def opened(laptop, one):
    """`pi start one`, up to the address that it prints: (command, address)."""
    command = laptop.command("start", "one", "--no-convert")
    lines = []
    address = None
    while not address:
        line = command.stdout.readline()
        if not line:
            pytest.fail("".join(lines))
        lines.append(line)
        address = re.search(r"http://127\.0\.0\.1:\d+/lab\?token=\w+", line)
    command.stdout.readline()
    command.stdout.readline()
    yield command, address[0]
    command.kill()
    command.wait()
    command.stdout.close()


@needs_sshd
@pytest.mark.skipif(not CHROMIUM, reason=f"chromium is missing: {INSTALL}")
def test_a_browser_runs_the_first_cells_through_the_tunnel(opened, one, tmp_path):
    from playwright.sync_api import sync_playwright

    _, address = opened
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(address)
        page.get_by_text("08_benchmark_on_the_pi.ipynb").first.dblclick(timeout=60_000)
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=60_000)
        the_kernel_is_there = re.compile(r"Python 3 \(ipykernel\) \| Idle")
        page.get_by_text(the_kernel_is_there).wait_for(timeout=60_000)
        page.locator(".jp-Notebook .jp-Cell").first.click()
        for _ in range(9):
            page.keyboard.press("Shift+Enter")
            page.wait_for_timeout(200)
        outputs = page.locator(".jp-Notebook .jp-OutputArea-output")
        outputs.filter(has_text="other load").first.wait_for(timeout=60_000)
        text = " ".join(outputs.all_inner_texts())
        # the page loads nothing from other machines
        assert page.get_by_text("Jupyter news").count() == 0
        page.screenshot(path=tmp_path / "browser.png")
        browser.close()
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in one.processes()]
    assert any(b"ipykernel" in command for command in commands), "no kernel runs on the Pi"
    assert "numpy 2.4.6" in text and "bits [0, 2, 16, 18]" in text


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@needs_sshd
def test_a_wrong_token_is_refused(opened):
    door, token = opened[1].split("/lab?token=")
    assert status_of(f"{door}/api/contents?token={token}") == 200
    assert status_of(f"{door}/api/contents?token={token[:-1]}x") == 403
    assert status_of(f"{door}/api/contents") == 403
    request = urllib.request.Request(f"{door}/api/kernels?token=wrong", data=b"{}", method="POST")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=20)


@needs_sshd
def test_nobody_else_can_read_the_token(opened, one):
    token = opened[1].split("token=")[1].encode()
    ours = one.processes()
    assert ours and not any(token in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in ours)
    holding = [
        path
        for path in one.home.rglob("*")
        if path.is_file() and ".venv" not in path.parts and token in path.read_bytes()
    ]
    assert holding and all(path.stat().st_mode & 0o077 == 0 for path in holding), holding
    assert (one.workbook / ".pi").stat().st_mode & 0o077 == 0


@pytest.fixture
def kernel(opened):
    """A kernel started through the tunnel, so that its ports are among those that are looked at."""
    door, token = opened[1].split("/lab?token=")
    request = urllib.request.Request(
        f"{door}/api/kernels",
        data=b'{"name": "python3"}',
        headers={"Authorization": f"token {token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["id"]


@needs_sshd
def test_everything_listens_on_loopback_alone(opened, one, kernel):
    # JupyterLab, and five ports of the kernel
    wait_until(lambda: len(listening(one.processes())) >= 6, 30)
    ours = listening([*one.processes(), *children(opened[0].pid)])
    assert int(opened[1].split(":")[2].split("/")[0]) in {port for _, port in ours}
    assert {address for address, _ in ours} == {"127.0.0.1"}, ours


@needs_sshd
@needs_root
@pytest.mark.skipif(not shutil.which("ip"), reason=f"iproute2 is missing: {INSTALL}")
def test_another_machine_of_the_network_reaches_nothing(opened, one, kernel):
    """Tried from a network namespace, joined to this machine by a cable of its own."""
    here = f"wb{os.getpid() % 10**6}a"
    there = f"wb{os.getpid() % 10**6}b"
    space = f"workbook-{os.getpid()}"
    wait_until(lambda: len(listening(one.processes())) >= 6, 30)
    ports = sorted({port for _, port in listening([*one.processes(), *children(opened[0].pid)])})
    try:
        for line in (
            f"netns add {space}",
            f"link add {here} type veth peer name {there} netns {space}",
            f"addr add 198.51.100.1/30 dev {here}",
            f"link set {here} up",
            f"-n {space} addr add 198.51.100.2/30 dev {there}",
            f"-n {space} link set {there} up",
        ):
            subprocess.run(["ip", *line.split()], check=True)
        with socket.socket() as open_to_all:
            open_to_all.bind(("0.0.0.0", 0))
            open_to_all.listen()
            probe = (
                "import socket, sys\n"
                "for port in sys.argv[1:]:\n"
                "    s = socket.socket()\n"
                "    s.settimeout(5)\n"
                "    print(s.connect_ex(('198.51.100.1', int(port))))"
            )
            tried = [str(open_to_all.getsockname()[1]), *map(str, ports)]
            inside = ["ip", "netns", "exec", space, sys.executable, "-c", probe, *tried]
            answer = subprocess.run(inside, capture_output=True, text=True, check=True)
        control, *results_of_ports = answer.stdout.split()
        assert control == "0", "the cable works: what listens to all is reached"
        assert len(results_of_ports) == len(ports) >= 7 and "0" not in results_of_ports
    finally:
        subprocess.run(["ip", "link", "del", here], check=False)
        subprocess.run(["ip", "netns", "del", space], check=True)


@needs_sshd
def test_the_tunnel_opens_again_and_stop_leaves_nothing(opened, laptop, one, kernel):
    command, address = opened
    door, token = address.split("/lab?token=")
    one.break_connections()
    for line in command.stdout:
        if "connected again" in line:
            break
    with urllib.request.urlopen(f"{door}/api/kernels?token={token}", timeout=20) as answer:
        kernels = {entry["id"] for entry in json.load(answer)}
    assert kernel in kernels, "the kernel is still the same"
    command.send_signal(signal.SIGINT)
    assert command.wait(timeout=20) == 0
    assert "JupyterLab and its kernels are still running on the Pi" in command.stdout.read()
    assert not laptop.ssh_processes()
    assert laptop.pi("status", "one")[1].startswith("jupyter running")
    assert laptop.pi("stop", "one")[0] == 0
    assert (
        not one.processes()
        and "nothing from this workbook is running" in laptop.pi("status", "one")[1]
    )


@needs_sshd
def test_stop_ends_a_run_and_the_next_one_goes_on(laptop, one):
    forget_measurements(laptop, one)
    command = run_03("one", pieces=10)
    first = laptop.command(*command)
    wait_until(lambda: len(pieces(one.workbook / "build/results")) >= 2, 60)
    # one at a time: two would disturb each other
    status, output = laptop.pi(*run_03("one", pieces=70))
    assert status == 1 and "it is running 03_measure_latency {'pieces': 10}" in output
    status, output = laptop.pi("stop", "one")
    assert status == 0 and int(output.split()[0]) >= 2 and not one.processes()
    assert "one: it was stopped by `workbook pi stop`" in first.communicate(timeout=30)[0]
    assert laptop.pi(*command)[0] == 0
    assert pieces(laptop.tree / "build/results") == [f"piece {n}" for n in range(10)]


@pytest.mark.slow
@needs_sshd
def test_the_benchmark_notebook_measures_there(
    laptop, one, quick_networks, build_folder, monkeypatch
):
    from test_notebooks import QUICK

    from helpers import model_files

    shutil.copy(build_folder / "models/mnist_cnn.pt", laptop.tree / "build/models")
    forms = {form: model_files.VARIANTS[form] for form in (".onnx", "_int8_u8.onnx", ".mnn")}
    with monkeypatch.context() as patch:
        patch.setenv("WORKBOOK_BUILD", laptop.environment["WORKBOOK_BUILD"])
        patch.setattr(model_files, "VARIANTS", forms)
        model_files.build_missing(["mnist_cnn", *model_files.TOY_NETWORKS], batches=())
    forget_measurements(laptop, one)
    parameters = QUICK["08_benchmark_on_the_pi"] | {"thread_counts": [1]}
    given = [word for name, value in parameters.items() for word in ("-p", f"{name}={value!r}")]
    status, output = laptop.pi("run", "08_benchmark_on_the_pi", "one", "--no-convert", *given)
    assert status == 0, output
    frame = results.read_results(laptop.tree / "build/results")
    assert set(frame["runtime.name"]) == {"ONNX Runtime", "MNN"}
    assert frame["host.board"].isna().all()
    executed = nbformat.read(laptop.tree / "build/pi/one/08_benchmark_on_the_pi.ipynb", 4)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    packages = {path.name for path in one.workbook.glob(".venv/lib/python*/site-packages/*")}
    assert not {"torch", "tensorflow", "executorch"} & packages


def fake_python(change: str) -> str:
    """A shell script that stands for a Pi's python3, after `change` was made to its sys."""
    return f"exec {real_python()} -c 'import sys; {change}; exec(input())'"


@needs_sshd
@pytest.mark.parametrize(
    "name, change, sentence",
    [
        (
            "bits",
            "sys.maxsize = 2**31 - 1",
            "bits: its system is 32-bit, .* install the 64-bit Raspberry Pi OS",
        ),
        (
            "old",
            "sys.version_info = (3, 9, 2)",
            "old: its Python is 3.9 and the workbook needs 3.11 to 3.13: install Raspberry Pi OS",
        ),
        (
            "plain",
            'sys.modules["ensurepip"] = None',
            "plain: its Python cannot make environments: run `sudo apt install python3-venv` there",
        ),
        ("odd", "sys.exit()", "odd: its Python 3 gave no answer .*; is it a Pi"),
    ],
)
def test_a_pi_that_cannot_be_used_is_refused_before_anything_is_copied(
    at_laptop, name, change, sentence
):
    server = at_laptop.serve(name, python=fake_python(change))
    with pytest.raises(PiError, match=sentence), Pi(name) as there:
        setup.prepare(there)
    assert not list(server.home.iterdir())


@needs_sshd
def test_a_host_key_is_checked(at_laptop, one):
    known = at_laptop.home / ".ssh/known_hosts"
    lines = known.read_text()
    try:
        known.write_text("")
        unknown = (
            "one: this machine is not known here yet; run `ssh one` once, compare the fingerprint"
        )
        with pytest.raises(PiError, match=unknown):
            Pi("one")
        with pytest.raises(PiError, match=f"run `ssh -p {one.port} somebody@127.0.0.1` once"):
            Pi(f"somebody@127.0.0.1:{one.port}")
        other = (at_laptop.home / ".ssh/id_ed25519.pub").read_text()
        known.write_text(f"[127.0.0.1]:{one.port} {other}")
        remove = rf"`ssh-keygen -R '\[127.0.0.1\]:{one.port}'`"
        with pytest.raises(PiError, match=f"one: its host key has changed.*{remove}"):
            Pi("one")
    finally:
        known.write_text(lines)


@needs_sshd
def test_a_key_that_is_not_taken(at_laptop, one, tmp_path):
    key = at_laptop.home / ".ssh/id_ed25519"
    config = at_laptop.home / ".ssh/config"
    before = config.read_text()
    keygen(tmp_path / "stranger")
    with_passphrase = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase"]
    subprocess.run([*with_passphrase, "-f", str(tmp_path / "locked")], check=True)
    refused = "one: it does not accept your SSH key, .* ask for a password; .*`ssh-copy-id one`"
    locked = "one: your key has a passphrase, .* run `ssh-add .*locked` first"
    try:
        config.write_text(before.replace(str(key) + "\n", str(tmp_path / "stranger") + "\n"))
        key.rename(tmp_path / "away")
        with pytest.raises(PiError, match=refused):
            Pi("one")
        config.write_text(before.replace(str(key) + "\n", str(tmp_path / "locked") + "\n"))
        with pytest.raises(PiError, match=locked):
            Pi("one")
    finally:
        (tmp_path / "away").rename(key)
        config.write_text(before)


@pytest.mark.parametrize(
    "host, sentence",
    [
        (
            "pi@no-such-pi.invalid",
            "pi@no-such-pi.invalid: no machine with this name was found; is the Pi on",
        ),
        ("pi@127.0.0.1:1", "pi@127.0.0.1:1: it does not answer .*is SSH switched on there"),
        ("pi@127.0.0.1:port", "is not a host: use user@name"),
    ],
)
def test_a_pi_that_does_not_answer(host, sentence):
    with pytest.raises(PiError, match=sentence):
        Pi(host)


def test_only_notebooks_that_run_on_a_pi_are_sent_there():
    said = "01_train_mnist_cnn does not run on a Pi; these do: 00_start_here, 03"
    with pytest.raises(PiError, match=said):
        fleet.run(["pi@127.0.0.1:1"], "notebooks/01_train_mnist_cnn.ipynb")
    on_the_pi = set()
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        text = "\n".join(cell.source for cell in nbformat.read(path, 4).cells)
        if re.search(r"\*\*Runs on\*\* (the laptop and on )?the Pi", text):
            on_the_pi.add(path.stem)
    assert on_the_pi == set(setup.ON_THE_PI)


def test_the_bundle_is_light(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_BUILD", str(tmp_path / "build"))
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    (tmp_path / "build/models").mkdir(parents=True)
    (tmp_path / "build/models/notes.txt").write_text("notes")
    for suffix in ("onnx", "pt", "pt2", "pte", "tflite"):
        (tmp_path / f"build/models/mnist_cnn.{suffix}").write_text(suffix)
    for split in ("train", "t10k"):
        for part in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            (tmp_path / f"{split}-{part}").write_text("")
    assert "build/my_digit.npy" not in setup.bundle()
    (tmp_path / "build/my_digit.npy").write_text("a drawing")
    files = setup.bundle()
    models = {Path(path).name for path in files if path.startswith("build/models")}
    assert models == {"mnist_cnn.onnx", "mnist_cnn.tflite"}
    more = {Path(path).name for path in setup.bundle(torch=True)}
    assert models | {"mnist_cnn.pt2", "mnist_cnn.pte"} <= more and "mnist_cnn.pt" not in more
    assert {
        "workbook/pi/on_device/jobs.py",
        "workbook/book.py",
        "notebooks/00_start_here.ipynb",
        "requirements-pi.txt",
        "requirements-pi-torch.txt",
        "requirements.txt",
        "pyproject.toml",
        "build/idx/t10k-images-idx3-ubyte",
        "build/my_digit.npy",
    } <= set(files)
    assert "notebooks/01_train_mnist_cnn.ipynb" not in files
    assert not any("__pycache__" in path or path.startswith("tests") for path in files)
    assert sum(path.stat().st_size for path in files.values()) < 3e6, "without models it is small"
    monkeypatch.delenv("WORKBOOK_DATA")
    assert not any(path.startswith(("build/idx", "build/data")) for path in setup.bundle())


def test_records_are_merged_once_and_whole(tmp_path):
    store = tmp_path / "machine.jsonl"
    records = [
        json.dumps({"schema_version": 1, "run_id": str(n), "value": n / 3}) for n in range(4)
    ]
    odd = [
        '{"schema_version": 1}',
        '{"schema_version": 99, "run_id": "new"}',
        '["a list"]',
        '{"schema_version": true, "run_id": 7}',
    ]
    assert merge("\n".join([*records[:2], *odd, records[2][:-9]]).encode(), store) == 2
    # the laptop was switched off in the middle of a line
    store.write_bytes(store.read_bytes() + b'{"schema_version": 1, "run_i')
    assert merge("\n".join([*records, records[3], ""]).encode(), store) == 2
    assert merge("\n".join(records).encode(), store) == 0 == merge(b"", store)
    kept = [json.loads(line) for line in store.read_text().splitlines() if line.endswith("}")]
    assert [entry["value"] for entry in kept] == [0, 1 / 3, 2 / 3, 1]


def test_hosts_that_do_not_answer_are_named_before_conversions(capsys, monkeypatch):
    from workbook.cli import main

    def too_early():
        pytest.fail("minutes of conversions before the host is known")

    monkeypatch.setattr(model_files, "build_missing", too_early)
    hosts = ["pi@no-such-pi.invalid", "no-such-pi.invalid"]
    assert main(["pi", "start", hosts[0]]) == 1
    assert capsys.readouterr().err.count("no machine with this name") == 1
    assert main(["pi", "run", "00_start_here", *hosts]) == 1
    assert capsys.readouterr().err.count("no machine with this name") == 2
    environment = os.environ | {"HOST": "laptop"}  # the HOST of the shell is not used
    for given, host in (
        (["HOST=me@there"], "me@there"),
        (["HOST=me@there", "TORCH=1"], "--torch me@there"),
        ([], "pi@raspberrypi.local"),
    ):
        command = ["make", "-n", "pi", *given]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert f"workbook pi start {host}" in done.stdout
