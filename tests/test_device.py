"""helpers.device: made-up machines under a folder (Pi 4, Pi 5, laptop, nothing).

And the limits of the real one.
"""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import device
from helpers.device import limits, memory, peak_process
from helpers.device.machine import _machine_id
from helpers.validity import clock_warnings, throttled_by, throttling_reasons
from modelfiles.formats import onnx_product
from workbook.free_memory import available_bytes

PI_4_FEATURES = "fp asimd evtstrm crc32 cpuid"
PI_5_FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp "
    "cpuid asimdrdm lrcpc dcpop asimddp"
)
PROC = os.path.exists("/proc/self/status")


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def pi(root, board, part, features, freq, serial="10000000abcdef01"):
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\nCPU part\t: {part}\n"
    )
    cores = "".join(f"processor\t: {i}\n{core}\n" for i in range(4))
    return write(
        root,
        {
            "proc/device-tree/model": board + "\0",
            "proc/device-tree/serial-number": serial + "\0",
            "proc/cpuinfo": f"{cores}Model\t\t: {board}\n",
            "etc/os-release": (
                'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n'
            ),
            "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": f"{freq}\n",
            "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": f"{freq}\n",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
            "sys/class/thermal/thermal_zone0/temp": "52582\n",
        },
    )


def firmware(throttled, clock="VCHI initialization failed\n"):
    """A run function that answers as vcgencmd does, or raises the answer if it is an error."""

    def run(command):
        questions = {("get_throttled",): throttled, ("measure_clock", "arm"): clock}
        answer = questions[tuple(command[1:])]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return run


@pytest.mark.parametrize(
    "answer, clock_khz",
    [
        ("frequency(48)=1500398464\n", 1_500_398),  # Pi 4
        ("frequency(0)=2400033792\n", 2_400_033),  # Pi 5
        ("", None),
        ("frequency(0)=\n", None),
        ("frequency(0)=fast\n", None),
        ("error=1", None),
        (FileNotFoundError("vcgencmd"), None),
        (subprocess.TimeoutExpired("vcgencmd", 5), None),
    ],
)
def test_the_firmware_measures_the_clock_that_runs(tmp_path, answer, clock_khz):
    root = pi(tmp_path, "Raspberry Pi 5 Model B Rev 1.0", "0xd0b", PI_5_FEATURES, 2400000)
    now = device.conditions(root, firmware("throttled=0x4\n", clock=answer))
    assert (now["clock_khz"], now["freq_khz"], now["throttled"]) == (clock_khz, 2400000, "0x4")


def test_a_pi_4(tmp_path):
    root = pi(tmp_path, "Raspberry Pi 4 Model B Rev 1.4", "0xd08", PI_4_FEATURES, 1800000)
    about = device.describe(root)
    assert (about["board"], about["cpu"]) == ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72")
    assert about["features"] == ["asimd"]
    assert about["os"] == "Debian GNU/Linux 12 (bookworm)"
    now = device.conditions(root, firmware("throttled=0x0\n"))
    assert (now["governor"], now["freq_khz"], now["freq_max_khz"]) == ("ondemand", 1800000, 1800000)
    assert (now["temp_c"], now["throttled"]) == (52.582, "0x0")


def test_a_pi_5_has_int8_dot_products(tmp_path):
    root = pi(tmp_path, "Raspberry Pi 5 Model B Rev 1.0", "0xd0b", PI_5_FEATURES, 2400000)
    about = device.describe(root)
    assert about["cpu"] == "Cortex-A76"
    assert about["features"] == ["asimd", "asimddp", "fphp", "asimdhp"]


def test_the_real_machine_describes_itself():
    about = device.describe()
    assert " ".join(about) == "board cpu cores ram_mb os kernel arch python features machine_id"
    assert about["cores"] == os.cpu_count() and about["ram_mb"] > 100
    assert about["python"].split(".")[0] == str(sys.version_info.major)
    assert about == device.describe()
    json.dumps([about, device.conditions()], allow_nan=False)


def test_a_pi_in_a_container_is_the_same_pi(tmp_path):
    board = "Raspberry Pi 4 Model B Rev 1.4"
    serial = "10000000abcdef01"
    outside = pi(tmp_path / "outside", board, "0xd08", PI_4_FEATURES, 1800000)
    inside = pi(tmp_path / "inside", board, "0xd08", PI_4_FEATURES, 1800000)
    cpuinfo = inside / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text() + f"Serial\t\t: {serial}\n")
    for name in ("proc/device-tree", "sys/devices", "sys/class", "etc"):
        shutil.rmtree(inside / name)
    about = device.describe(inside)
    same = device.describe(outside)
    assert (about["board"], about["cpu"]) == (board, "Cortex-A72")
    assert about["machine_id"] == same["machine_id"]
    now = device.conditions(inside, firmware(FileNotFoundError("vcgencmd")))
    assert (now["temp_c"], now["governor"], now["throttled"]) == (None, None, None)
    cpuinfo.write_text(cpuinfo.read_text().replace(serial, "0" * 16))
    by_one = _machine_id(inside, "0" * 15 + "1")
    assert device.describe(inside)["machine_id"] != by_one, "zeros are no number"


