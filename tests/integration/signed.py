"""Signed zones: real signers behind flatproxy, real validators in front of it, and all that is answered validates.

A module for each kind of nameserver takes these tests in: so they run side by side.
"""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from flatproxy.signing import keys
from tests.support import with_dnsviz
from tests.support.bind_resolver import BindResolver
from tests.support.child import program, run
from tests.support.configuration import configuration
from tests.support.knot_resolver import KnotResolver
from tests.support.proxy import Proxy
from tests.support.signers import TTL_S, ZONE, Signing
from tests.support.unbound import Unbound
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.internet import FakeInternet

APEX = b"\4shop\4test\0"
_LB4 = {"203.0.113.1", "203.0.113.2"}
_LB6 = {"2001:db8:5::1"}
_VALIDATED = {
    ("shop.test", "A"): _LB4,
    ("shop.test", "AAAA"): _LB6,
    ("shop.test", "HTTPS"): {'1 . alpn="h2,h3" ipv4hint="203.0.113.1"'},
    ("shop.test", "MX"): {"10 mail.shop.test."},
    ("www.shop.test", "A"): _LB4,
    ("www.shop.test", "AAAA"): _LB6,
    ("x.lands.shop.test", "A"): _LB4,
    ("four.shop.test", "A"): {"203.0.113.4"},
    ("four.shop.test", "AAAA"): set(),
    ("to.four.shop.test", "AAAA"): set(),
    ("host.shop.test", "A"): {"192.0.2.6"},
    ("host.shop.test", "AAAA"): set(),
    ("bare.shop.test", "A"): {"203.0.113.4"},
    ("x.wild.shop.test", "TXT"): {'"wildcard"'},
    ("shop.test", "ANY"): set(),
}
"""What validators must find, and find secure."""


@pytest.fixture(scope="module", params=[False, True], ids=["nsec", "nsec3"])
def signer(
    kind: type[Signing], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Signing]:
    """The nameserver whose `kind` the module says, with both kinds of denial."""
    folder = tmp_path_factory.mktemp(kind.kind)
    base = keys.write_pair(keys.generate(APEX, "ECDSAP256SHA256"), folder)
    with kind(folder=folder, key=base, nsec3=request.param) as running:
        yield running


def fill(internet: FakeInternet) -> None:
    internet.cname("lb.test", "a.lb.test", 60)
    internet.set("a.lb.test", "A", sorted(_LB4), 2)
    internet.set("a.lb.test", "AAAA", sorted(_LB6), 2)
    internet.set("a.lb.test", "HTTPS", ['1 . alpn="h2,h3" ipv4hint=203.0.113.1'], 2)
    internet.set("four.test", "A", ["203.0.113.4"], 2)


def _config(signer: Signing, internet: FakeInternet, key: Path, **more: dict[str, object]) -> str:
    return configuration(
        upstream=[signer.address],
        resolver=[internet.address],
        zones=[ZONE],
        flatten={
            "shop.test": {"target": "lb.test", "types": ["A", "AAAA", "HTTPS"]},
            "four.shop.test": {"target": "four.test"},
            "bare.shop.test": {"target": "four.test"},
        },
        tables={f'dnssec."{ZONE}"': {"key": str(key)}, **more},
    )


