"""A Pi over SSH, with fabric: keys only, known hosts only; whatever goes wrong is one sentence that says what to do."""

import contextlib
import json
import logging
import os
import select
import shlex
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from helpers import pi_host

CONNECT_S, ALIVE_S = 15, 15  # how long to wait for an answer, and how often to ask whether the other side is still there

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it logs, PiError says


class PiError(RuntimeError):
    """What is wrong with a Pi, and what to do: one sentence."""


class Pi:
    """The Pi `host` ("user@name", "user@name:port" or a name from ~/.ssh/config), connected. Use it in a `with` block.

    Every method raises PiError where the Pi cannot do what is asked, or the connection breaks.
    """

    def __init__(self, host: str) -> None:
        self.host, self.connection = host, _connect(host)
        self.folder = ""

    def __enter__(self) -> "Pi":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    @property
    def is_connected(self) -> bool:
        """False once the connection is known to be broken."""
        return self.connection.transport.is_active()

    def ask(self, command: str, say: Callable[[str], None] | None = None, **request: object) -> dict:
        """The answer of pi_host's `command`; lines that it prints before that are handed to `say` as they come."""
        with self._told():
            stdin, stdout, stderr = self.connection.client.exec_command(f"python3 - {command} {shlex.quote(json.dumps(request))}")
            stdin.write(Path(pi_host.__file__).read_bytes())
            stdin.channel.shutdown_write()
            lines = iter(stdout)
            last = next(lines, "")
            for line in lines:  # the answer comes last
                if say:
                    say(last.rstrip())
                last = line
            if stdout.channel.recv_exit_status() < 0:  # the channel ended without one
                raise EOFError
            complaint = stderr.read().decode(errors="replace").strip().splitlines()
        try:
            answer = json.loads(last.rpartition(pi_host.RESULT)[2])
        except ValueError:
            said = (complaint or [last.strip() or "it said nothing"])[-1]
            raise PiError(f"{self.host}: its Python 3 gave no answer ({said}); is it a Pi with Raspberry Pi OS?") from None
        if "problem" in answer:
            raise PiError(f"{self.host}: {answer['problem']}")
        return answer

    def put(self, local: Path, path: str) -> None:
        """Copy a file to `path` in the workbook's folder there; a reader sees the whole file or the one before it."""
        target = f"{self.folder}/{path}"
        with self._told():
            sftp = self.connection.sftp()
            try:
                sftp.put(str(local), target + ".part")
                sftp.posix_rename(target + ".part", target)
            except OSError as error:
                if not self.is_connected:
                    raise EOFError from error
                with contextlib.suppress(OSError):
                    sftp.remove(target + ".part")
                raise PiError(f"{self.host}: {path} could not be stored ({error}): is the disk full? Make room there and "
                              "run this again") from error

    def get(self, path: str) -> bytes:
        """The content of the file at `path` in the workbook's folder there."""
        with self._told(), self.connection.sftp().open(f"{self.folder}/{PurePosixPath(path)}") as file:
            file.prefetch()
            return file.read()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a broken connection raises becomes one sentence."""
        from paramiko.ssh_exception import SSHException

        try:
            yield
        except (FileNotFoundError, PermissionError) as error:
            raise PiError(f"{self.host}: {error}") from error
        except (EOFError, SSHException, OSError) as error:
            raise PiError(f"{self.host}: the connection is lost. What runs there goes on: give the same command again, and "
                          "it goes on from where it was") from error


def _connect(host: str):
    from fabric import Connection
    from paramiko import ssh_exception as ssh

    try:
        connection = Connection(host, connect_timeout=CONNECT_S)
        _check_host_keys(connection)
        connection.open()
    except socket.gaierror as error:
        raise PiError(f"{host}: no machine of this name is found; is the Pi on, and in this network? `hostname -I` on the Pi "
                      "prints its address, which does as well as the name") from error
    except ssh.BadHostKeyException as error:
        raise PiError(f"{host}: its host key is not the one it had before. If its card was written anew, forget the old key with "
                      f"`ssh-keygen -R {_known_as(connection)}` and connect once with `ssh`; otherwise somebody is in between") from error
    except ssh.PasswordRequiredException as error:
        raise PiError(f"{host}: your key needs its passphrase, which is not asked for here; run `ssh-add` first") from error
    except ssh.AuthenticationException as error:
        raise PiError(_refused(host)) from error
    except (OSError, EOFError, ssh.SSHException) as error:
        if "known_hosts" in str(error):
            raise PiError(f"{host}: this machine is not known here yet; run `ssh {_shell_form(host)}` once, compare the "
                          "fingerprint, and answer yes") from error
        if "No authentication methods" in str(error):
            raise PiError(_refused(host)) from error
        raise PiError(f"{host}: it does not answer ({error or type(error).__name__}); is it on, and is SSH switched on there "
                      "(`sudo raspi-config`, Interface Options)?") from error
    except ValueError as error:
        raise PiError(f"{host!r} is no host: give user@name, such as pi@raspberrypi.local") from error
    connection.transport.set_keepalive(ALIVE_S)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # a Pi that was unplugged does not say good-bye
        connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4 * ALIVE_S * 1000)
    return connection


def _check_host_keys(connection) -> None:
    """Fabric takes any host key; we take those that ssh knows, of the Pi and of every host that is jumped over."""
    from paramiko import RejectPolicy

    while hasattr(connection, "client"):
        files = connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2").split()
        for path in map(os.path.expanduser, [*files, "/etc/ssh/ssh_known_hosts"]):
            if os.path.exists(path):
                connection.client.load_system_host_keys(path)
        connection.client.set_missing_host_key_policy(RejectPolicy())
        connection = connection.gateway


def _refused(host: str) -> str:
    return (f"{host}: it refuses your SSH key, and passwords are not used here; copy the key once with "
            f"`ssh-copy-id {_shell_form(host)}` (make one with `ssh-keygen -t ed25519` if you have none)")


def _shell_form(host: str) -> str:
    """`host` as ssh takes it: the port as an option."""
    name, colon, port = host.rpartition(":")
    return f"-p {port} {name}" if colon and port.isdigit() else host


def _known_as(connection) -> str:
    """The Pi's name in known_hosts, quoted for the shell."""
    return connection.host if connection.port == 22 else f"'[{connection.host}]:{connection.port}'"


class Tunnel(socketserver.ThreadingTCPServer):
    """Connections to a free port of this machine (`address`, 127.0.0.1 only) go to `port` of the Pi's own 127.0.0.1.

    `pi` may be replaced by a new connection to the same Pi: the address here stays as it is. (Fabric's own forwarding
    ends for good with the first connection that fails.)
    """

    daemon_threads, request_queue_size, block_on_close = True, 32, False

    def __init__(self, pi: Pi, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Forwarded)
        self.pi, self.port = pi, port

    def __enter__(self) -> "Tunnel":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Forwarded(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        from paramiko.ssh_exception import SSHException

        with contextlib.suppress(SSHException, OSError, EOFError):  # the browser sees a closed connection and tries again
            channel = self.server.pi.connection.transport.open_channel(
                "direct-tcpip", ("127.0.0.1", self.server.port), self.client_address)
            with contextlib.closing(channel):
                self._carry(channel)

    def _carry(self, channel) -> None:
        ways = {self.request: channel, channel: self.request}
        while True:
            for source in select.select(list(ways), [], [])[0]:
                if not (data := source.recv(65536)):
                    return
                ways[source].sendall(data)
