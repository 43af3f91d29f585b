"""The jail: a command runs without network, on a read-only system, and cannot exceed its limits.

bubblewrap builds it. A process in it sees /usr, the Python environment, the packages that notebooks
import and a copy of one submission, all read-only, and may write into small folders in memory. It
sees no home, no course and no other process.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from helpers.paths import PACKAGES, ROOT
from labs.grading.sandbox import seccomp
from labs.grading.sandbox.limits import Limits
from modelfiles.errors import WorkbookError

HERE = Path(__file__).resolve().parent
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# the grader's files that the jail shows
INSIDE = (
    "worker.py",
    "notebook_loader.py",
    "module_settings.py",
    "statement_names.py",
    "messages.py",
    "worker_notebook.py",
    "outputs.py",
)


class NoJail(WorkbookError, RuntimeError):
    """bubblewrap is missing or does not work here; the text says what to do."""


@cache
def check() -> None:
    """Raise NoJail unless a jail can be built on this machine."""
    instead = "or grade work that you trust with python -m labs.grading grade --no-jail"
    if not shutil.which("bwrap"):
        raise NoJail(
            "bubblewrap is not installed, and without it a submission could read and change "
            f"everything that you can: sudo apt install bubblewrap (Linux and WSL), {instead}"
        )
    with tempfile.TemporaryDirectory() as folder:
        tried = start(
            [sys.executable, "-I", "-c", "print(6 * 7)"],
            folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        said, errors = tried.communicate()
    if said.strip() != "42":
        reason = (errors.strip().splitlines() or ["no reason given"])[-1]
        raise NoJail(
            f"bubblewrap (0.7 or newer is needed) cannot build a jail here ({reason}): "
            f"allow user namespaces or update it, {instead}"
        )


def start(
    argv: list[str], submission: Path | str, disk_mb: int = Limits.disk_mb, **options
) -> subprocess.Popen:
    """Start `argv` in a jail, with the `options` of Popen.

    `submission` is shown as /jail/submission; /jail/work and /tmp are writable.
    """
    with tempfile.TemporaryFile() as rules:
        rules.write(seccomp.program())
        rules.seek(0)
        jailed = command(argv, submission, disk_mb, rules.fileno())
        return subprocess.Popen(jailed, pass_fds=[rules.fileno()], **options)


def command(argv: list[str], submission: Path | str, disk_mb: int, rules: int) -> list[str]:
    """The command line that runs `argv` in a jail.

    `rules` is the open file with the filter of system calls.
    """
    system = ["--ro-bind", "/usr", "/usr"]
    for link in ("bin", "sbin", "lib", "lib64"):
        if os.path.islink(f"/{link}"):
            system += ["--symlink", os.readlink(f"/{link}"), f"/{link}"]
        elif os.path.isdir(f"/{link}"):
            system += ["--ro-bind", f"/{link}", f"/{link}"]
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        system += ["--ro-bind-try", path, path]
    packages = (str(ROOT / package) for package in PACKAGES)
    for path in dict.fromkeys((sys.base_prefix, sys.prefix, *packages)):
        if not path.startswith("/usr/"):
            system += [*_parents(path), "--ro-bind", path, path]
    if Path(sys.prefix) in ROOT.parents or Path("/usr") in ROOT.parents:
        # the course must not be visible with the environment
        system += ["--tmpfs", str(ROOT / "labs")]
    grader = []
    for name in INSIDE:
        grader += ["--ro-bind", str(HERE / name), f"/jail/grader/{name}"]
    fonts = []
    for file in _font_lists():
        fonts += ["--ro-bind", file, f"/tmp/matplotlib/{Path(file).name}"]
    writable = []
    for path in ("/jail/work", "/tmp", "/dev/shm"):
        writable += ["--perms", "1777", "--size", str(disk_mb << 20), "--tmpfs", path]
    words = ["bwrap", "--die-with-parent", "--new-session", *_namespaces()]
    words += ["--dev", "/dev"]
    words += _parents("/jail/grader/_")
    words += writable + system + fonts
    words += ["--proc", "/proc"]
    words += ["--seccomp", str(rules)]
    words += grader
    words += ["--ro-bind", str(submission), "/jail/submission"]
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    words += ["--chdir", "/jail/work"]
    words += ["--clearenv", *_environment()]
    return [*words, "--", *_without_root(), *argv]


def _parents(path: str) -> list[str]:
    """The folders above `path`, open to every user; bubblewrap's own are open only to its user."""
    above = [str(parent) for parent in reversed(Path(path).parents)][1:]
    words = []
    for parent in above:
        if parent != "/tmp":
            words += ["--perms", "0755", "--dir", parent]
    return words


def _namespaces() -> list[str]:
    if os.geteuid() != 0:
        return ["--unshare-all"]
    # no user namespace: the process gets its own user, so that the limit of processes applies
    words = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--cap-drop", "ALL"]
    return [*words, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


def _without_root() -> list[str]:
    if os.geteuid() != 0:
        return []
    # an unused user id, so that jails do not count each other's processes
    user = str(random.SystemRandom().randrange(1 << 29, 1 << 30))
    words = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]
    return [*words, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]


def _environment() -> list[str]:
    values = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "USER": "student",
        "LOGNAME": "student",
        "MPLCONFIGDIR": "/tmp/matplotlib",
        "MPLBACKEND": "agg",
        **THREADS,
        "WORKBOOK_BUILD": "/tmp/build",
        "WORKBOOK_OFFLINE": "1",
        "IPYTHONDIR": "/tmp/ipython",
    }
    words = []
    for name, value in values.items():
        words += ["--setenv", name, value]
    return words


@cache
def _font_lists() -> tuple[str, ...]:
    """matplotlib's lists of this machine's fonts: creating them in each jail would take seconds."""
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "matplotlib"
    return tuple(str(file) for file in cached.glob("fontlist-*.json"))
