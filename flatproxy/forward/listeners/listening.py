"""The listeners of every listen address: bound once, by the first settings, and read from until the end.

A listener is a transport and a socket, wherever that comes from. One more transport is one more entry here.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward.access import Networks
from flatproxy.forward.listeners.datagram import DatagramListener
from flatproxy.forward.listeners.stream import StreamListener

if TYPE_CHECKING:
    import socket

    from twisted.internet.interfaces import IListeningPort

    from flatproxy.config.settings import Listen, Settings
    from flatproxy.counts import Verdicts
    from flatproxy.forward.exchange import Exchange
    from flatproxy.forward.listeners.connections import Connections
    from flatproxy.forward.listeners.sockets import ListenAt, ListenSocket
    from flatproxy.forward.listeners.tls import Certificate, Handshakes
    from flatproxy.forward.readers import Readers

log = Logger()


def _tls() -> Any:  # noqa: ANN401 - a module
    """Return the module for TLS; `FlatproxyError` where what it needs is not installed."""
    try:
        return import_module("flatproxy.forward.listeners.tls")
    except ImportError as error:
        raise FlatproxyError(f"listen.tls needs pyOpenSSL ({error}): pip install 'flatproxy[tls]'") from None


def certificate_of(listen: Listen) -> Certificate | None:
    """Return the certificate, None where none is named: the one in use then stays until a restart, as its socket."""
    if listen.certificate is None or listen.key is None:
        return None
    found: Certificate = _tls().read_certificate(listen.certificate, listen.key)
    return found


class Listening:
    """Prepared, committed and aborted with the forwarder that it belongs to."""

    def __init__(self, listen_at: ListenAt, exchange: Exchange, connections: Connections, readers: Readers) -> None:
        self._listen_at = listen_at
        self._exchange = exchange
        self._connections = connections
        self._readers = readers
        self._bound: list[ListenSocket] = []
        self._proxies = Networks(())
        self._committed = False
        self._datagrams: list[DatagramListener] = []
        self._ports: list[IListeningPort] = []
        self._certificate: Certificate | None = None
        self._handshakes: Handshakes | None = None
        self.tls_endpoints: list[Endpoint] = []

    def prepare(self, settings: Settings, *, plain: bool = True) -> None:
        """Bind every listen address, where none is yet, and read the certificate; `FlatproxyError` where one fails.

        Without `plain` those over TLS alone: somebody else has the others.
        """
        listen = settings.listen
        if self._handshakes is not None or not self._committed:
            self._certificate = certificate_of(listen)
        if self._committed:
            return
        if plain:
            for endpoint in listen.dns:
                self._bound += self._listen_at(endpoint)
        for endpoint in listen.tls:
            self._bound += self._listen_at(endpoint, tls=True)
        self._proxies = Networks(settings.listen.proxy_from)

    def abort(self) -> None:
        """Close what was bound and is not read from."""
        for bound in self._bound:
            bound.socket.close()
        self._bound.clear()
        self._certificate = None

    def commit(self, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        """Begin to read from what was bound; go over to another certificate where there is one."""
        self._committed = True
        if self._certificate is not None:
            self._present(self._certificate)
            self._certificate = None
        begin = {"udp": self._begin_datagrams, "tcp": self._begin_stream, "tls": self._begin_tls}
        for bound in self._bound:
            begin[bound.transport](bound.socket, reactor)
        self._bound.clear()

    def _begin_datagrams(self, sock: socket.socket, reactor: Any) -> None:  # noqa: ANN401, ARG002 - as the other
        listener = DatagramListener(sock, self._exchange, self._proxies)
        self._readers.add(listener)
        self._datagrams.append(listener)

    def _begin_stream(self, sock: socket.socket, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        self._adopt(sock, self._streams(self._exchange.traffic.tcp), reactor)

    def _begin_tls(self, sock: socket.socket, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        traffic, streams = self._exchange.traffic, self._streams(self._exchange.traffic.tls)
        self.tls_endpoints.append(Endpoint(*sock.getsockname()[:2]))
        self._adopt(sock, _tls().TlsListener(self._handshakes, streams, traffic, reactor), reactor)

    def _streams(self, verdicts: Verdicts) -> StreamListener:
        return StreamListener(self._exchange, self._connections, self._proxies, verdicts)

    def _adopt(self, sock: socket.socket, factory: Any, reactor: Any) -> None:  # noqa: ANN401 - many interfaces
        self._ports.append(reactor.adoptStreamPort(sock.fileno(), sock.family, factory))
        sock.close()  # Twisted listens on a duplicate

    def _present(self, certificate: Certificate) -> None:
        """Meet new connections with a certificate; the same one again leaves tickets good."""
        if self._handshakes is None:
            self._handshakes = _tls().Handshakes(certificate)
        elif certificate.digest != self._handshakes.certificate.digest:
            self._handshakes.certificate = certificate
            log.info("TLS: new certificate", event="certificate_changed")

    @property
    def certificate_expires_at(self) -> float | None:
        """When the certificate in use expires, Unix time; None without one."""
        return None if self._handshakes is None else self._handshakes.certificate.expires_at

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
