"""UPDATE and NOTIFY through the proxy: signed updates take effect, and who is not on the list is told REFUSED."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rcode
import dns.update
import pytest

from tests.support import dnsio
from tests.support.bind import Bind
from tests.support.configuration import LOOPBACK, configuration
from tests.support.knot import Knot
from tests.support.nameserver import update
from tests.support.proxy import Proxy
from tests.support.zones import KEY_NAME, KEYRING, NSUPDATE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.nameserver import Dynamic, Nameserver
    from tests.support.zones import Zones

_ZONE = "dynamic.test"
_TRANSPORTS = {"udp": (), "tcp": ("-v",)}


@pytest.fixture(scope="module", params=[Bind, Knot], ids=["bind", "knot"])
def dynamic(
    request: pytest.FixtureRequest, zones: Zones, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dynamic]:
    server: Dynamic = request.param(folder=tmp_path_factory.mktemp("dynamic"), zones=zones)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(dynamic: Dynamic, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The name that the updates change is flagged as well, which must not matter to them."""
    config = configuration(
        upstream=[dynamic.address],
        access={"update": LOOPBACK, "notify": LOOPBACK},
        flatten={_ZONE: {"target": "lb.test", "fallback": ["203.0.113.1"]}},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


@pytest.mark.parametrize("transport", _TRANSPORTS)
def test_a_signed_update_takes_effect(dynamic: Dynamic, proxy: Proxy, transport: str) -> None:
    name = f"{transport}.{_ZONE}"
    query = dns.message.make_query(name, "A")
    assert proxy.ask(query).rcode() == dns.rcode.NXDOMAIN
    update(proxy.address, f"update add {name}. 60 A 192.0.2.200", "-y", NSUPDATE_KEY, *_TRANSPORTS[transport])
    assert proxy.ask(query).answer[0][0].to_text() == "192.0.2.200"
    update(proxy.address, f"update delete {name}. A", "-y", NSUPDATE_KEY, *_TRANSPORTS[transport])
    assert proxy.ask(query).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("transport", _TRANSPORTS)
def test_the_reply_to_an_update_is_signed(dynamic: Dynamic, proxy: Proxy, transport: str) -> None:
    message = dns.update.UpdateMessage(_ZONE, keyring=KEYRING, keyname=dns.name.from_text(KEY_NAME))
    message.replace("signed-reply", 60, "A", "192.0.2.201")
    reply = proxy.ask(message, tcp=transport == "tcp")  # dnspython checks the signature
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.had_tsig


@pytest.mark.parametrize("transport", _TRANSPORTS)
@pytest.mark.parametrize("options", [(), ("-y", "hmac-sha256:transfer-key.:c29tZWJvZHkgZWxzZSdzIGtleQ==")])
def test_a_bad_update_gets_the_nameservers_own_no(
    dynamic: Dynamic, proxy: Proxy, transport: str, options: tuple[str, ...]
) -> None:
    """Unsigned it is REFUSED, with a wrong key NOTAUTH (RFC 8945 section 5.2): whichever, as directly."""
    command = f"update add no.{_ZONE}. 60 A 192.0.2.202"
    options = (*options, *_TRANSPORTS[transport])
    direct = update(dynamic.address, command, *options, check=False)
    assert "REFUSED" in direct or "NOTAUTH" in direct
    assert update(proxy.address, command, *options, check=False) == direct
    assert proxy.ask(dns.message.make_query(f"no.{_ZONE}", "A")).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("transport", _TRANSPORTS)
def test_notify_as_directly(dynamic: Dynamic, proxy: Proxy, transport: str) -> None:
    exchange = dnsio.tcp if transport == "tcp" else dnsio.udp
    for zone in (_ZONE, "example.com", "unknown.dynamic.test"):
        wire = _notify(zone).to_wire()
        assert exchange(proxy.address, wire) == exchange(dynamic.address, wire) is not None


def _notify(zone: str) -> dns.message.Message:
    notify = dns.message.make_query(zone, "SOA")
    notify.set_opcode(dns.opcode.NOTIFY)
    notify.flags |= dns.flags.AA
    return notify


@pytest.mark.parametrize("transport", _TRANSPORTS)
@pytest.mark.parametrize("kind", ["update", "signed update", "notify"])
def test_refused_where_not_on_the_list(nsd: Nameserver, start: Callable[..., Proxy], transport: str, kind: str) -> None:
    proxy = start(configuration(upstream=[nsd.address], access={"transfer": LOOPBACK}))
    message: dns.message.Message = _notify(_ZONE)
    if kind != "notify":
        message = dns.update.UpdateMessage(_ZONE)
        message.replace("no", 60, "A", "192.0.2.203")
        if kind == "signed update":
            message.use_tsig(KEYRING, KEY_NAME)
    wire = message.to_wire()
    reply = (dnsio.tcp if transport == "tcp" else dnsio.udp)(proxy.address, wire)
    assert reply is not None
    assert reply[:2] == wire[:2]
    assert (reply[2] & 0xF8) == (wire[2] & 0x78) | 0x80, "a response with the opcode that was asked with"
    assert reply[3] & 0x0F == dns.rcode.REFUSED
    assert proxy.metrics().value("queries_total", transport=transport, verdict="refused") == 1
