"""Web servers behind a load balancer: several loopback addresses with one port, each well or ill in its own way."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from attrs import define, field

from .lifetime import Startable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Sequence

    from .ports import Address


class Health(enum.Enum):
    """What a server does with whoever connects."""

    WELL = enum.auto()
    ERROR = enum.auto()
    """Answers 500."""
    SILENT = enum.auto()
    """Accepts and says nothing."""
    HANGS = enum.auto()
    """Says half an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        web = self.server.web
        web.asked.append((self.headers.get("Host", ""), self.path))
        health = web.judge(self.client_address) if web.judge is not None else web.health
        if health is Health.HANGS:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            self.wfile.flush()
            self.server.ended.wait()
            return
        self.send_response(500 if health is Health.ERROR else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    address_family: Any
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, web: WebServer) -> None:
        self.web = web
        self.ended = threading.Event()
        self.address_family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
        super().__init__((web.host, web.port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.web.health is Health.SILENT:
            self.web.connected += 1
            self.ended.wait()
            return
        with contextlib.suppress(OSError):
            if self.web.tls is not None:
                request = self.web.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

    def handle_error(self, *_: Any) -> None:
        pass


@define(eq=False)
class WebServer(Startable):
    """One server. `asked` has Host and path of each request that it read; stop it and it refuses connections."""

    host: str
    port: int = 0
    health: Health = Health.WELL
    judge: Callable[[Address], Health] | None = None
    """Says how it is to a client at an address, in place of `health`."""
    tls: ssl.SSLContext | None = None
    asked: list[tuple[str, str]] = field(factory=list, init=False)
    connected: int = field(default=0, init=False)
    """Clients to whom it said nothing."""
    _server: _Server | None = field(default=None, init=False)

    def start(self) -> None:
        self._server = _Server(self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.ended.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextlib.contextmanager
def web_servers(hosts: Sequence[str], **options: Any) -> Iterator[list[WebServer]]:
    """Start a server at each of these addresses, all with the same port."""
    for _ in range(100):
        with contextlib.ExitStack() as stack:
            servers: list[WebServer] = []
            try:
                for host in hosts:
                    port = servers[0].port if servers else 0
                    servers.append(stack.enter_context(WebServer(host, port, **options)))
            except OSError:
                continue
            yield servers
            return
    raise OSError("no port is free at all of these addresses")
