"""Servers to be probed, on loopback and a port of the kernel's, in the loop of the test; and certificates for them."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from flatproxy.flatten.health.probes import Prober

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

LOOPBACK = b"\x7f\0\0\1"


@define
class Server:
    """What was asked, in octets, by connection; `gone` is set when a client went away."""

    port: int = 0
    asked: list[bytes] = field(factory=list)
    was_asked: asyncio.Event = field(factory=asyncio.Event)
    names: list[str | None] = field(factory=list)
    gone: asyncio.Event = field(factory=asyncio.Event)


@asynccontextmanager
async def serving(*says: bytes, holds: bool = False, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Answer each request with these pieces and close, unless it `holds`; without pieces it says nothing.

    The last piece is said again and again where it is `ENDLESS`.
    """

    server = Server()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server.asked.append(await reader.readuntil(b"\r\n\r\n"))
            server.was_asked.set()
            for piece in says:
                while piece is ENDLESS:
                    writer.write(bytes(4096))
                    await writer.drain()
                writer.write(piece)
                await writer.drain()
            if holds:
                await reader.read()
        except (asyncio.IncompleteReadError, OSError):
            pass  # the client went away, as some must
        finally:
            server.gone.set()
            writer.close()

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.names.append(name)
    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


ENDLESS = b"without end"


def run(script: Callable[[Prober], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Run a script with a prober on a loop of its own."""

    async def main() -> None:
        reactor: Any = AsyncioSelectorReactor(asyncio.get_running_loop())
        try:
            await script(Prober(reactor, **options))
        finally:
            reactor.removeAll()
            for waker in reactor._internalReaders:
                waker.connectionLost(None)

    asyncio.run(main())


@frozen
class Issuer:
    """A certificate authority."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Issuer:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Test")])
        builder = _builder(name, name, key, timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    def save(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(self, folder: Path, *names: str, valid: timedelta = timedelta(days=1)) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0])])
        builder = _builder(subject, self.certificate.subject, key, valid)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), False)
        made = builder.sign(self.key, hashes.SHA256())
        file = folder / "server.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    begin = min(now, now + valid) - timedelta(days=2)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(now + valid)
    )