def test_the_model_number_of_an_x86_processor_is_no_board(tmp_path):
    cpuinfo = "vendor_id\t: GenuineIntel\nmodel\t\t: 85\nmodel name\t: Some CPU\n"
    root = write(tmp_path, {"proc/cpuinfo": cpuinfo})
    assert device.describe(root)["board"] is None


GB = 10**9
GROUPS = {  # name: files, cores of 4, bytes of memory and free of them (None: those of the machine)
    "version 2, in a container": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/memory.max": f"{GB}\n",
            "sys/fs/cgroup/memory.current": f"{GB - 10**6}\n",
            "sys/fs/cgroup/memory.stat": "anon 5\ninactive_file 400000000\n",
        },
        2,
        GB,
        401 * 10**6,
    ),
    "version 2, a service": (
        {
            "proc/self/cgroup": "0::/a.slice/b.service\n",
            "sys/fs/cgroup/a.slice/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/a.slice/b.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a.slice/memory.max": "max\n",
            "sys/fs/cgroup/a.slice/b.service/memory.max": f"{GB}\n",
        },
        1,
        GB,
        GB,
    ),
    "version 1": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "300000000\n",
            "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 100000000\n",
        },
        3,
        GB,
        800 * 10**6,
    ),
    "version 1 without limits": (
        {
            "proc/self/cgroup": "5:cpu:/\n4:memory:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
        4,
        None,
        None,
    ),
    "nonsense": (
        {"proc/self/cgroup": "words\n\n:\n0::/../..\n", "sys/fs/cgroup/cpu.max": "0 0\n"},
        4,
        None,
        None,
    ),
    "none": ({}, 4, None, None),
}


@pytest.mark.parametrize("name", GROUPS)
def test_what_a_process_may_use_is_what_its_control_groups_leave(tmp_path, monkeypatch, name):
    files, cores, memory, available = GROUPS[name]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    machine = SimpleNamespace(total=8 * GB, available=6 * GB)
    monkeypatch.setattr(limits.psutil, "virtual_memory", lambda: machine)
    root = write(tmp_path, files)
    got = limits.cores(root), limits.memory_bytes(root), available_bytes(root)
    assert got == (cores, memory or machine.total, available or machine.available)
    about = device.describe(root)
    assert (about["cores"], about["ram_mb"]) == (got[0], got[1] // 10**6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to choose cores")
def test_cores_that_a_process_may_not_use_are_not_counted():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert limits.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_laptop(tmp_path):
    root = write(
        tmp_path,
        {
            "proc/cpuinfo": (
                "processor\t: 0\nmodel name\t: Some CPU @ 2.40GHz\n"
                "flags\t\t: fpu avx2 avx512f avx512_vnni\n"
            ),
            "sys/class/thermal/thermal_zone0/type": "acpitz\n",  # the temperature of the case
            "sys/class/thermal/thermal_zone0/temp": "27800\n",
            "sys/class/thermal/thermal_zone1/type": "x86_pkg_temp\n",
            "sys/class/thermal/thermal_zone1/temp": "61000\n",
        },
    )
    about = device.describe(root)
    now = device.conditions(root, firmware(FileNotFoundError("vcgencmd")))
    assert (about["board"], about["cpu"]) == (None, "Some CPU @ 2.40GHz")
    assert about["features"] == ["avx2", "avx512f", "avx512_vnni"]
    assert (now["temp_c"], now["governor"], now["throttled"]) == (61.0, None, None)


def test_nothing_there_at_all(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "getloadavg")  # Windows has none of these three
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("uuid.getnode", lambda: 1 << 40)
    about = device.describe(tmp_path)
    now = device.conditions(tmp_path, firmware(FileNotFoundError("vcgencmd")))
    assert [about[key] for key in ("board", "cpu", "features", "machine_id")] == [None] * 4
    assert about["os"] and about["cores"]
    assert set(now) - {"at", "monotonic_ns"} == {key for key, value in now.items() if value is None}


def test_the_machine_id_tells_machines_apart_and_gives_no_name_away(tmp_path):
    def identity(name, **change):
        root = pi(tmp_path / name, "Raspberry Pi 4", "0xd08", PI_4_FEATURES, 1, **change)
        return device.describe(root)["machine_id"]

    first = identity("first")
    copied_card = identity("copied card", serial="10000000abcdef02")
    assert first == identity("first again") != copied_card
    assert len(first) == 8 and first not in "0123456789abcdef0123456789abcdef10000000abcdef01"
    os.remove(tmp_path / "first/proc/device-tree/serial-number")
    by_file = device.describe(tmp_path / "first")["machine_id"]
    os.remove(tmp_path / "first/etc/machine-id")
    assert len({first, by_file, device.describe(tmp_path / "first")["machine_id"]}) == 3


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "throttled=\n",
        "throttled=0x\n",
        "throttled=5\n",
        "VCHI initialization failed\n",
        "throttled=0x0 and more",
        PermissionError("/dev/vcio"),
        subprocess.CalledProcessError(255, "vcgencmd"),
        subprocess.TimeoutExpired("vcgencmd", 5),
    ],
)
def test_a_firmware_that_does_not_answer_is_unknown_not_fine(tmp_path, answer):
    assert device.conditions(tmp_path, firmware(answer))["throttled"] is None


