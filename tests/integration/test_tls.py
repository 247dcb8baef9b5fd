"""DNS over TLS from clients: the answers that TCP gives, to kdig, Unbound and dnspython, on both packet paths."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode
import dns.xfr
import dns.zone
import pytest

from flatproxy.forward.native.choice import VARIABLE
from tests.support import dnsio, packets
from tests.support.authority import Certificates
from tests.support.child import run
from tests.support.configuration import configuration
from tests.support.ports import parse
from tests.support.proxy import Proxy
from tests.support.proxy_header import header
from tests.support.unbound import Unbound
from tests.support.waiting import until
from tests.support.zones import KEY_NAME, KEYRING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd
    from tests.support.ports import Address

    Start = Callable[..., Proxy]

NAME = "ns.example.net"
MX = dns.message.make_query("example.com", "MX")
FLAGGED = dns.message.make_query("example.com", "A")


@pytest.fixture(params=["0", "1"], ids=["Python", "C"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, request.param)
    return str(request.param)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(authority: Certificates) -> tuple[Path, Path]:
    return authority.issue(NAME)


def _config(
    nsd: Nsd,
    files: tuple[Path, Path],
    resolver: Address = ("127.0.0.1", 9),
    tables: dict[str, dict[str, object]] | None = None,
    **listen: object,
) -> str:
    chain, key = files
    return configuration(
        tables={"access": {"transfer": ["127.0.0.1"]}, **(tables or {})},
        upstream=[nsd.address],
        resolver=[resolver],
        flatten={"example.com": {"target": "lb.test", "types": ["A"]}},
        listen={"tls": ["127.0.0.1:0"], "certificate": str(chain), "key": str(key), **listen},
    )


@pytest.fixture
def proxy(path: str, nsd: Nsd, files: tuple[Path, Path], internet: FakeInternet, start: Start) -> Proxy:
    internet.set("lb.test", "A", ["203.0.113.1"])
    return start(_config(nsd, files, internet.address))


def _tls(proxy: Proxy) -> Address:
    return parse(proxy.wait_event("listening")["tls"][0])


@contextlib.contextmanager
def _connection(
    proxy: Proxy, authority: Certificates, context: ssl.SSLContext | None = None, session: ssl.SSLSession | None = None
) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(_tls(proxy), 5) as sock,
        (context or authority.client()).wrap_socket(sock, server_hostname=NAME, session=session) as tls,
    ):
        yield tls


def _ask(connection: socket.socket, query: dns.message.Message) -> dns.message.Message:
    dns.query.send_tcp(connection, query)
    return dns.query.receive_tcp(connection)[0]


def test_the_same_answers_as_over_tcp_and_they_are_counted(path: str, proxy: Proxy, authority: Certificates) -> None:
    with _connection(proxy, authority) as tls:
        for query in (MX, FLAGGED, dns.message.make_query("nothing.example.com", "TXT"), MX):
            assert _ask(tls, query).answer == proxy.ask(query, tcp=True).answer
        assert [each.to_text() for each in _ask(tls, FLAGGED).answer[0]] == ["203.0.113.1"]
        assert _ask(tls, dns.message.make_query("example.org", "A")).rcode() == dns.rcode.REFUSED
        metrics = proxy.metrics()
        assert metrics.value("tcp_connections") >= 1
    assert metrics.value("queries_total", transport="tls", verdict="forwarded") == 3
    assert metrics.value("queries_total", transport="tls", verdict="flattened") == 2
    assert metrics.value("queries_total", transport="tls", verdict="refused") == 1
    assert metrics.value("replies_total", rcode="REFUSED") == 1
    assert metrics.value("replies_total", rcode="NOERROR") >= 5
    assert metrics.value("tls_certificate_expiry_timestamp_seconds") > datetime.now(UTC).timestamp()
    assert proxy.wait_event("packet_path")["path"] == ("C" if path == "1" else "Python")


def test_many_queries_at_once_on_one_connection(proxy: Proxy, authority: Certificates) -> None:
    with _connection(proxy, authority) as tls:
        tls.sendall(b"".join(packets.frame(packets.query("example.com", 15, ident=number)) for number in range(300)))
        came = {int.from_bytes((dnsio.read_frame(tls) or b"\xff\xff")[:2], "big") for _ in range(300)}
    assert came == set(range(300))


def test_a_query_in_pieces_and_one_that_waits_for_its_target(
    nsd: Nsd, files: tuple[Path, Path], path: str, internet: FakeInternet, start: Start, authority: Certificates
) -> None:
    internet.set("slow.test", "A", ["203.0.113.9"])
    config = _config(nsd, files, internet.address).replace("lb.test", "slow.test")
    proxy = start(config, ready=False)
    with _connection(proxy, authority) as tls:
        for octet in packets.frame(FLAGGED.to_wire()):
            tls.sendall(bytes((octet,)))
        answer = dns.message.from_wire(dnsio.read_frame(tls) or b"")
    assert [each.to_text() for each in answer.answer[0]] == ["203.0.113.9"]


def test_kdig_verifies_us_and_resumes(proxy: Proxy, authority: Certificates) -> None:
    host, port = _tls(proxy)
    command = ["kdig", f"@{host}", "-p", str(port), f"+tls-ca={authority.ca_file}", f"+tls-hostname={NAME}"]
    out = run([*command, "example.com", "A"])
    assert "203.0.113.1" in out
    assert "TLS session (TLS1.3)" in out
    assert run([*command, "example.com", "MX", "+short"]).strip()
    other = run([*command[:-1], "+tls-hostname=ns.example.org", "example.com", "A"], check=False)
    assert "203.0.113.1" not in other


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_is_resumed(proxy: Proxy, authority: Certificates, version: ssl.TLSVersion) -> None:
    context = authority.client()
    context.minimum_version = context.maximum_version = version
    with _connection(proxy, authority, context) as tls:
        assert _ask(tls, MX).answer
        assert tls.version() == ("TLSv1.2" if version == ssl.TLSVersion.TLSv1_2 else "TLSv1.3")
        assert tls.selected_alpn_protocol() == "dot"
        assert not tls.session_reused
        session = tls.session
    with _connection(proxy, authority, context, session) as tls:
        assert _ask(tls, MX).answer
        assert tls.session_reused


def test_older_versions_and_no_tls_at_all_are_refused(proxy: Proxy, authority: Certificates) -> None:
    context = authority.client()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)), _connection(proxy, authority, context):
        pass
    with socket.create_connection(_tls(proxy), 5) as plain:
        plain.sendall(packets.frame(MX.to_wire()))
        with contextlib.suppress(ConnectionError):
            assert dnsio.read_frame(plain) is None, "no answer in clear text"
    until(lambda: proxy.metrics().value("tls_failed_total") >= 2, "both are counted")
    with _connection(proxy, authority) as tls:
        assert _ask(tls, MX).answer


def test_a_reload_brings_a_new_certificate_and_keeps_connections(
    proxy: Proxy, authority: Certificates, files: tuple[Path, Path]
) -> None:
    def serial() -> str:
        with _connection(proxy, authority) as tls:
            certificate = tls.getpeercert()
            assert certificate is not None
            return str(certificate["serialNumber"])

    before = serial()
    expiry = proxy.metrics().value("tls_certificate_expiry_timestamp_seconds")
    with _connection(proxy, authority) as old:
        proxy.reload(proxy.config)
        assert not proxy.since(0, "certificate_changed")
        authority.issue(NAME, until=datetime.now(UTC) + timedelta(days=7))
        assert serial() == before, "the files alone change nothing"
        mark = proxy.mark
        proxy.reload(proxy.config)
        assert proxy.since(mark, "certificate_changed")
        assert not proxy.since(mark, "restart_needed")
        assert serial() != before
        assert proxy.metrics().value("tls_certificate_expiry_timestamp_seconds") < expiry
        assert _ask(old, MX).answer
        now = serial()
        files[0].write_text("nonsense")
        event = proxy.reload(proxy.config, "reload_failed")
        assert "listen.certificate" in json.dumps(event)
        assert serial() == now, "what cannot be used changes nothing"
        assert _ask(old, MX).answer


def test_a_wrong_certificate_stops_the_start(nsd: Nsd, authority: Certificates, tmp_path: Path) -> None:
    chain, _key = authority.issue(NAME, stem="one")
    other = authority.issue(NAME, stem="two")[1]
    proxy = Proxy(tmp_path, _config(nsd, (chain, other)))
    proxy.launch()
    proxy.expected_to_end = True
    assert proxy.wait() == 1
    assert f"listen.key: {other}: not the key of the certificate" in proxy.log


def _check(folder: Path, config: str) -> list[str]:
    (folder / "check.toml").write_text(config)
    return [sys.executable, "-m", "flatproxy", "check", "--config", str(folder / "check.toml")]


def test_check_looks_at_the_certificate(nsd: Nsd, authority: Certificates, tmp_path: Path) -> None:
    for days, word in ((-1, "has expired"), (7, "expires in 7 days"), (90, "good for 90 more")):
        files = authority.issue(NAME, stem="aging", until=datetime.now(UTC) + timedelta(days=days))
        assert word in run(_check(tmp_path, _config(nsd, files)), check=False)


def test_a_transfer_over_tls(proxy: Proxy, authority: Certificates, nsd: Nsd) -> None:
    """XoT (RFC 9103), for those of `access.transfer`."""

    def transferred(connection: socket.socket) -> list[bytes]:
        axfr = dns.message.make_query("example.com", "AXFR")
        axfr.use_tsig(KEYRING, KEY_NAME)
        connection.settimeout(10)
        dns.query.send_tcp(connection, axfr)
        got: list[bytes] = []
        soas = 0
        while soas < 2:
            frame = dnsio.read_frame(connection)
            assert frame is not None
            message = dns.message.from_wire(frame, continue_on_error=True, keyring=False)
            soas += sum(len(rrset) for rrset in message.answer if rrset.rdtype == 6)
            got += [rrset.to_text().encode() for rrset in message.answer]
        return got

    with _connection(proxy, authority) as tls, socket.create_connection(nsd.address, 5) as direct:
        assert sorted(transferred(tls)) == sorted(transferred(direct))
    host, port = _tls(proxy)
    out = run(["kdig", f"@{host}", "-p", str(port), "+tls", "-b", "127.0.0.7", "example.com", "AXFR"], check=False)
    assert "REFUSED" in out or "refused" in out.lower()


def test_unbound_forwards_over_tls(proxy: Proxy, authority: Certificates, tmp_path: Path) -> None:
    with Unbound(
        folder=tmp_path, stubs=["example.com"], authority=_tls(proxy), tls_name=NAME, tls_ca=authority.ca_file
    ) as unbound:
        host, port = unbound.address
        for query in (FLAGGED, dns.message.make_query("mail.example.com", "A")):
            answer = dns.query.udp(query, host, port=port, timeout=10)
            assert answer.answer
        assert [each.to_text() for each in dns.query.udp(FLAGGED, host, port=port, timeout=10).answer[0]] == [
            "203.0.113.1"
        ]
    metrics = proxy.metrics()
    assert metrics.value("queries_total", transport="tls", verdict="flattened") >= 1
    assert metrics.value("queries_total", transport="udp", verdict="flattened") == 0


def test_a_proxy_header_comes_before_the_handshake(
    nsd: Nsd, files: tuple[Path, Path], start: Start, authority: Certificates
) -> None:
    proxy = start(_config(nsd, files, proxy_from=["127.0.0.2"], tables={"access": {"query": ["192.0.2.9"]}}))
    context = authority.client()

    def rcode(told: str | None, source: str = "127.0.0.2") -> int:
        with socket.create_connection(_tls(proxy), 5, (source, 0)) as sock:
            if told is not None:
                for octet in header(told, tcp=True):
                    sock.sendall(bytes((octet,)))
            with context.wrap_socket(sock, server_hostname=NAME) as tls:
                return _ask(tls, MX).rcode()

    assert rcode("192.0.2.9") == dns.rcode.NOERROR
    assert rcode("192.0.2.10") == dns.rcode.REFUSED
    assert rcode(None, "127.0.0.3") == dns.rcode.REFUSED, "a stranger sends no header"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        rcode(None)


def test_rate_limits_hold(path: str, nsd: Nsd, files: tuple[Path, Path], start: Start, authority: Certificates) -> None:
    proxy = start(_config(nsd, files, tables={"limits": {"queries_per_second": 5}}))
    with _connection(proxy, authority) as tls:
        rcodes = [_ask(tls, MX).rcode() for _ in range(40)]
    assert rcodes[0] == dns.rcode.NOERROR
    assert dns.rcode.REFUSED in rcodes


def test_testssl_finds_nothing(nsd: Nsd, files: tuple[Path, Path], start: Start, tmp_path: Path) -> None:
    """What it says of protocols, forward secrecy, ciphers and renegotiation: nothing above information."""
    host, port = _tls(start(_config(nsd, files)))
    found = tmp_path / "found.json"
    command = ["testssl", "--quiet", "--warnings", "off", "--color", "0", "--jsonfile", str(found)]
    run([*command, "-p", "-s", "-f", "-R", "-C", f"{host}:{port}"], check=False, timeout_s=150)
    reports = json.loads(found.read_text())
    by_id = {report["id"]: report["finding"] for report in reports}
    assert by_id["TLS1"] == by_id["TLS1_1"] == by_id["SSLv3"] == "not offered"
    assert by_id["TLS1_2"].startswith("offered")
    assert by_id["TLS1_3"].startswith("offered")
    told = [report for report in reports if report["id"] != "engine_problem"]  # of the client itself
    bad = [report for report in told if report["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN")]
    assert not bad
