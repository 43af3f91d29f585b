"""SSH to a Pi that does something unexpected: it works, or one sentence names the cause."""

import http.server
import json
import os
import re
import socket
import sys
import threading
import urllib.error
import urllib.request

import pytest
from ssh_servers import Laptop, needs_sshd, wait_until, write_program

from workbook.pi import connection, ssh_problems, transfer
from workbook.pi.connection import Pi
from workbook.pi.openssh import PiError, target
from workbook.pi.tunnel import Tunnel


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("ssh"))
    laptop.serve("garage")
    yield laptop
    laptop.close()


@pytest.fixture
def at_laptop(laptop, monkeypatch):
    laptop.use(monkeypatch)
    laptop.write_config()
    return laptop


@pytest.mark.parametrize(
    "host, arguments",
    [
        ("garage", ["garage"]),
        ("pi@raspberrypi.local", ["pi@raspberrypi.local"]),
        ("pi@raspberrypi.local:2222", ["-p", "2222", "pi@raspberrypi.local"]),
        ("pi@2001:db8::22", ["pi@2001:db8::22"]),
        ("pi@fe80::dea6:32ff:fe01:2%eth0", ["pi@fe80::dea6:32ff:fe01:2%eth0"]),
        ("pi@[2001:db8::22]", ["pi@2001:db8::22"]),
        ("[2001:db8::22]:2222", ["-p", "2222", "2001:db8::22"]),
    ],
)
def test_a_host_becomes_the_arguments_of_ssh(host, arguments):
    assert target(host) == arguments


@pytest.mark.parametrize(
    "host", ["", "pi@garage:", "pi@garage:port", "-oProxyCommand=x", "pi@my garage", "[::1]:x"]
)
def test_what_is_no_host(host):
    with pytest.raises(PiError, match="is not a host: use user@name"):
        target(host)


@pytest.mark.parametrize(
    "complaint, sentence",
    [
        (
            "Received disconnect from 10.0.0.2 port 22:2: Too many authentication failures",
            "agent offers too many keys",
        ),
        (
            'Load key "/home/me/.ssh/id": bad permissions\npi@x: Permission denied (publickey).',
            "`chmod 600 /home/me/.ssh/id`",
        ),
        (
            "ssh: Could not resolve hostname pi.local: Name or service not known",
            "no machine with this name was found",
        ),
        (
            "ssh: Could not resolve hostname gate: Name or service not known\n"
            "Connection closed by UNKNOWN port 65535",
            "no machine with the name gate was found",
        ),
        (
            "channel 0: open failed: administratively prohibited: open failed\n"
            "stdio forwarding failed\n"
            "Connection closed by UNKNOWN port 65535",
            "on the way to it .* forbids forwarding",
        ),
        (
            "ssh: connect to host gate port 22: No route to host\n"
            "kex_exchange_identification: Connection closed by remote host",
            r"does not answer \(ssh: connect to host gate port 22: No route to host\)",
        ),
        (
            "Host key for [10.0.0.2]:2222 has changed\nOffending ED25519 key in /etc/known:3\n"
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
            r"`ssh-keygen -R '\[10.0.0.2\]:2222' -f '/etc/known'`",
        ),
        ("\x1b[31m\r\n", "does not answer .no output."),
    ],
)
def test_what_stops_ssh_is_named(complaint, sentence):
    assert re.search(sentence, ssh_problems.sentence(complaint, "pi@pi.local"))


@needs_sshd
def test_a_configuration_with_an_error(at_laptop):
    (at_laptop.ssh / "config").write_text("Host garage\n HostNam 127.0.0.1\n")
    said = "garage: ssh's configuration .* has an error .*line 2: Bad conf"
    with pytest.raises(PiError, match=said):
        Pi("garage")


@needs_sshd
def test_the_banner_of_a_server_is_no_cause(laptop, at_laptop, tmp_path):
    (tmp_path / "banner").write_text("Permission denied to strangers\n" * 20)
    laptop.serve("noisy", extra=f"Banner {tmp_path / 'banner'}", python="exit 127")
    with pytest.raises(PiError, match="noisy: python3 is missing there .no output."):
        Pi("noisy")


@needs_sshd
@pytest.mark.parametrize(
    "login",
    [
        "echo welcome to the garage",
        "printf 'no end of line'",
        "printf '\\033[31mred\\n' >&2",
        "(sleep 0.3; echo later) &",
    ],
)
def test_a_login_script_that_prints(at_laptop, login, tmp_path):
    server = at_laptop.servers["garage"]
    (server.home / ".bashrc").write_text(login)
    file = tmp_path / "file"
    file.write_bytes(os.urandom(1000))
    said = []
    try:
        with Pi("garage") as pi:
            pi.folder = pi.ask("check")["folder"]
            transfer.update(pi, {"notebooks/file": file}, "", said.append)
            assert pi.get("notebooks/file") == file.read_bytes()
    finally:
        (server.home / ".bashrc").unlink()
    assert said == ["copying 1 of 1 files, 0.0 MB"]


@needs_sshd
@pytest.mark.parametrize(
    "login, sentence",
    [
        ("exit 3", "its Python 3 gave no answer .no output."),
        (
            "echo this account is closed; exit 1",
            "its Python 3 gave no answer .this account is closed.",
        ),
        ("PATH=/nowhere", "python3 is missing there"),
        ("sleep 60", "its login shell did not start python3 within 3 s"),
    ],
)
def test_a_login_shell_that_does_not_get_to_python(at_laptop, login, sentence, monkeypatch):
    monkeypatch.setattr(connection, "START_S", 3)
    server = at_laptop.servers["garage"]
    (server.home / ".bashrc").write_text(login)
    try:
        with pytest.raises(PiError, match=f"garage: {sentence}"):
            Pi("garage")
    finally:
        (server.home / ".bashrc").unlink()


