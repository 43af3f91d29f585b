"""SSH servers of the tests' own, and laptops that use them: loopback only, keys only.

Each server stands for a Pi: its python3, its home folder and its programs are those that the test
gives it. Each laptop has a configuration of ssh that is its own: OpenSSH takes the home folder from
the account, so a program named ssh, first on the laptop's PATH, names the file.
"""

import contextlib
import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.paths import PACKAGES, ROOT
from workbook.pi.setup import LISTS

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
INSTALL = "sudo apt-get install $(cat tests/apt-packages.txt)"
needs_sshd = pytest.mark.skipif(not SSHD, reason=f"sshd is missing: {INSTALL}")


@dataclass
class Server:
    """An SSH server on 127.0.0.1 that stands for a Pi."""

    name: str
    home: Path
    port: int
    process: subprocess.Popen

    @property
    def workbook(self) -> Path:
        return self.home / "workbook"

    def sessions(self) -> list[int]:
        """The processes that sshd has for its connections, as the kernel lists them."""
        return children(self.process.pid)

    def break_connections(self) -> None:
        """What a Wi-Fi does that goes away."""
        kill(self.sessions())

    def processes(self) -> list[int]:
        """Every process that was started there through `pi`."""
        return processes_with(str(self.workbook).encode())


class Laptop:
    """A home folder with an SSH key, and a copy of the workbook whose `pi` commands are tried."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "laptop"
        self.tree = folder / "laptop/workbook"
        self.servers: dict[str, Server] = {}
        self.ssh = self.home / ".ssh"
        self.ssh.mkdir(parents=True)
        keygen(self.ssh / "id_ed25519")
        ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        for part in (*PACKAGES, "workbook", "cpp", "notebooks"):
            shutil.copytree(ROOT / part, self.tree / part, ignore=ignored)
        for name in LISTS:
            shutil.copy(ROOT / name, self.tree)
        programs = self.home / "bin"
        write_program(programs / "ssh", f'exec {shutil.which("ssh")} -F {self.ssh / "config"} "$@"')
        left_out = ("WORKBOOK_DATA", "SSH_AUTH_SOCK")
        self.environment = {key: value for key, value in os.environ.items() if key not in left_out}
        self.environment |= {
            "HOME": str(self.home),
            "PATH": f"{programs}:{os.environ['PATH']}",
            "WORKBOOK_BUILD": str(self.tree / "build"),
        }

    def serve(
        self,
        name: str,
        home: Path | None = None,
        python: str | None = None,
        path: str = "/usr/bin:/bin",
        extra: str = "",
        variables: dict[str, str] | None = None,
    ) -> Server:
        """Start a server, known to this laptop under `name`.

        `python` is a shell script that stands for its python3, `path` is where it finds other
        programs, `extra` is more of its sshd_config, and `variables` more of its environment.
        """
        folder = self.home.parent / f"sshd-{name}"
        home = home or folder / "home"
        for path_made in (folder, home):
            path_made.mkdir(parents=True, exist_ok=True)
        keygen(folder / "host_key")
        write_program(folder / "bin/python3", python or f'exec {real_python()} "$@"')
        port = free_port()
        pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        user_config = Path.home() / ".config/pip/pip.conf"
        if user_config.exists():
            pip["PIP_CONFIG_FILE"] = str(user_config)
        pip |= {"PIP_CACHE_DIR": str(Path.home() / ".cache/pip"), "WORKBOOK_OFFLINE": "1"}
        variables = {"HOME": home, "PATH": f"{folder / 'bin'}:{path}"} | pip | (variables or {})
        # no Subsystem: nothing may need SFTP
        (folder / "sshd_config").write_text(f"""
            ListenAddress 127.0.0.1:{port}
            HostKey {folder / "host_key"}
            AuthorizedKeysFile {self.ssh / "id_ed25519.pub"}
            AuthenticationMethods publickey
            StrictModes no
            UsePAM no
            PidFile none
            {extra}
            SetEnv {" ".join(f'"{key}={value}"' for key, value in variables.items())}
            """)
        if os.geteuid() == 0:  # where it locks its unprivileged half in
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [SSHD, "-D", "-e", "-f", str(folder / "sshd_config")]
        with open(folder / "sshd.log", "w") as log:
            process = subprocess.Popen(command, stderr=log)
        server = self.servers[name] = Server(name, home, port, process)
        self.write_config()
        key = (folder / "host_key.pub").read_text()
        with open(self.ssh / "known_hosts", "a") as known:
            known.write(f"[127.0.0.1]:{port} {key}")
        wait_until(lambda: answers(port), 10)
        return server

    def write_config(self, extra: str = "") -> None:
        """Write the configuration of ssh, with the settings `extra` for every host."""
        text = "".join(
            f"Host {name}\n HostName 127.0.0.1\n Port {server.port}\n"
            f" User {getpass.getuser()}\n IdentityFile {self.ssh / 'id_ed25519'}\n"
            for name, server in self.servers.items()
        )
        text += f"Host *\n UserKnownHostsFile {self.ssh / 'known_hosts'}\n{extra}"
        (self.ssh / "config").write_text(text)

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process use ssh as this laptop does."""
        for name in ("HOME", "PATH", "WORKBOOK_BUILD"):
            monkeypatch.setenv(name, self.environment[name])
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

    def workbook(self, *arguments: object, stderr: int = subprocess.STDOUT) -> subprocess.Popen:
        """`workbook ...`, started in this laptop's copy of the workbook."""
        command = [sys.executable, "-m", "workbook", *map(str, arguments)]
        # Ctrl-C must work there even if these tests themselves run in the background
        return subprocess.Popen(
            command,
            cwd=self.tree,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=stderr,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def command(self, *arguments: str) -> subprocess.Popen:
        """`workbook pi ...`, started in the same way."""
        return self.workbook("pi", *arguments)

    def pi(self, *arguments: str) -> tuple[int, str]:
        """The exit status and the output of `workbook pi ...`."""
        process = self.command(*arguments)
        output, _ = process.communicate(timeout=900)
        return process.returncode, output

    def ssh_processes(self) -> list[int]:
        """The processes of ssh that run with this laptop's configuration."""
        return processes_with(str(self.ssh / "config").encode())

    def close(self) -> None:
        for server in self.servers.values():
            kill([*server.processes(), *server.sessions()])
            server.process.kill()
            server.process.wait()


def processes_with(words: bytes) -> list[int]:
    """Every process with `words` in its environment or on its command line, but this one."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            seen = folder.joinpath("environ").read_bytes() + folder.joinpath("cmdline").read_bytes()
        except OSError:
            continue
        if words in seen and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def write_program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def children(pid: int) -> list[int]:
    command = ["ps", "-o", "pid=", "--ppid", str(pid)]
    listed = subprocess.run(command, capture_output=True, text=True)
    return [int(pid) for pid in listed.stdout.split()]


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # one ends with the other
            os.kill(pid, signal.SIGKILL)


def keygen(path: Path) -> None:
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def real_python() -> str:
    """A Python that can make environments, which the one of an environment is not sure to be."""
    return os.path.realpath(sys.executable)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)


def listening(pids: list[int]) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket on which these processes listen, read from the kernel."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                inodes.update(re.findall(r"^socket:\[(\d+)\]$", os.readlink(link)))
            except OSError:
                continue
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == "0A" and rest[5] in inodes:
                address, port = local.split(":")
                words = [bytes.fromhex(address[i : i + 8])[::-1] for i in range(0, len(address), 8)]
                host = socket.inet_ntop(family, b"".join(words))
                found.add((host, int(port, 16)))
    return found