@pytest.fixture(scope="module")
def proxy(signer: Signing, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    fill(internet)
    with Proxy(tmp_path_factory.mktemp("proxy"), _config(signer, internet, signer.key)) as running:
        running.wait_event("key_change", new="active")
        running.wait_event("placeholder_missing", name="bare.shop.test", type="AAAA")
        until(lambda: is_signed(running), lambda: running.log)
        yield running


def is_signed(proxy: Proxy) -> bool:
    """Tell whether all that is flattened is signed by now: placeholders are asked about in the background.

    The nameserver signs its placeholders, too, but not with the key that signs a denial of ours.
    """
    denial = proxy.ask(dns.message.make_query("four.shop.test", "AAAA", want_dnssec=True)).authority
    owners = {rrset.name for rrset in denial if rrset.rdtype == dns.rdatatype.NSEC and rrset[0].next.labels[0] == b"\0"}
    ours = {rrset[0].key_tag for rrset in denial if rrset.covers == dns.rdatatype.NSEC and rrset.name in owners}
    signed = {
        rrset[0].key_tag
        for rdtype in ("A", "AAAA", "HTTPS")
        for rrset in proxy.ask(dns.message.make_query("shop.test", rdtype, want_dnssec=True)).answer
        if rrset.rdtype == dns.rdatatype.RRSIG
    }
    return len(ours) == 1 and signed == ours


@pytest.fixture(scope="module")
def unbounds(signer: Signing, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Unbound]]:
    """One that uses denials as they were asked for, and one that denies more with them (RFC 8198)."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                Unbound(
                    folder=tmp_path_factory.mktemp("unbound"),
                    stubs=[ZONE],
                    authority=proxy.address,
                    anchors=[f"{ZONE}. DNSKEY {anchor}" for anchor in signer.anchors],
                    aggressive=aggressive,
                )
            )
            for aggressive in (False, True)
        ]


def _ask(resolver: Unbound | BindResolver | KnotResolver, name: str, rdtype: str) -> dns.message.Message:
    query = dns.message.make_query(name, rdtype, want_dnssec=True)
    return dns.query.tcp(query, resolver.host, timeout=10, port=resolver.port)


def _texts(reply: dns.message.Message, rdtype: str) -> set[str]:
    wanted = dns.rdatatype.from_text(rdtype)
    return {rdata.to_text() for rrset in reply.answer if rrset.rdtype == wanted for rdata in rrset}


def _is_secure(resolver: Unbound | BindResolver | KnotResolver, *, without: str = "") -> None:
    """Hold what a validator finds against the truth, twice: then from its cache, and with the denials that it saw."""
    for name, rdtype in 2 * [question for question in _VALIDATED if question[1] != without]:
        reply = _ask(resolver, name, rdtype)
        shown = f"{name} {rdtype}\n{reply}\n{resolver.child.tail() if resolver.child else ''}"
        assert reply.rcode() == dns.rcode.NOERROR, shown
        assert reply.flags & dns.flags.AD, shown
        assert _texts(reply, rdtype) == _VALIDATED[name, rdtype], shown
    reply = _ask(resolver, "missing.shop.test", "A")
    assert (reply.rcode(), bool(reply.flags & dns.flags.AD)) == (dns.rcode.NXDOMAIN, True)
    # `bare` has no AAAA record in the zone: never bogus, never a contradiction.
    reply = _ask(resolver, "bare.shop.test", "AAAA")
    assert (reply.rcode(), bool(reply.flags & dns.flags.AD)) == (dns.rcode.NOERROR, True)


def test_unbound_finds_everything_secure(unbounds: list[Unbound]) -> None:
    for unbound in unbounds:
        _is_secure(unbound)


@pytest.mark.parametrize("resolver", [BindResolver, KnotResolver], ids=["bind", "knot resolver"])
def test_others_find_everything_secure(
    resolver: type[BindResolver | KnotResolver], signer: Signing, proxy: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They deny by themselves, too, what an NSEC record that they have seen does not list."""
    folder = tmp_path_factory.mktemp("resolver")
    with resolver(folder=folder, zone=ZONE, authority=proxy.address, anchors=signer.anchors) as running:
        # Knot Resolver never asks for ANY and says SERVFAIL.
        _is_secure(running, without="ANY" if resolver is KnotResolver else "")


def test_dnsviz_has_nothing_to_say(signer: Signing, proxy: Proxy, tmp_path: Path) -> None:
    if not signer.nsec3:
        pytest.skip("NSEC3 is the harder one, and this takes time")
    names = [ZONE, *(f"{label}.{ZONE}" for label in ("www", "to.four", "x.lands", "bare", "host"))]
    secure, wrong = with_dnsviz.judge(tmp_path, ZONE, proxy.address, signer.anchors, names)
    assert not wrong, wrong[:5]
    assert secure >= 15, secure


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_delv_finds_everything_secure(signer: Signing, proxy: Proxy, tmp_path: Path, *, tcp: bool) -> None:
    program("delv")
    anchors = tmp_path / "anchors"
    lines = []
    for anchor in signer.anchors:
        flags, protocol, algorithm, *key = anchor.split()
        lines.append(f'"{ZONE}." static-key {flags} {protocol} {algorithm} "{"".join(key)}";')
    anchors.write_text("trust-anchors { " + "\n".join(lines) + " };\n")
    host, port = proxy.address
    for (name, rdtype), expected in _VALIDATED.items():
        if rdtype == "ANY":
            continue  # delv asks for a type of its own then
        where = [f"@{host}", "-p", str(port), "-a", str(anchors), f"+root={ZONE}", *(["+tcp"] if tcp else [])]
        said = run(["delv", *where, name, rdtype], check=False)
        assert "fully validated" in said, said
        assert "unsigned" not in said, said
        for text in expected:
            assert text.split(" alpn", maxsplit=1)[0] in said, said


