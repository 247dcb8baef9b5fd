"""EDNS client subnet: who is told which network, whom an answer is for, and what it says when that is not known."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest
from attrs import define, field

from tests.support import dnsio
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.proxy import Proxy
from tests.support.proxy_header import header
from tests.support.unbound import Unbound
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.scripted import Query

Start = Callable[..., Proxy]

_SHARED = "203.0.113.1"


@define(eq=False)
class TailoringInternet(FakeInternet):
    """A resolver that answers by network: its scope is `scope`, and the network's third octet in the address."""

    scope: int = 24
    told: list[str] = field(factory=list)
    """The networks that it was told."""
    silent_to_networks: bool = False
    answers_for: str = ""
    """The network of its answers, where it is not the one that was asked for."""

    def answer(self, query: Query) -> bytes | None:
        try:
            message = dns.message.from_wire(query.data)
        except dns.exception.DNSException:
            return None
        asked = next((each for each in message.options if isinstance(each, dns.edns.ECSOption)), None)
        if asked is None or self.mood is not Mood.HONEST:
            return super().answer(query)
        self.told.append(f"{asked.address}/{asked.srclen}")
        if self.silent_to_networks:
            return None
        reply = dns.message.make_response(message)
        network = asked.address if not self.answers_for else self.answers_for
        reply.use_edns(0, options=[dns.edns.ECSOption(network, asked.srclen, self.scope)])
        name, rdtype = message.question[0].name, message.question[0].rdtype
        if rdtype.name == "A" and asked.family == 1:
            address = f"198.18.{ip_address(asked.address).packed[2]}.1"
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "A", address))
        elif rdtype.name == "A":
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "A", "198.18.255.6"))
        else:
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "AAAA", "2001:db8:7::1"))
        return reply.to_wire()


@pytest.fixture
def resolver() -> Iterator[TailoringInternet]:
    with TailoringInternet() as internet:
        internet.set("lb.test", "A", [_SHARED], 300)
        internet.set("lb.test", "AAAA", ["2001:db8::1"], 300)
        yield internet


def _configuration(nsd: Nsd, resolver: FakeInternet, mode: str = "forward", **more: Any) -> str:
    flatten = {"example.com": {"target": "lb.test"}, "flat.example.net": {"target": "lb.test", "client_subnet": "off"}}
    return configuration(
        upstream=[nsd.address],
        resolver=[resolver.address],
        flatten=more.pop("flatten", flatten),
        resolver_={"client_subnet": mode, **more.pop("resolver_", {})},
        **more,
    )


def _query(subnet: str | None, name: str = "example.com", rdtype: str = "A") -> dns.message.Message:
    address, _, bits = (subnet or "").partition("/")
    options: list[dns.edns.Option] = [dns.edns.ECSOption(address, int(bits))] if subnet else []
    return dns.message.make_query(name, rdtype, use_edns=0, options=options)


def _ask(proxy: Proxy, subnet: str | None, **which: str) -> tuple[list[str], int, int | None]:
    """Return addresses, TTL and scope."""
    query = _query(subnet, **which)
    reply = dns.query.udp(query, proxy.address[0], timeout=10, port=proxy.address[1])
    echoed = [each for each in reply.options if isinstance(each, dns.edns.ECSOption)]
    if subnet:
        (own,) = (each for each in query.options if isinstance(each, dns.edns.ECSOption))
        assert [(each.address, each.srclen) for each in echoed] in ([], [(own.address, own.srclen)])
    (rrset,) = reply.answer
    return sorted(rdata.to_text() for rdata in rrset), rrset.ttl, echoed[0].scopelen if echoed else None


