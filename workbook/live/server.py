"""The page's server: it listens on 127.0.0.1 alone, and each connection has a thread.

Its number of connections is bounded, and so is what each of them holds: see handler.
"""

import secrets
import socket
import sys
from http.server import ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread

from workbook.live.handler import Handler
from workbook.live.session import Session

HOST = "127.0.0.1"
MOST_CONNECTIONS = 32  # a browser opens two or three per page


class LiveServer(ThreadingHTTPServer):
    """Serves the page of `session` at `address`, in threads of its own, until it is closed."""

    daemon_threads = False  # close() waits for them
    request_queue_size = 16
    allow_reuse_address = False

    def __init__(self, session: Session) -> None:
        self.session = session
        self.token = secrets.token_urlsafe(24)
        self.is_closing = False
        self._connections: set[socket.socket] = set()
        self._connections_lock = Lock()
        super().__init__((HOST, 0), Handler)  # a free port
        self._thread = Thread(target=self.serve_forever, args=(0.1,), name="live page")
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server_address[1]

    @property
    def address(self) -> str:
        return page_address(self.port, self.token)

    def __exit__(self, *_: object) -> None:
        self.close()

    def server_bind(self) -> None:
        """Without a look-up of the machine's name, which takes seconds in some networks."""
        TCPServer.server_bind(self)
        self.server_name = HOST
        self.server_port = self.server_address[1]

    def close(self) -> None:
        """Close all connections and end all threads. The session is not stopped."""
        self.is_closing = True
        self.session.newest.close()
        self.shutdown()
        self._thread.join()
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)
        self.server_close()

    def verify_request(self, request, client_address) -> bool:
        """Whether there is room for one more connection."""
        with self._connections_lock:
            if len(self._connections) >= MOST_CONNECTIONS:
                return False
            self._connections.add(request)
        return True

    def shutdown_request(self, request) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address) -> None:
        """A browser that goes away is no error; others are shown with their traceback."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def page_address(port: int, token: str) -> str:
    return f"http://{HOST}:{port}/?token={token}"


def _shut(connection: socket.socket) -> None:
    """Wake the thread that reads from `connection` or writes to it."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it is closed already
        return
