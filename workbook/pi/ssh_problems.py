"""What stopped ssh, as one sentence that names the cause and what to do."""

import os
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

Settings = Iterable[tuple[str, str]]


def sentence(complaint: str, shell_form: str, settings: Callable[[], Settings] = tuple) -> str:
    """The cause in `complaint`, what ssh wrote to standard error.

    `shell_form` is the host as it is typed after `ssh`; `settings` its configuration, if needed.
    """
    lines = readable(complaint.splitlines())
    # the last lines of a failed connection through another host do not name the cause
    vague = re.compile("UNKNOWN port|kex_exchange_identification|stdio forwarding failed")
    causes = [line for line in lines if not vague.search(line)]
    last = (causes or lines or ["no output"])[-1]
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in complaint:
        return _changed_key(complaint)
    if "Host key verification failed" in complaint:
        return (
            f"this machine is not known here yet; run `ssh {shell_form}` once, compare the "
            "fingerprint, and answer yes"
        )
    if found := re.search(r'Load key "(.+)": bad permissions', complaint):
        return f"others can read your key, so ssh ignores it; run `chmod 600 {found[1]}`"
    if "Too many authentication failures" in complaint:
        return (
            "your agent offers too many keys before the right one; name the right one in "
            "~/.ssh/config with IdentityFile, and add IdentitiesOnly yes"
        )
    if "Permission denied" in complaint:
        return _refused(shell_form, settings())
    if found := re.search(r"Could not resolve hostname (\S+):", complaint):
        name = "this name" if found[1].lower() in shell_form.lower() else f"the name {found[1]}"
        return (
            f"no machine with {name} was found; is the Pi on, and in this network? `hostname -I` "
            "on the Pi prints its address, which can be used instead of the name"
        )
    if "administratively prohibited" in complaint:
        return f"the host on the way to it (ProxyJump) forbids forwarding ({last})"
    return (
        f"it does not answer ({last}); is it on, and is SSH switched on there "
        "(`sudo raspi-config`, Interface Options)?"
    )


def wrong_settings(complaint: str) -> str:
    """Why `ssh -G`, which connects to nothing, failed with this `complaint`."""
    first = (readable(complaint.splitlines()) or ["no output"])[0]
    if re.search("contains invalid characters|nvalid username", complaint):
        return (
            f"ssh does not accept this host ({first}): use user@name, such as pi@raspberrypi.local"
        )
    return f"ssh's configuration on this machine has an error ({first})"


def no_python(code: int, printed: Iterable[str]) -> str:
    """Why the Pi's python3 ended with exit status `code`, after `printed` lines."""
    last = (readable(printed) or ["no output"])[-1]
    if code == 127 or re.search(r"python3\W.*not found|Unknown command|command not found", last):
        return f"python3 is missing there ({last}); `sudo apt install python3` installs it"
    return f"its Python 3 gave no answer ({last}); is it a Pi with Raspberry Pi OS?"


def readable(lines: Iterable[str]) -> list[str]:
    """The lines that are not empty, without colours and other control characters."""
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]", "", line).strip() for line in lines]
    return [line for line in plain if line]


def _changed_key(complaint: str) -> str:
    name = re.search(r"Host key for (\S+) has changed", complaint)
    file = re.search(r"Offending \S+ key in (.+):\d+", complaint)
    forget = f"ssh-keygen -R '{name[1]}'" if name else "ssh-keygen -R HOST"
    if file and Path(file[1]) != Path.home() / ".ssh/known_hosts":
        forget += f" -f '{file[1]}'"
    return (
        "its host key has changed. If its card was written again, remove the old key with "
        f"`{forget}` and connect once with `ssh`; otherwise this may be an attack"
    )


def _refused(shell_form: str, settings: Settings) -> str:
    files = [os.path.expanduser(value) for name, value in settings if name == "identityfile"]
    if locked := [file for file in files if _needs_passphrase(file)]:
        return (
            "your key has a passphrase, and this command cannot ask for it; run "
            f"`ssh-add {locked[0]}` first, and `ssh-copy-id {shell_form}` if the key was never "
            "copied there"
        )
    return (
        "it does not accept your SSH key, and this command cannot ask for a password; copy the "
        f"key once with `ssh-copy-id {shell_form}` (`ssh-keygen -t ed25519` makes one)"
    )


def _needs_passphrase(file: str) -> bool:
    if not os.path.exists(file):
        return False
    command = ["ssh-keygen", "-y", "-P", "", "-f", file]
    opened = subprocess.run(command, capture_output=True, text=True)
    return opened.returncode != 0 and "passphrase" in opened.stderr
