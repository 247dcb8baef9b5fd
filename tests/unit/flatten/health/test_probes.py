from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from flatproxy.config.rules import Check
from flatproxy.errors import ConfigError, NoWay, ProbeFailed
from flatproxy.flatten.health.http import READ
from flatproxy.flatten.health.probes import Prober
from flatproxy.flatten.health.tls import contexts_for
from tests.support.certificates import Issuer
from tests.unit.flatten.health.servers import ENDLESS, LOOPBACK, run, serving

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.flatten.health.probes import Prober

DAY = timedelta(days=1)
UNTRUSTED = "TLS: certificate verify failed"
PATIENT = {"timeout_s": 20.0}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def tcp(port: int, **options: Any) -> Check:
    return Check(kind="tcp", port=port, **PATIENT | options)


def http(port: int, **options: Any) -> Check:
    return Check(kind="http", port=port, host="example.com", **PATIENT | options)


async def failure(prober: Prober, check: Check) -> str:
    with pytest.raises(ProbeFailed) as caught:
        await prober.probe(check, LOOPBACK)
    return str(caught.value)


async def closed_port() -> int:
    async with serving() as server:
        return server.port


def test_a_server_that_accepts_is_well_by_tcp() -> None:
    async def script(prober: Prober) -> None:
        async with serving() as server:
            await prober.probe(tcp(server.port), LOOPBACK)
            await server.gone.wait()

    run(script)


@pytest.mark.parametrize("make", [tcp, http])
def test_a_server_that_is_gone_is_sick(make: Any) -> None:
    async def script(prober: Prober) -> None:
        assert "refused" in await failure(prober, make(await closed_port()))

    run(script)


@pytest.mark.parametrize("make", [tcp, http])
def test_a_server_that_does_not_accept_is_sick(make: Any) -> None:
    """Its queue is full: the kernel drops what comes."""

    async def script(prober: Prober) -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            port = full.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)):
                assert await failure(prober, make(port, timeout_s=0.2)) == "no answer within 0.2 s"

    run(script)


def test_an_http_request_goes_to_the_address_and_names_the_host() -> None:
    async def script(prober: Prober) -> None:
        async with serving(OK) as server:
            await prober.probe(http(server.port, path="/healthz?deep=1"), LOOPBACK)
            (asked,) = server.asked
            line, *headers = asked.split(b"\r\n")
            assert line == b"GET /healthz?deep=1 HTTP/1.1"
            assert b"Host: example.com:%d" % server.port in headers
            assert b"User-Agent: flatproxy" in headers

    run(script)


