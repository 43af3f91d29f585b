"""The page: for the browsers of this machine alone, with a token, and without storing a frame.

A browser asks for one picture at a time, the newest one after the one that it has. So the server
sends no faster than a browser takes, no queue grows between them, be it in a tunnel, and a slow
browser misses pictures instead of getting old ones.

Who may ask: everything listens on 127.0.0.1, and other users of the machine lack the token. It
stands in the page's address and travels in a header, never in a cookie: browsers send a cookie of
127.0.0.1 to every port there, whoever listens. Pages of other sites cannot set that header, and a
name of theirs that suddenly means 127.0.0.1 (DNS rebinding) is recognised by the Host header.
"""

import hmac
import json
import secrets
import time
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from modelfiles.errors import WorkbookError

if TYPE_CHECKING:
    from workbook.live.server import LiveServer

NAMES = ("127.0.0.1", "localhost")  # in Host; the port is that of the tunnel's other end
WAIT_S = 5.0  # for a picture; then the answer is empty, and the page asks again
IDLE_S = 20.0  # a connection on which nothing moves for so long is closed
MOST_LABELS = 10
POLICY = (
    "default-src 'none'; img-src blob:; connect-src 'self'; style-src 'nonce-{nonce}'; "
    "script-src 'nonce-{nonce}'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, one after the other."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_S
    wbufsize = 64 * 1024
    disable_nagle_algorithm = True
    server: "LiveServer"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if not self._is_local():
            return
        if url.path == "/version":  # the tunnel asks it, and needs no token
            self._send_json({"version": 1})
        elif self._has_token(url.query):
            pages = {"/": self._send_page, "/frame": self._send_frame, "/state": self._send_state}
            self._call(pages.get(url.path))

    def do_POST(self) -> None:
        if not self._is_local():
            return
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # the body is not read
            self._fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "requests have no body")
        elif self._has_token(""):
            actions = {"/start": self._start, "/stop": self._stop}
            self._call(actions.get(self.path))

    def _call(self, action) -> None:
        if action is None:
            self._fail(HTTPStatus.NOT_FOUND, "there is no such page")
        elif self.server.is_closing:
            self.close_connection = True
            self._fail(HTTPStatus.SERVICE_UNAVAILABLE, "workbook live has ended")
        else:
            action()

    def _is_local(self) -> bool:
        """Whether the browser asked for this machine, and a page of ours asked it to."""
        host = self.headers.get("Host", "")
        name = host.rpartition(":")[0] or host
        origin = self.headers.get("Origin", f"http://{host}")
        if name in NAMES and origin == f"http://{host}":
            return True
        self.close_connection = True
        self._fail(HTTPStatus.FORBIDDEN, "open the page by its address on 127.0.0.1")
        return False

    def _has_token(self, query: str) -> bool:
        """Whether the header X-Token is right, or the token in the address of the page itself."""
        given = self.headers.get("X-Token", "")
        if urlsplit(self.path).path == "/":
            given = parse_qs(query).get("token", [""])[0]
        if hmac.compare_digest(given.encode(), self.server.token.encode()):
            return True
        self.close_connection = True
        self._fail(
            HTTPStatus.FORBIDDEN,
            "wrong token: open the whole address that `workbook live` printed",
        )
        return False

    def _send_page(self) -> None:
        nonce = secrets.token_urlsafe(16)
        page = files("workbook.live").joinpath("page.html").read_text(encoding="utf-8")
        body = page.replace("NONCE", nonce).encode()
        policy = {"Content-Security-Policy": POLICY.format(nonce=nonce)}
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", body, policy)

    def _send_frame(self) -> None:
        """The newest picture after ?after=TURN; ?shown=NS is when the last one was exposed.

        The page sends it after it has shown that picture, so its age is the time from the light to
        the browser's screen, and the way back of the request.
        """
        now_ns = time.monotonic_ns()
        query = parse_qs(urlsplit(self.path).query)
        turn = _number(query, "after")
        exposed_ns = _number(query, "shown")
        shown = self.server.session.newest.after(turn, WAIT_S)
        if shown is None:
            self._send(HTTPStatus.NO_CONTENT, "", b"", {})
            return
        labels = [asdict(label) for label in shown.labels[:MOST_LABELS]]
        more = {
            "X-Turn": str(shown.turn),
            "X-Exposed": str(shown.exposed_ns),
            "X-Labels": json.dumps(labels),  # in ASCII, and without line breaks
        }
        if 0 < exposed_ns <= now_ns:
            more["X-Age-Ms"] = f"{(now_ns - exposed_ns) / 1e6:.1f}"
        self._send(HTTPStatus.OK, "image/jpeg", shown.jpeg, more)

    def _send_state(self) -> None:
        self._send_json(self.server.session.state())

    def _start(self) -> None:
        try:
            self.server.session.start()
        except (WorkbookError, ValueError, OSError):
            self.log_message("start failed")  # the sentence is part of the state
        self._send_state()

    def _stop(self) -> None:
        self.server.session.stop()
        self._send_state()

    def _send_json(self, content: dict) -> None:
        self._send(HTTPStatus.OK, "application/json", json.dumps(content).encode(), {})

    def _fail(self, status: HTTPStatus, sentence: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{sentence}\n".encode(), {})

    def _send(self, status: HTTPStatus, kind: str, body: bytes, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **more}.items():
            self.send_header(name, value)
        if kind:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def version_string(self) -> str:
        """The header Server, without versions."""
        return "workbook"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged: addresses of requests contain the token."""


def _number(query: dict[str, list[str]], name: str) -> int:
    """A number of the address; 0 if it is none."""
    text = query.get(name, ["0"])[0]
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        return 0
    return int(text)