def test_drill_chases_the_signatures(signer: Signing, proxy: Proxy, tmp_path: Path) -> None:
    program("drill")
    trusted = tmp_path / "trusted.key"
    trusted.write_text("".join(f"{ZONE}. {TTL_S} IN DNSKEY {anchor}\n" for anchor in signer.anchors))
    host, port = proxy.address
    for name, rdtype in (("shop.test", "A"), ("shop.test", "AAAA"), ("shop.test", "MX"), ("host.shop.test", "A")):
        said = run(["drill", "-D", "-S", "-k", str(trusted), "-p", str(port), name, rdtype, f"@{host}"], check=False)
        assert "Chase successful" in said, said


def test_changes_are_signed_as_they_come(proxy: Proxy, unbounds: list[Unbound], internet: FakeInternet) -> None:
    def all_find(wanted: set[str], name: str = "www.shop.test") -> bool:
        replies = [_ask(unbound, name, "A") for unbound in unbounds]
        for reply in replies:
            assert reply.rcode() == dns.rcode.NOERROR
            assert reply.flags & dns.flags.AD
        return all(_texts(reply, "A") == wanted for reply in replies)

    for number in range(10, 13):
        internet.set("a.lb.test", "A", [f"203.0.113.{number}"], 1)
        until(partial(all_find, {f"203.0.113.{number}"}), lambda: proxy.log, 30)
    internet.set("a.lb.test", "A", sorted(_LB4), 2)
    until(lambda: all_find(_LB4, ZONE), "the old addresses", 30)


def test_what_is_shown(proxy: Proxy) -> None:
    metrics = proxy.metrics()
    assert metrics.value("dnssec_key", zone=ZONE, state="active") == 1
    assert metrics.value("dnssec_key", zone=ZONE, state="absent") == 0
    assert [labels for labels, _ in metrics.samples("dnssec_placeholder_missing")] == [
        {"name": "bare.shop.test", "type": "AAAA"}
    ]


def test_a_restart_signs_at_once(
    signer: Signing, internet: FakeInternet, start: Callable[..., Proxy], tmp_path: Path
) -> None:
    """The state belongs to the key and survives; without the file it would wait for the TTL again."""
    fill(internet)
    config = _config(signer, internet, signer.key, state={"path": str(tmp_path / "state.sqlite")})
    first = start(config)
    first.wait_event("key_change", new="active")
    first.stop()
    again = start(config)
    assert again.metrics().value("dnssec_key", zone=ZONE, state="active") == 1
    until(lambda: is_signed(again), lambda: again.log)
    assert again.since(0, "key_change") == []


def test_check_and_explain_say_what_the_key_is(
    signer: Signing, proxy: Proxy, internet: FakeInternet, tmp_path: Path
) -> None:
    assert proxy.alive
    path = tmp_path / "flatproxy.toml"
    path.write_text(_config(signer, internet, signer.key))
    said = run([sys.executable, "-m", "flatproxy", "check", "--json", "--config", str(path)], check=False)
    told = {(each["severity"], each["key"], each["value"]): each for each in json.loads(said)["findings"]}
    tag = str(int(signer.key.name.rpartition("+")[2]))
    assert "published" in told["info", 'dnssec."shop.test".key', tag]["what"]
    assert ("warning", 'flatten."bare.shop.test"', "AAAA") in told
    assert not [place for place in told if place[0] == "error"]
    said = run([sys.executable, "-m", "flatproxy", "explain", "--config", str(path), "shop.test"], check=False)
    assert f"key {tag} (ECDSAP256SHA256): absent" in said


def test_a_key_that_nobody_publishes_leaves_the_zone_to_the_nameserver(
    signer: Signing, internet: FakeInternet, start: Callable[..., Proxy], tmp_path: Path
) -> None:
    """With a wrong key nothing is signed, so nothing is bogus."""
    fill(internet)
    wrong = keys.write_pair(keys.generate(APEX, "ECDSAP256SHA256"), tmp_path)
    proxy = start(_config(signer, internet, wrong))
    query = dns.message.make_query("shop.test", "A", want_dnssec=True)
    assert _texts(proxy.ask(query), "A") == {"192.0.2.1"}
    assert _texts(proxy.ask(dns.message.make_query("shop.test", "A")), "A") == _LB4
    assert proxy.metrics().value("dnssec_key", zone=ZONE, state="active") == 0


def test_the_harness_can_fail(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> None:
    """With a trust anchor that is not the zone's, the validator does say bogus."""
    wrong = keys.generate(APEX, "ECDSAP256SHA256").dnskey.to_text(chunksize=0).replace("256 ", "257 ", 1)
    with Unbound(
        folder=tmp_path_factory.mktemp("bogus"),
        stubs=[ZONE],
        authority=proxy.address,
        anchors=[f"{ZONE}. DNSKEY {wrong}"],
    ) as resolver:
        assert _ask(resolver, "shop.test", "A").rcode() == dns.rcode.SERVFAIL