@pytest.mark.parametrize(
    ("line", "status", "is_well"),
    [
        ("200 OK", ((200, 399),), True),
        ("399 Odd", ((200, 399),), True),
        ("301 Moved", ((200, 299),), False),
        ("404 Not Found", ((200, 399),), False),
        ("404 Not Found", ((200, 299), (404, 404)), True),
        ("500 Internal Server Error", ((200, 399),), False),
    ],
)
def test_the_status_decides(line: str, status: tuple[tuple[int, int], ...], is_well: bool) -> None:
    async def script(prober: Prober) -> None:
        async with serving(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n".encode()) as server:
            check = http(server.port, status=status)
            if is_well:
                await prober.probe(check, LOOPBACK)
            else:
                assert await failure(prober, check) == f"status {line[:3]}"

    run(script)


def test_no_redirect_is_followed() -> None:
    async def script(prober: Prober) -> None:
        async with serving(OK) as other:
            where = f"Location: http://127.0.0.1:{other.port}/\r\n"
            async with serving(f"HTTP/1.1 302 Found\r\n{where}Content-Length: 0\r\n\r\n".encode()) as server:
                await prober.probe(http(server.port), LOOPBACK)
                assert len(server.asked) == 1
            assert other.asked == []

    run(script)


@pytest.mark.parametrize(
    "says",
    [(), (b"HTTP/1.1 200",), (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"o")],
    ids=["nothing", "half a line", "half a body"],
)
def test_a_server_that_falls_silent_is_sick(says: tuple[bytes, ...]) -> None:
    async def script(prober: Prober) -> None:
        async with serving(*says, holds=True) as server:
            assert await failure(prober, http(server.port, timeout_s=0.3)) == "no answer within 0.3 s"
            await server.gone.wait()  # nothing is left open

    run(script)


@pytest.mark.parametrize("says", [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",), (b"220 mail ESMTP\r\n",)])
def test_a_server_that_ends_too_early_or_speaks_otherwise_is_sick(says: tuple[bytes, ...]) -> None:
    async def script(prober: Prober) -> None:
        async with serving(*says) as server:
            assert "within" not in await failure(prober, http(server.port))

    run(script)


def test_a_body_without_length_ends_with_the_connection() -> None:
    async def script(prober: Prober) -> None:
        async with serving(b"HTTP/1.0 200 OK\r\n\r\nall of it") as server:
            await prober.probe(http(server.port), LOOPBACK)

    run(script)


@pytest.mark.parametrize("length", [b"", b"Content-Length: 99999999\r\n"])
def test_a_body_without_end_is_left_after_64_kibibytes(length: bytes) -> None:
    async def script(prober: Prober) -> None:
        async with serving(b"HTTP/1.1 200 OK\r\n" + length + b"\r\n", ENDLESS) as server:
            await prober.probe(http(server.port), LOOPBACK)
            await server.gone.wait()

    run(script)


def test_headers_without_end_are_left_too() -> None:
    async def script(prober: Prober) -> None:
        many = b"".join(b"X-%d: y\r\n" % number for number in range(READ // 8))
        async with serving(b"HTTP/1.1 200 OK\r\n" + many, holds=True) as server:
            await failure(prober, http(server.port))
            await server.gone.wait()

    run(script)


def test_a_probe_that_is_ended_leaves_no_connection() -> None:
    async def script(prober: Prober) -> None:
        async with serving(holds=True) as server:
            task = asyncio.create_task(prober.probe(http(server.port), LOOPBACK))
            await server.was_asked.wait()
            task.cancel()
            await server.gone.wait()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(script)


@pytest.mark.parametrize("make", [tcp, http])
def test_an_address_without_a_way_from_here_is_not_judged(make: Any) -> None:
    """No system has a route to a link-local address without an interface."""

    async def script(prober: Prober) -> None:
        with pytest.raises(NoWay):
            await prober.probe(make(80), b"\xfe\x80" + bytes(13) + b"\1")

    run(script)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer.new()


def https(port: int, ca_file: Path | None, **options: Any) -> Check:
    return Check(kind="https", port=port, host="example.com", ca_file=ca_file, **PATIENT | options)


def asked_by_https(
    issuer: Issuer,
    folder: Path,
    *names: str,
    trusts: Issuer | None,
    valid: timedelta = timedelta(days=1),
    **options: Any,
) -> str:
    """Probe a server with a certificate for these names; give why it failed, or nothing."""
    said = ""
    ca_file = trusts.save(folder / "ca.pem") if trusts else None

    async def script(prober: Prober) -> None:
        nonlocal said
        async with serving(OK, tls=issuer.server(folder, *names, valid=valid)) as server:
            check = https(server.port, ca_file, **options)
            prober = Prober(contexts_for({check: "health"}))
            try:
                await prober.probe(check, LOOPBACK)
            except ProbeFailed as error:
                said = str(error)
                assert server.asked == []
            else:
                assert server.names == ["example.com"]
                assert server.asked[0].startswith(b"GET / HTTP/1.1\r\n")

    run(script)
    return said


def test_a_certificate_for_the_host_is_good(issuer: Issuer, tmp_path: Path) -> None:
    assert asked_by_https(issuer, tmp_path, "example.net", "example.com", trusts=issuer) == ""
    assert asked_by_https(issuer, tmp_path, "*.example.net", "example.com", trusts=issuer) == ""


def test_one_for_another_host_is_not(issuer: Issuer, tmp_path: Path) -> None:
    assert asked_by_https(issuer, tmp_path, "www.example.com", trusts=issuer) == UNTRUSTED


def test_nor_is_one_by_a_stranger(issuer: Issuer, tmp_path: Path) -> None:
    assert asked_by_https(issuer, tmp_path, "example.com", trusts=Issuer.new()) == UNTRUSTED
    assert asked_by_https(issuer, tmp_path, "example.com", trusts=None) == UNTRUSTED


def test_nor_one_that_has_expired(issuer: Issuer, tmp_path: Path) -> None:
    expired = timedelta(hours=-1)
    assert asked_by_https(issuer, tmp_path, "example.com", trusts=issuer, valid=expired) == UNTRUSTED


def test_without_verification_every_certificate_will_do(issuer: Issuer, tmp_path: Path) -> None:
    assert asked_by_https(issuer, tmp_path, "example.net", trusts=None, verify=False) == ""


def test_a_server_that_hangs_in_the_handshake_is_sick(issuer: Issuer, tmp_path: Path) -> None:
    async def script(prober: Prober) -> None:
        async with serving(holds=True) as server:
            check = https(server.port, issuer.save(tmp_path / "ca.pem"), timeout_s=0.3)
            prober = Prober(contexts_for({check: "health"}))
            assert await failure(prober, check) == "no answer within 0.3 s"
            await server.gone.wait()

    run(script)


def test_one_that_speaks_no_tls_is_sick(issuer: Issuer, tmp_path: Path) -> None:
    async def script(prober: Prober) -> None:
        async with serving(OK) as server:
            check = https(server.port, issuer.save(tmp_path / "ca.pem"), timeout_s=0.3)
            prober = Prober(contexts_for({check: "health"}))
            await failure(prober, check)

    run(script)


def test_a_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=name):
            contexts_for({https(443, tmp_path / name): "health"})