def test_malformed_files_of_the_kernel_are_unknown(tmp_path):
    root = pi(tmp_path, "Raspberry Pi 4", "0xd08", PI_4_FEATURES, "<unknown>")
    write(
        root,
        {
            "sys/class/thermal/thermal_zone0/temp": "hot\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "\n",
            "proc/cpuinfo": "nonsense\n\n:::\n",
        },
    )
    (root / "proc/device-tree/model").write_bytes(b"\xff\xfe Pi\0")
    now = device.conditions(root, firmware("throttled=0x0"))
    about = device.describe(root)
    assert (now["freq_khz"], now["temp_c"], now["governor"]) == (None, None, None)
    assert about["features"] is None and about["board"].endswith("Pi")


@pytest.mark.parametrize("bit, name", enumerate(device.THROTTLE_BITS))
def test_every_throttle_bit(tmp_path, bit, name):
    def state(bits):
        return device.conditions(tmp_path, firmware(f"throttled={bits:#x}"))

    now = 1 << bit
    since_boot = 1 << bit + 16
    none = state(0)
    assert device.throttle_flags(now) == [name]
    assert device.throttle_flags(hex(since_boot)) == [f"{name} since boot"]
    assert throttling_reasons(none, none) == []
    assert throttling_reasons(none, state(now | since_boot)) == [f"the Pi reported: {name}"]
    assert throttling_reasons(state(now), none) == [f"the Pi reported: {name}"]
    in_between = [f"the Pi reported: {name} at some time during the measurement"]
    assert throttling_reasons(none, state(since_boot)) == in_between
    # long ago: it stays up until a restart
    assert throttling_reasons(state(since_boot), state(since_boot)) == []
    assert throttling_reasons({"throttled": None}, state(since_boot)) == []
    assert throttling_reasons({"throttled": None}, state(now)) == [f"the Pi reported: {name}"]


@pytest.mark.parametrize(
    "before, after, names",
    [
        ("0x0", "0x0", []),
        ("0x50000", "0x50000", []),
        (None, None, None),
        (None, "0x0", []),
        ("0x0", "0x4", ["throttled"]),
        ("0x2", "0x0", ["frequency capped"]),
        (None, "0x50005", ["under-voltage", "throttled"]),
        ("0x50000", "0xe0002", ["frequency capped", "soft temperature limit"]),
    ],
)
def test_what_throttled_a_measurement(before, after, names):
    states = {"throttled": before}, {"throttled": after}
    assert throttled_by(*states) == names
    assert len(throttling_reasons(*states)) == len(names or [])


def test_throttle_flags_together_and_none():
    assert device.throttle_flags("0x50005") == [
        "under-voltage",
        "throttled",
        "under-voltage since boot",
        "throttled since boot",
    ]
    since_boot = [f"{name} since boot" for name in device.THROTTLE_BITS]
    assert device.throttle_flags(0xF000F) == [*device.THROTTLE_BITS, *since_boot]
    for none in (None, "0x0", 1 << 5):
        assert device.throttle_flags(none) == []
    with pytest.raises(ValueError, match="0x50005, not 'hot'"):
        device.throttle_flags("hot")


