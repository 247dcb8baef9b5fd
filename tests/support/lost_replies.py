"""A relay over TCP to a nameserver that passes everything on but the replies to some updates."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from attrs import define, field

from .lifetime import Startable

if TYPE_CHECKING:
    from .ports import Address

_UPDATE = 5


@define(eq=False)
class LosingRelay(Startable):
    """One message a connection. `lose` replies to updates are kept back; `updates` counts those passed on."""

    target: Address
    lose: int = 0
    updates: int = field(default=0, init=False)
    _listener: socket.socket = field(init=False)

    @property
    def address(self) -> Address:
        host, port = self._listener.getsockname()
        return host, port

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(10)
                self._pass_on(client)

    def _pass_on(self, client: socket.socket) -> None:
        query = _message(client)
        if not query:
            return
        with socket.create_connection(self.target, timeout=10) as server:
            server.sendall(len(query).to_bytes(2, "big") + query)
            reply = _message(server)
        if query[2] >> 3 & 0x0F == _UPDATE:
            self.updates += 1
            if self.lose:
                self.lose -= 1
                return
        client.sendall(len(reply).to_bytes(2, "big") + reply)


def _message(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as stream:
        return stream.read(int.from_bytes(stream.read(2), "big"))
