"""A tunnel to a server on the Pi: ssh forwards a port of this machine, and of this machine only."""

import json
import socket
import subprocess
import time
import urllib.request

from workbook.pi.openssh import PiError, Program, options, target, why_not_connected

ANSWER_S = 30
# A connection of its own: in one that the user keeps open, the forwarding would stay after we have
# closed it. The user's own forwardings may fail, since another session may hold their ports.
TUNNEL = ("-N", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=no", "-o", "LogLevel=INFO")


class Tunnel:
    """http://127.0.0.1:`local_port` of this machine leads to a port of the Pi's own 127.0.0.1.

    `open` may be called again after the connection broke: `local_port` stays as it is.
    """

    def __init__(self, host: str, service: str = "JupyterLab", path: str = "/api") -> None:
        """`service` answers at `path` with JSON that contains its version."""
        self.host = host
        self.service = service
        self.path = path
        self.local_port = _free_port()
        self._ssh: Program | None = None

    def __enter__(self) -> "Tunnel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """False once the connection is known to be broken."""
        return self._ssh is not None and self._ssh.poll() is None

    def close(self) -> None:
        if self._ssh:
            self._ssh.end()

    def open(self, port: int) -> None:
        """Forward to `port` of the Pi; PiError unless the service answers there."""
        self.close()
        forward = f"127.0.0.1:{self.local_port}:127.0.0.1:{port}"
        command = ["ssh", *options(self.host), *TUNNEL, "-L", forward, *target(self.host)]
        ssh = Program(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._ssh = ssh
        deadline = time.monotonic() + ANSWER_S
        while not _answers(self.local_port, self.path):
            problem = self._problem(ssh)
            if problem is None and time.monotonic() > deadline:
                problem = f"{self.service} does not answer through the tunnel within {ANSWER_S} s"
            if problem:
                self.close()
                raise PiError(f"{self.host}: {problem}")
            time.sleep(0.2)

    def _problem(self, ssh: Program) -> str | None:
        complaint = ssh.complaint()
        if "administratively prohibited" in complaint or "forwarding is disabled" in complaint:
            return (
                f"its SSH server forbids forwarding, which the tunnel to {self.service} needs; set "
                "`AllowTcpForwarding yes` in /etc/ssh/sshd_config there, or remove what "
                "forbids it from your key's line in ~/.ssh/authorized_keys there. "
                "`workbook pi run` works without it"
            )
        if f"cannot listen to port: {self.local_port}" in complaint:
            return f"port {self.local_port} of this machine is now used by another program"
        if ssh.poll() is None:
            return None
        return why_not_connected(self.host, complaint)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int, path: str) -> bool:
    """Whether the service answers at 127.0.0.1:`port`."""
    no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with no_proxy.open(f"http://127.0.0.1:{port}{path}", timeout=ANSWER_S) as answer:
            return "version" in json.load(answer)
    except (OSError, ValueError):  # not yet
        return False
