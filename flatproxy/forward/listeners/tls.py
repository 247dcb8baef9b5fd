"""DNS over TLS (RFC 7858): certificates, and the handshake below a client's connection. It sees no message.

pyOpenSSL does it, which comes with the extra `flatproxy[tls]`; this module is imported where TLS is configured only.
No octet of a private key may get into an error or a log line.
"""

from __future__ import annotations

import os
import stat
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

from flatproxy.errors import FlatproxyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

    from flatproxy.counts import Traffic
    from flatproxy.forward.listeners.stream import ClientConnection, StreamListener

_ALPN = b"dot"
"""RFC 7858's name in TLS; XoT asks for it (RFC 9103 section 7.1)."""
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Those of TLS 1.2: forward secrecy and AEAD only (RFC 9325 section 4.2)."""
_OPTIONS = SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION


@frozen(kw_only=True)
class Certificate:
    """A certificate chain with its key, ready for handshakes. `expires_at` is Unix time, `digest` that of both files.

    Tickets for resumption are good for the context that made them.
    """

    digest: bytes
    context: SSL.Context = field(repr=False, eq=False)
    expires_at: float


def read_certificate(chain: Path, key: Path) -> Certificate:
    """Return what the two PEM files hold, the server's certificate first; `FlatproxyError` where that cannot be used.

    The key must not be encrypted, and no other user may read it.
    """
    octets = _read("certificate", chain), _read("key", key, secret=True)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_cipher_list(_CIPHERS)
    # Sessions are in tickets that the clients keep: no client can fill a memory here.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_select_callback(_choose_protocol)
    try:
        context.use_certificate_chain_file(str(chain))
        first = x509.load_pem_x509_certificate(octets[0])
    except (SSL.Error, ValueError):
        raise FlatproxyError(f"listen.certificate: {chain}: no certificate in PEM form can be read") from None
    try:
        private = serialization.load_pem_private_key(octets[1], None)
    except (TypeError, ValueError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        reason = "no private key in PEM form without a passphrase can be read"
        raise FlatproxyError(f"listen.key: {key}: {reason}") from None
    try:
        context.use_privatekey(private)  # type: ignore[arg-type] # only of kinds that no certificate has
    except SSL.Error:
        raise FlatproxyError(f"listen.key: {key}: not the key of the certificate") from None
    digest = sha256(b"".join(sha256(each).digest() for each in octets)).digest()
    return Certificate(digest=digest, context=context, expires_at=first.not_valid_after_utc.timestamp())


def _read(what: str, path: Path, *, secret: bool = False) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if secret and mode & stat.S_IRWXO and sys.platform != "win32":
                mode_text = f"{stat.S_IMODE(mode):04o}"
                raise FlatproxyError(
                    f"listen.{what}: {path}: every user can use this file (its mode is {mode_text}): chmod o= {path}"
                )
            return file.read(1 << 20)
    except OSError as error:
        raise FlatproxyError(f"listen.{what}: {path}: {(error.strerror or str(error)).lower()}") from None


def _choose_protocol(_connection: SSL.Connection, offered: Sequence[bytes]) -> Any:  # noqa: ANN401 - bytes or a sentinel
    return _ALPN if _ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Handshakes:
    """What new connections are met with; a change leaves those that are there alone."""

    certificate: Certificate

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's
        """Return the state of a new connection."""
        connection = SSL.Connection(self.certificate.context, None)
        connection.set_accept_state()
        return connection


class _TlsConnection(BufferingTLSTransport):
    """TLS between a client's socket and its connection, whose PROXY header comes before the handshake."""

    factory: TlsListener
    wrappedProtocol: ClientConnection  # noqa: N815 - Twisted's name

    def dataReceived(self, bytes: bytes) -> None:  # noqa: A002, N802 - Twisted's name
        rest = self.wrappedProtocol.after_header(bytes)
        if rest:
            super().dataReceived(rest)  # type: ignore[no-untyped-call] # Twisted's

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802 - Twisted's name
        # A client that ends in the middle of the handshake is an error without arguments, which Twisted looks into.
        told = reason if reason is not None and reason.value is not None and reason.value.args else None
        super()._tlsShutdownFinished(told)  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override] # noqa: N802 - Twisted's name
        if not self._handshakeDone:
            self.factory.traffic.tls_failed += 1
        super().connectionLost(reason)


class TlsListener(TLSMemoryBIOFactory):
    """Makes the connections of one listen address."""

    protocol = _TlsConnection

    def __init__(self, handshakes: Handshakes, streams: StreamListener, traffic: Traffic, reactor: Any) -> None:  # noqa: ANN401 - Twisted's
        super().__init__(handshakes, isClient=False, wrappedFactory=streams, clock=reactor)
        self.traffic = traffic

    def buildProtocol(self, addr: IAddress) -> _TlsConnection | None:  # type: ignore[override] # noqa: N802 - Twisted's name
        """Return the connection of a new client, None (and Twisted closes it) where there is no room."""
        client = self.wrappedFactory.buildProtocol(addr)
        return None if client is None else self.protocol(self, client)