def test_a_query_with_a_network_gets_the_answer_for_it(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    for _ in range(3):
        assert _ask(proxy, "198.51.100.0/24")[::2] == (["198.18.100.1"], 24)
        assert _ask(proxy, "192.0.2.0/24")[::2] == (["198.18.2.1"], 24)
        assert _ask(proxy, None)[::2] == ([_SHARED], None)
        assert _ask(proxy, "198.51.100.0/24", rdtype="AAAA")[::2] == (["2001:db8:7::1"], 24)
    assert sorted(resolver.told) == ["192.0.2.0/24", "198.51.100.0/24", "198.51.100.0/24"], "A twice, AAAA once"
    assert proxy.metrics().value("subnet_entries", target="lb.test") == 3
    assert proxy.metrics().value("subnet_hits_total") == 9
    assert "198.51.100" not in proxy.log, "never logged"


def test_networks_are_shortened_and_echoed_as_they_were(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    resolver.scope = 32
    assert _ask(proxy, "198.51.100.77/32")[::2] == (["198.18.100.1"], 24), "as much as was sent"
    assert _ask(proxy, "2001:db8:1:2ff::7/128")[::2] == (["198.18.255.6"], 32)
    resolver.scope = 16
    assert _ask(proxy, "192.0.0.0/16")[::2] == (["198.18.0.1"], 16)
    assert resolver.told == ["198.51.100.0/24", "2001:db8:1:200::/56", "192.0.0.0/16"]
    assert _ask(proxy, "192.0.77.0/24")[::2] == (["198.18.0.1"], 16), "what holds for those around holds for these"
    assert len(resolver.told) == 3


def test_who_wants_no_tailoring_gets_none(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    assert _ask(proxy, "0.0.0.0/0")[::2] == ([_SHARED], 0)
    assert _ask(proxy, "::/0")[::2] == ([_SHARED], 0)
    assert _ask(proxy, "198.51.100.0/24", name="flat.example.net")[::2] == ([_SHARED], None), "off for this name"
    assert resolver.told == []


def test_an_answer_for_everybody_is_the_shared_one(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    resolver.scope = 0
    addresses, ttl_s, scope = _ask(proxy, "198.51.100.0/24")
    assert (addresses, scope) == ([_SHARED], 0)
    assert ttl_s > 30
    assert _ask(proxy, "192.0.2.0/24")[::2] == ([_SHARED], 0)
    assert len(resolver.told) == 1


_MALFORMED = {
    "empty": "",
    "cut": "0001",
    "without octets": "00011800",
    "an octet too many": "00011800c6336407",
    "too many bits": "00012100c633640700",
    "unknown family": "00091800c63364",
    "a scope in a query": "00011818c63364",
    "bits beyond the prefix": "00010900c6ff",
}


@pytest.mark.parametrize("data", _MALFORMED.values(), ids=_MALFORMED)
def test_a_malformed_option_is_refused(nsd: Nsd, resolver: TailoringInternet, start: Start, data: str) -> None:
    proxy = start(_configuration(nsd, resolver))
    option = dns.edns.GenericOption(dns.edns.OptionType.ECS, bytes.fromhex(data))
    for name, rcode in (("example.com", dns.rcode.FORMERR), ("flat.example.net", dns.rcode.NOERROR)):
        wire = dns.message.make_query(name, "A", use_edns=0, options=[option]).to_wire()
        reply = dnsio.udp(proxy.address, wire)
        assert reply is not None
        made = dns.message.from_wire(reply)
        assert (made.rcode(), made.id) == (rcode, int.from_bytes(wire[:2], "big"))


@pytest.mark.parametrize("what", ["silence", "REFUSED", "another network"])
def test_where_a_network_cannot_be_resolved_the_shared_answer_is_brief(
    nsd: Nsd, resolver: TailoringInternet, start: Start, what: str
) -> None:
    proxy = start(_configuration(nsd, resolver, resolver_={"timeout": "500ms"}))
    assert _ask(proxy, None)[1] > 30
    resolver.silent_to_networks = what == "silence"
    resolver.mood = Mood.REFUSED if what == "REFUSED" else Mood.HONEST
    resolver.answers_for = "192.0.2.0" if what == "another network" else ""
    for _ in range(2):
        assert _ask(proxy, "198.51.100.0/24") == ([_SHARED], 30, 0)
    resolver.silent_to_networks, resolver.mood, resolver.answers_for = False, Mood.HONEST, ""
    until(lambda: _ask(proxy, "198.51.100.0/24")[0] == ["198.18.100.1"], "it is asked again", 20)


def test_so_many_at_a_time_and_the_others_get_the_shared_answer_at_once(
    nsd: Nsd, resolver: TailoringInternet, start: Start
) -> None:
    proxy = start(_configuration(nsd, resolver))
    assert _ask(proxy, None)[0] == [_SHARED]
    resolver.silent_to_networks = True
    with dnsio.udp_socket(proxy.address) as client:
        for number in range(40):
            client.send(_query(f"198.51.{number}.0/24").to_wire())
        came = [dnsio.receive(client, 3.0) for _ in range(8)]
        assert {dns.message.from_wire(each or b"").answer[0].ttl for each in came} == {30}
        until(lambda: len(resolver.told) == 32, "so many are asked for")
        rest = [dnsio.receive(client, 10.0) for _ in range(32)]
    assert all(rest), "after the cold wait"


def test_the_client_stands_in_where_that_is_asked_for(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, "synthesize", listen={"proxy_from": ["127.0.0.0/8"]}))

    def asked(client: str, subnet: str | None = None) -> tuple[str, int | None]:
        reply = dnsio.udp(proxy.address, header(client) + _query(subnet).to_wire())
        assert reply is not None
        made = dns.message.from_wire(reply)
        return made.answer[0][0].to_text(), next((each.scopelen for each in made.options), None)

    assert asked("9.9.9.9") == ("198.18.9.1", None)
    assert asked("9.9.9.9", "198.51.100.0/24") == ("198.18.100.1", 24), "the query's own comes first"
    assert asked("9.9.9.9", "0.0.0.0/0") == (_SHARED, 0)
    for special in ("10.1.2.3", "198.51.100.1", "127.0.0.1"):
        assert asked(special) == (_SHARED, None)
    assert resolver.told == ["9.9.9.0/24", "198.51.100.0/24"]


def test_a_reload_changes_who_is_told(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    assert _ask(proxy, "198.51.100.0/24")[0] == ["198.18.100.1"]
    proxy.reload(_configuration(nsd, resolver, "off"))
    assert _ask(proxy, "198.51.100.0/24")[::2] == ([_SHARED], None)
    proxy.reload(_configuration(nsd, resolver, resolver_={"subnet_v4": 8}))
    assert _ask(proxy, "197.51.100.0/24")[::2] == (["198.18.0.1"], 8)


def test_addresses_that_the_guards_refuse_are_no_answer(nsd: Nsd, resolver: TailoringInternet, start: Start) -> None:
    flatten = {"example.com": {"target": "lb.test", "allow": ["203.0.113.0/24", "2001:db8::/48"]}}
    proxy = start(_configuration(nsd, resolver, flatten=flatten))
    assert _ask(proxy, "198.51.100.0/24") == ([_SHARED], 30, 0)


def test_explain_says_what_a_network_gets(nsd: Nsd, resolver: TailoringInternet, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(_configuration(nsd, resolver))

    def explained(name: str, *more: str) -> Any:
        return run("explain", "--config", str(path), name, *more)

    found = explained("example.com", "--subnet", "198.51.100.7/32", "--json").json
    assert found["tailored"] == {"network": "198.51.100.7/32", "sent": "198.51.100.0/24", "why_not": None}
    assert [(each["type"], each["scope"], each["addresses"]) for each in found["types"]] == [
        ("A", 24, ["198.18.100.1"]),
        ("AAAA", 24, ["2001:db8:7::1"]),
    ]
    said = explained("example.com", "--subnet", "198.51.100.7/32").out
    assert "It is tailored for 198.51.100.7/32: resolvers are told 198.51.100.0/24" in said
    assert "holds for 198.51.100.0/24" in said
    said = explained("flat.example.net", "--subnet", "198.51.100.0/24").out
    assert 'It is not tailored for 198.51.100.0/24: client_subnet is "off"' in said
    assert "'nowhere'" in explained("example.com", "--subnet", "nowhere").err


def test_unbound_in_front_keeps_answers_apart(
    nsd: Nsd, resolver: TailoringInternet, start: Start, tmp_path: Path
) -> None:
    proxy = start(_configuration(nsd, resolver))
    with Unbound(folder=tmp_path, stubs=["example.com"], authority=proxy.address, tells_subnets=True) as unbound:

        def asked(client: str) -> str:
            query = dns.message.make_query("example.com", "A")
            reply = dns.query.udp(query, unbound.host, timeout=10, port=unbound.port, source=client)
            return str(reply.answer[0][0])

        for _ in range(2):
            assert [asked(client) for client in ("127.0.1.9", "127.0.2.9", "127.0.1.7")] == [
                "198.18.1.1",
                "198.18.2.1",
                "198.18.1.1",
            ]
    assert sorted(resolver.told) == ["127.0.1.0/24", "127.0.2.0/24"]
