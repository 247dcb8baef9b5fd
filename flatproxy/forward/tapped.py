"""A listener that tells a query log of what is sent back. There is one for each query, where a log is kept."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from flatproxy.wire.tap import TappedMessage

if TYPE_CHECKING:
    from flatproxy.counts import Verdicts
    from flatproxy.forward.query import Link, Listener
    from flatproxy.wire.tap import Tap, TappedTransport


class TappedListener:
    """In place of the listener that a query came by."""

    def __init__(self, listener: Listener, tap: Tap, host: bytes, message: bytes, way: TappedTransport) -> None:
        self._listener, self._tap, self._host, self._way = listener, tap, host, way
        self.datagrams: bool = listener.datagrams
        self.verdicts: Verdicts = listener.verdicts
        self.rcodes = listener.rcodes
        tap.tell(TappedMessage("auth_query", way, message, time(), host))

    @property
    def link(self) -> Link | None:
        """The connection to the nameserver that belongs to this one."""
        return self._listener.link

    @property
    def gone(self) -> bool:
        """Whether nobody can be sent anything any more."""
        return self._listener.gone

    @gone.setter
    def gone(self, gone: bool) -> None:
        self._listener.gone = gone

    @property
    def waiting(self) -> int:
        """Queries that wait for a cold target."""
        return self._listener.waiting

    @waiting.setter
    def waiting(self, count: int) -> None:
        self._listener.waiting = count

    def send(self, reply: bytes, back: Any) -> None:  # noqa: ANN401 - the listener's own
        """Send a reply, and tell of it."""
        self._listener.send(reply, back)
        self._tap.tell(TappedMessage("auth_response", self._way, reply, time(), self._host))

    def proxy_header(self, back: Any) -> bytes:  # noqa: ANN401 - the listener's own
        """Return the PROXY header that names the client."""
        return self._listener.proxy_header(back)
