"""The listeners of every listen address: bound once, by the first settings, and read from until the end.

A listener is a transport and a socket, wherever that comes from. One more transport is one more entry here.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from flatproxy.forward.access import Networks
from flatproxy.forward.listeners.datagram import DatagramListener
from flatproxy.forward.listeners.stream import StreamListener

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IListeningPort

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.listeners.connections import Connections
    from flatproxy.forward.listeners.sockets import ListenSocket
    from flatproxy.forward.readers import Readers


class Listening:
    """Prepared, committed and aborted with the forwarder that it belongs to."""

    def __init__(
        self,
        listen_at: Callable[[Endpoint, int], Sequence[ListenSocket]],
        exchange: Exchange,
        connections: Connections,
        readers: Readers,
    ) -> None:
        self._listen_at = listen_at
        self._exchange = exchange
        self._connections = connections
        self._readers = readers
        self._bound: list[ListenSocket] = []
        self._proxies = Networks(())
        self._committed = False
        self._datagrams: list[DatagramListener] = []
        self._ports: list[IListeningPort] = []

    def prepare(self, settings: Settings) -> None:
        """Bind every listen address, where none is yet; `FlatproxyError` where one is not to be had."""
        if self._committed:
            return
        for endpoint in settings.listen.dns:
            self._bound += self._listen_at(endpoint, 1)
        self._proxies = Networks(settings.listen.proxy_from)

    def abort(self) -> None:
        """Close what was bound and is not read from."""
        for bound in self._bound:
            bound.socket.close()
        self._bound.clear()

    def commit(self, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        """Begin to read from what was bound."""
        self._committed = True
        begin = {"udp": self._begin_datagrams, "tcp": self._begin_stream}
        for bound in self._bound:
            begin[bound.transport](bound.socket, reactor)
        self._bound.clear()

    def _begin_datagrams(self, sock: socket.socket, reactor: Any) -> None:  # noqa: ANN401, ARG002 - as the other
        listener = DatagramListener(sock, self._exchange, self._proxies)
        self._readers.add(listener)
        self._datagrams.append(listener)

    def _begin_stream(self, sock: socket.socket, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        factory = StreamListener(self._exchange, self._connections, self._proxies)
        self._ports.append(reactor.adoptStreamPort(sock.fileno(), sock.family, factory))
        sock.close()  # Twisted listens on a duplicate

    @property
    def endpoints(self) -> list[Endpoint]:
        """The addresses that are read from, in the configuration's order."""
        return [listener.endpoint for listener in self._datagrams]

    @property
    def waiting(self) -> int:
        """Queries over UDP that wait for a cold target."""
        return sum(listener.waiting for listener in self._datagrams)

    async def stop(self) -> None:
        """Take nothing new."""
        for listener in self._datagrams:
            listener.read(monotonic())  # what the kernel has already taken is ours to answer
            self._readers.remove(listener)
        for port in self._ports:
            stopped = port.stopListening()
            if stopped is not None:
                await stopped.asFuture(asyncio.get_running_loop())

    def close(self) -> None:
        """Close the sockets."""
        for listener in self._datagrams:
            listener.close()