@needs_sshd
def test_no_shell_reads_a_request(laptop, at_laptop, tmp_path):
    """Whatever the login shell makes of quotes and backslashes, it sees one fixed command."""
    log = tmp_path / "commands"
    record = f'echo "$SSH_ORIGINAL_COMMAND" >> {log}'
    write_program(tmp_path / "shell", f'{record}\neval "$SSH_ORIGINAL_COMMAND"')
    laptop.serve("odd", extra=f"ForceCommand {tmp_path / 'shell'}")
    parameters = {
        "path": "C:\\\\pi\\new",
        "quotes": 'it\'s "new" `date` $HOME !!',
        "text": "größer\n",
    }
    with Pi("odd") as pi:
        pi.ask("plan", files={}, requirements="")
        before = pi.ask("status")
        assert pi.ask("status", parameters=parameters).keys() == before.keys()
    assert log.read_text() == "python3 -c 'exec(input())'\n"


class Jupyter(http.server.BaseHTTPRequestHandler):
    """What the tunnel asks a Jupyter server for."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"version": "2"}')

    def log_message(self, *_):
        pass


@pytest.fixture
def jupyter_port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Jupyter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def answer_of(tunnel: Tunnel) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{tunnel.local_port}/api", timeout=20) as answer:
        return answer.read()


@needs_sshd
def test_settings_of_the_user_do_not_disturb(at_laptop, jupyter_port, monkeypatch):
    """Each of these would stop a command, the tunnel, or leave something behind."""
    master = at_laptop.home / "master"
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        at_laptop.write_config(f"""
            RemoteCommand tmux new
            RequestTTY force
            LocalForward 127.0.0.1:{busy.getsockname()[1]} 127.0.0.1:1
            ExitOnForwardFailure yes
            ControlMaster auto
            ControlPath {master}
            ControlPersist yes
            StdinNull yes
            ForkAfterAuthentication yes
            PermitLocalCommand yes
            LocalCommand echo connected
            LogLevel DEBUG
            """)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        monkeypatch.setenv("no_proxy", "")
        with Pi("garage") as pi, Tunnel("garage") as tunnel:
            assert pi.ask("status")["jobs"] == []
            tunnel.open(jupyter_port)
            monkeypatch.delenv("http_proxy")
            assert answer_of(tunnel) == b'{"version": "2"}'
            at_laptop.servers["garage"].break_connections()
            wait_until(lambda: not (tunnel.is_open or pi.is_connected), 10)
            before = tunnel.local_port
            tunnel.open(jupyter_port)
            assert tunnel.local_port == before and answer_of(tunnel) == b'{"version": "2"}'
    assert not master.exists() and not at_laptop.ssh_processes()


@needs_sshd
@pytest.mark.parametrize(
    "name, extra", [("no", "AllowTcpForwarding no"), ("elsewhere", "PermitOpen 127.0.0.1:9")]
)
def test_forwarding_is_tried_before_it_is_promised(laptop, at_laptop, name, extra, jupyter_port):
    laptop.serve(name, extra=extra)
    sentence = f"{name}: its SSH server forbids forwarding"
    with Tunnel(name) as tunnel, pytest.raises(PiError, match=sentence):
        tunnel.open(jupyter_port)
    assert not laptop.ssh_processes()


@needs_sshd
def test_nothing_answers_through_the_tunnel(at_laptop, monkeypatch):
    monkeypatch.setattr("workbook.pi.tunnel.ANSWER_S", 1)
    with Tunnel("garage") as tunnel, pytest.raises(PiError, match="JupyterLab does not answer"):
        tunnel.open(1)


@needs_sshd
def test_the_owners_own_jupyter_settings_are_not_read(laptop, at_laptop, tmp_path):
    """The server takes address, token and certificate from the workbook alone."""
    server = laptop.serve("owner", variables={"JUPYTER_TOKEN": "owner", "JUPYTER_PORT": "9123"})
    settings = {
        "ServerApp": {"base_url": "/mine/", "ip": "0.0.0.0", "port": 9123, "certfile": "/no.pem"},
        "IdentityProvider": {"token": ""},
        "PasswordIdentityProvider": {"hashed_password": "argon2:x"},
    }
    for folder in (".jupyter", ".local/etc/jupyter"):
        (server.home / folder).mkdir(parents=True)
        file = server.home / folder / "jupyter_server_config.json"
        file.write_text(json.dumps(settings))
    (server.home / ".jupyter/jupyter_lab_config.py").write_text("raise SystemExit('it was read')")
    write_program(server.workbook / ".venv/bin/python", f'exec {sys.executable} "$@"')
    (server.workbook / "notebooks").mkdir()
    with Pi("owner") as pi, Tunnel("owner") as tunnel:
        try:
            found = pi.ask("jupyter")
            tunnel.open(found["port"])
            address = f"http://127.0.0.1:{tunnel.local_port}/api/contents"
            with urllib.request.urlopen(f"{address}?token={found['token']}", timeout=30) as answer:
                assert answer.status == 200
            for token in ("", "owner"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    urllib.request.urlopen(f"{address}?token={token}", timeout=30)
        finally:
            assert pi.ask("stop")["stopped"] >= 1