def test_conditions_carry_the_time_in_utc():
    before = device.conditions()
    after = device.conditions()
    assert before["at"] <= after["at"] and before["at"].endswith("+00:00")
    assert before["monotonic_ns"] < after["monotonic_ns"], "and by a clock that is never set"
    assert clock_warnings(before, after) == []
    # unknown without the clock that is never set
    assert clock_warnings({"at": before["at"]}, {"at": "2031-01-01T00:00:00+00:00"}) == []


@pytest.mark.parametrize(
    "operator, dtypes", [("MatMul", ("float32", "float32")), ("MatMulInteger", ("uint8", "int8"))]
)
def test_the_product_model_is_valid_onnx_and_multiplies(operator, dtypes):
    import onnx

    generator = np.random.default_rng(0)
    a, b = (generator.integers(0, 100, (300, 300)).astype(dtype) for dtype in dtypes)
    model = onnx.load_from_string(onnx_product.product_model(operator, a, b))
    onnx.checker.check_model(model, full_check=True)
    wanted = a.astype(np.int64) @ b.astype(np.int64)
    assert np.array_equal(peak_process._product_call(operator, a, b)()[0], wanted)


def test_machine_peak_is_plausible():
    peak = device.measure_roofline(seconds=0.05)
    print(peak)
    assert min(peak.flops_per_s, peak.bytes_per_s, peak.int8_ops_per_s) > 1e8
    assert set(peak.measured_with) == {"flops_per_s", "int8_ops_per_s", "bytes_per_s"}
    assert "onnxruntime" in peak.measured_with["int8_ops_per_s"]


@pytest.mark.skipif(not PROC, reason="needs /proc")
def test_machine_peak_without_onnx_runtime_and_with_one_thread_whatever_was_set(
    tmp_path, monkeypatch
):
    # this module is imported right after numpy's first product, when numpy has started the threads
    # that it uses
    counts_threads = (
        "import os\nwith open(os.environ['SEEN'], 'w') as seen:\n"
        "    seen.write(str(len(os.listdir('/proc/self/task'))))\nraise ImportError"
    )
    write(tmp_path, {"onnxruntime.py": counts_threads})
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    peak = device.measure_roofline(seconds=0.05)
    assert (tmp_path / "seen").read_text() == "1"
    assert peak.int8_ops_per_s is None and "int8_ops_per_s" not in peak.measured_with
    assert peak.flops_per_s > 1e8 and peak.measured_with["flops_per_s"].startswith("numpy")


@pytest.mark.skipif(not PROC, reason="needs /proc")
def test_peak_rss_sees_what_the_code_held_even_if_it_gave_it_back():
    code = "block = b'x' * size\nmark('held')\ndel block\nmark('given back')"
    marks = device.peak_rss(code, size=100 * 10**6)
    assert list(marks) == ["start", "held", "given back", "end"]
    assert 100e6 < marks["held"] - marks["start"] < 105e6
    assert marks["held"] <= marks["given back"] <= marks["end"]


@pytest.mark.skipif(not PROC, reason="needs /proc")
def test_peak_rss_does_not_see_its_parent():
    """ru_maxrss would: it includes the memory of the parent process."""
    code = "block = b'x' * 30_000_000"
    from_small = device.peak_rss(code)["end"]
    ballast = np.ones(200 * 10**6, np.uint8)
    from_large = device.peak_rss(code)["end"]
    print(
        f"{from_small / 1e6:.2f} MB from a small parent, "
        f"{from_large / 1e6:.2f} MB from one that holds 200 MB more"
    )
    assert device.peak_rss_of_this_process() > ballast.nbytes
    assert from_large == pytest.approx(from_small, rel=0.02)


@pytest.mark.skipif(not PROC, reason="needs /proc")
def test_peak_rss_of_code_that_prints_takes_paths_and_imports_helpers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marks = device.peak_rss(
        "import os; print('noise'); os.system('echo noise')\n"
        "from helpers import paths\nassert open(path).read() == 'text'",
        path=write(tmp_path, {"file": "text"}) / "file",
    )
    assert marks["end"] >= marks["start"] > 1e6


@pytest.mark.skipif(not PROC, reason="needs /proc")
@pytest.mark.parametrize(
    "code, message",
    [
        ("1 / 0", "exit status 1.*ZeroDivisionError"),
        ("def", "SyntaxError"),
        ("raise SystemExit", "ended its process early, with exit status 0"),
        ("import os; os.kill(os.getpid(), 9)", "failed .signal 9: no output; out of memory"),
    ],
)
def test_peak_rss_of_code_that_fails(code, message):
    with pytest.raises(RuntimeError, match=message):
        device.peak_rss(code)


def test_peak_rss_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(memory, "read", lambda path: None)
    assert device.peak_rss_of_this_process() is None and device.peak_rss("1 / 0") == {}
