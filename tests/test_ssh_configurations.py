"""`pi status` reaches a host if and only if `ssh` does, for any configuration of OpenSSH.

The configurations are drawn with a fixed seed. WORKBOOK_ALL_TESTS=1 tries 30 instead of eight.
"""

import getpass
import os
import random
import socket
import subprocess
from pathlib import Path

import pytest
from ssh_servers import Laptop, free_port, keygen, needs_sshd

from workbook.pi import fleet

CONFIGURATIONS = 30 if os.environ.get("WORKBOOK_ALL_TESTS") == "1" else 8

# {part: {choice: how often it is drawn}}
CHOICES = {
    "block": {
        "Host garage": 6,
        "Match host garage": 4,
        "Match originalhost garage exec true": 4,
        "Match host attic": 1,
    },
    "include": {"": 2, "one": 2, "one, and a missing one": 1},
    "keys": {"right": 5, "missing right": 5, "stranger right": 4, "missing": 1, "stranger": 1},
    "identities_only": {"": 1, "yes": 1, "no": 1},
    "alias": {"": 3, "cellar": 3, "unknown": 1},
    "jump": {"": 3, "gate": 4, "nowhere": 1},
    "port": {"configured": 4, "in the host": 4, "wrong": 1},
    "control": {"": 1, "auto": 1},
    "remote_command": {"": 1, "tmux new": 1},
    "forward": {"": 1, "free": 1, "busy": 1},
    "strict": {"": 3, "yes": 2, "accept-new": 2, "no": 1},
    "known": {"plain": 3, "hashed": 3, "torn": 2, "empty": 1, "another key": 1},
}


def drawn(count: int) -> list[dict[str, str]]:
    generator = random.Random(23)
    return [
        {
            part: generator.choices(list(choices), list(choices.values()))[0]
            for part, choices in CHOICES.items()
        }
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    laptop = Laptop(tmp_path_factory.mktemp("ssh"))
    laptop.serve("pi")
    laptop.serve("gate")
    keygen(laptop.ssh / "stranger")
    yield laptop
    laptop.close()


def configure(laptop: Laptop, drawn: dict[str, str], busy_port: int) -> str:
    """Write what was drawn into the laptop's files; the host as it is given to `pi status`."""
    server = laptop.servers["pi"]
    gate = laptop.servers["gate"]
    key_files = {"right": "id_ed25519", "missing": "id_old", "stranger": "stranger"}
    lines = [drawn["block"], f"User {getpass.getuser()}", "HostName 127.0.0.1"]
    lines += [f"IdentityFile {laptop.ssh / key_files[name]}" for name in drawn["keys"].split()]
    if drawn["port"] == "configured":
        lines.append(f"Port {server.port}")
    elif drawn["port"] == "wrong":
        lines.append(f"Port {free_port()}")
    if drawn["control"]:
        lines += ["ControlMaster auto", f"ControlPath {control_path(laptop)}", "ControlPersist 60"]
    if drawn["remote_command"]:
        lines += [f"RemoteCommand {drawn['remote_command']}", "RequestTTY force"]
    if drawn["forward"]:
        port = busy_port if drawn["forward"] == "busy" else free_port()
        lines.append(f"LocalForward 127.0.0.1:{port} 127.0.0.1:1")
    options = {
        "IdentitiesOnly": "identities_only",
        "HostKeyAlias": "alias",
        "ProxyJump": "jump",
        "StrictHostKeyChecking": "strict",
    }
    lines += [f"{option} {drawn[part]}" for option, part in options.items() if drawn[part]]
    # what is common comes last, since ssh takes the first value that it finds
    common = f"""
        Host gate
          HostName 127.0.0.1
          Port {gate.port}
          User {getpass.getuser()}
          IdentityFile {laptop.ssh / "id_ed25519"}
        Host nowhere
          HostName 127.0.0.1
          Port 1
        Host *
          UserKnownHostsFile {laptop.ssh / "known_hosts"}
        """
    block = "\n  ".join(lines)
    if drawn["include"]:
        (laptop.ssh / "pis.conf").write_text(block)
        block = f"Include {laptop.ssh / 'pis.conf'}"
        if drawn["include"] != "one":
            block = f"Include {laptop.ssh / 'missing.conf'}\n{block}"
    (laptop.ssh / "config").write_text(f"{block}\n{common}")
    return f"garage:{server.port}" if drawn["port"] == "in the host" else "garage"


def control_path(laptop: Laptop) -> Path:
    return laptop.home / "master"


def write_known_hosts(laptop: Laptop, drawn: dict[str, str]) -> None:
    keys = {
        name: (laptop.home.parent / f"sshd-{name}/host_key.pub").read_text().rsplit(" ", 1)[0]
        for name in ("pi", "gate")
    }
    pi_key = keys["gate"] if drawn["known"] == "another key" else keys["pi"]
    lines = [f"[127.0.0.1]:{laptop.servers['gate'].port} {keys['gate']}"]
    if drawn["known"] != "empty":
        lines += [f"[127.0.0.1]:{laptop.servers['pi'].port} {pi_key}", f"cellar {pi_key}"]
    if drawn["known"] == "torn":
        lines = ["# Küche", "oldpi ssh-rsa AAAAB", *lines]
    known = laptop.ssh / "known_hosts"
    known.write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    if drawn["known"] == "hashed":
        command = ["ssh-keygen", "-q", "-H", "-f", str(known)]
        subprocess.run(command, check=True, capture_output=True)


def ssh_gets_there(host: str) -> bool:
    """What plain ssh does; without a RemoteCommand, with which it takes no command at all."""
    name, _, port = host.partition(":")
    command = ["ssh", "-o", "BatchMode=yes", "-o", "RemoteCommand=none"]
    if port:
        command += ["-p", port]
    # no pipes: a master that stays in the background would hold them open
    null = subprocess.DEVNULL
    command += [name, "true"]
    ended = subprocess.run(command, stdin=null, stdout=null, stderr=null, timeout=60)
    return ended.returncode == 0


@needs_sshd
def test_pi_status_gets_where_ssh_gets(laptop, monkeypatch):
    laptop.use(monkeypatch)
    outcomes = []
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        for number, configuration in enumerate(drawn(CONFIGURATIONS)):
            host = configure(laptop, configuration, busy.getsockname()[1])
            write_known_hosts(laptop, configuration)
            said: list[str] = []
            failed = fleet.status([host], said.append)
            is_here = not failed
            said += map(str, failed.values())
            assert not control_path(laptop).exists(), "a connection was left behind"
            write_known_hosts(laptop, configuration)
            is_there = ssh_gets_there(host)
            print(f"{number}: ssh {is_there}, pi status {is_here} {configuration} {said}")
            assert is_here == is_there, (configuration, said)
            assert len(said) == 1 and "Error" not in said[0], said
            if control_path(laptop).exists():  # and through the connection that is open now
                assert not fleet.status([host], said.append), said
                subprocess.run(["ssh", "-O", "exit", "garage"], check=True, capture_output=True)
            outcomes.append(is_there)
    assert 0 < sum(outcomes) < len(outcomes), "some get there, some do not"
