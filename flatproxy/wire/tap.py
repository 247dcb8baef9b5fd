"""What a query log is told: which message, when, from whom. Whoever is told must not keep anybody waiting."""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Kind = Literal["auth_query", "auth_response", "resolver_query", "resolver_response"]
TappedTransport = Literal["udp", "tcp", "tls", "https", "quic"]


class TappedMessage(NamedTuple):
    """One message. `querier` and `responder` are 4 or 16 octets, empty where unknown; `at` is Unix time."""

    kind: Kind
    way: TappedTransport
    message: bytes
    at: float
    querier: bytes = b""
    responder: bytes = b""
    port: int = 0
    """The responder's, 0 where it is unknown."""


class Tap(Protocol):
    """Who is told."""

    def tell(self, told: TappedMessage) -> None:
        """Take note; returns at once."""
