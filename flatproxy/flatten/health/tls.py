"""TLS for HTTPS checks, by pyOpenSSL: an optional part, imported only where a check needs it.

One context serves all checks with the same certificates: a system's own take long to read, and much memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from OpenSSL import SSL
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from OpenSSL.crypto import X509
    from twisted.internet.interfaces import IProtocolFactory
    from twisted.protocols.tls import TLSMemoryBIOProtocol

    from flatproxy.config.settings import Check


@define(eq=False)
class Certificates:
    """The contexts for some checks, with the certificates as they were when this was made."""

    _contexts: dict[Path | None, SSL.Context] = field(factory=dict)

    @classmethod
    def load(cls, checks: Mapping[Check, str]) -> Certificates:
        """Read the files that checks name, each with its place in the configuration; `ConfigError` without one."""
        made = cls()
        for check, place in checks.items():
            if check.kind == "https" and check.ca_file not in made._contexts:
                made._contexts[check.ca_file] = _context(check.ca_file, place)
        return made

    def wrap(self, factory: IProtocolFactory, check: Check, reactor: Any) -> IProtocolFactory:  # noqa: ANN401 - Twisted's
        """Return a factory whose protocols speak TLS to what the given one makes."""
        creator = _Creator(self._contexts[check.ca_file], check.host, check.verify)
        wrapped: IProtocolFactory = TLSMemoryBIOFactory(creator, True, factory, reactor)  # noqa: FBT003 - a client
        return wrapped


def _context(ca_file: Path | None, place: str) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    if ca_file is None:
        context.set_default_verify_paths()
        return context
    try:
        context.load_verify_locations(str(ca_file))
    except SSL.Error:
        reason = "no certificates in PEM form can be read there"
        write = "the path of a file that has some, or no such line for the system's"
        problem = Problem(key=f"{place}.ca_file", value=f'"{ca_file}"', reason=reason, write=write)
        raise ConfigError(problems=(problem,)) from None
    return context


@implementer(IOpenSSLClientConnectionCreator)
@frozen(eq=False)
class _Creator:
    context: SSL.Context
    host: str
    verify: bool

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:  # noqa: ARG002, N802, N803 - Twisted's
        """Return a connection that asks for the host, and takes no other's certificate."""
        connection = SSL.Connection(self.context, None)
        connection.set_tlsext_host_name(self.host.encode())
        connection.set_verify(SSL.VERIFY_PEER, self._is_good)
        return connection

    def _is_good(self, _connection: SSL.Connection, certificate: X509, _error: int, depth: int, good: int) -> bool:
        """Add to OpenSSL's own judgement of each certificate that the server's must be good for the host (RFC 9525)."""
        if not self.verify:
            return True
        if not good or depth:
            return bool(good)
        try:
            verify_service_identity(extract_patterns(certificate), [DNS_ID(self.host)], [])
        except VerificationError:
            return False
        return True
