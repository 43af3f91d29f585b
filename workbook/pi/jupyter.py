"""JupyterLab on a Pi, in the browser of this machine."""

import time
from collections.abc import Callable

from workbook.pi.connection import Pi
from workbook.pi.openssh import PiError
from workbook.pi.setup import prepare
from workbook.pi.tunnel import Tunnel

RETRY_S = 5


def start(host: str, say: Callable[[str], None] = print, torch: bool = False) -> None:
    """Prepare the Pi, start JupyterLab there, and keep a tunnel to it open until Ctrl-C.

    With `torch`, the Pi's environment gets PyTorch and ExecuTorch, too.

    The address here is printed once it answers. JupyterLab keeps running if the tunnel is closed
    or broken; a broken one is opened again. `workbook pi stop` ends JupyterLab.
    """
    with Pi(host) as pi:
        prepare(pi, say, torch=torch)
        server = pi.ask("jupyter")
    with Tunnel(host) as tunnel:
        tunnel.open(server["port"])
        say(
            f"\nOpen  {_address(tunnel, server)}\n\nCtrl-C closes the connection; "
            f"`workbook pi stop {host}` ends JupyterLab on the Pi."
        )
        try:
            while True:
                if not tunnel.is_open:
                    server = _open_again(tunnel, server, say)
                time.sleep(1)
        except KeyboardInterrupt:
            say("Closed. JupyterLab and its kernels are still running on the Pi.")


def _address(tunnel: Tunnel, server: dict) -> str:
    return f"http://127.0.0.1:{tunnel.local_port}/lab?token={server['token']}"


def _open_again(tunnel: Tunnel, before: dict, say: Callable[[str], None]) -> dict:
    """Try until `tunnel` is open again; return the server, a new one if the Pi was restarted."""
    say(f"{tunnel.host}: the connection was lost; trying again every {RETRY_S} s")
    while True:
        time.sleep(RETRY_S)
        try:
            with Pi(tunnel.host) as pi:
                server = pi.ask("jupyter")
            tunnel.open(server["port"])
        except PiError as error:
            say(str(error))
            continue
        say(f"{tunnel.host}: connected again")
        if server["token"] != before["token"]:
            say(f"JupyterLab was started again: open  {_address(tunnel, server)}")
        return server
