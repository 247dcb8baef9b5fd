"""Signed zones of NSD with ldns-signzone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.zone
import pytest

from tests.integration.signed import *  # noqa: F403 - the tests and their fixtures
from tests.support.child import run
from tests.support.signers import ZONE, NsdSigning
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.proxy import Proxy
    from tests.support.unbound import Unbound


@pytest.fixture(scope="module")
def kind() -> type[NsdSigning]:
    return NsdSigning


def test_a_zone_with_what_is_answered_verifies_as_a_whole(signer: NsdSigning, proxy: Proxy, tmp_path: Path) -> None:
    """As a file: the nameserver's signed zone, and at its apex the flattened records with their signatures."""
    path = f"{signer.zone_file}.signed"
    zone = dns.zone.from_file(path, origin=f"{ZONE}.", relativize=False)
    apex = dns.name.from_text(ZONE)
    for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA, dns.rdatatype.HTTPS):
        addresses, rrsigs = proxy.ask(dns.message.make_query(ZONE, rdtype, want_dnssec=True)).answer
        zone.replace_rdataset(apex, addresses.to_rdataset())
        zone.replace_rdataset(apex, rrsigs.to_rdataset())
    answered = tmp_path / "answered.zone"
    zone.to_file(str(answered), relativize=False)
    assert "203.0.113.1" in answered.read_text()
    trusted = tmp_path / "trusted.key"
    trusted.write_text("".join(f"{ZONE}. 2 IN DNSKEY {anchor}\n" for anchor in signer.anchors))
    said = run(["ldns-verify-zone", "-k", str(trusted), str(answered)])
    assert "Zone is verified and complete" in said
    answered.write_text(answered.read_text().replace("203.0.113.1", "203.0.113.9"))
    said = run(["ldns-verify-zone", "-k", str(trusted), str(answered)], check=False)
    assert "Bogus" in said or "error" in said.lower(), said


def test_what_does_not_fit_is_cut_and_whole_over_tcp(
    signer: NsdSigning, proxy: Proxy, internet: FakeInternet, unbounds: list[Unbound]
) -> None:
    """The signature counts: without it these addresses fit."""
    if signer.nsec3:
        pytest.skip("the same with both kinds of denial")
    many = {f"203.0.113.{last}" for last in range(100, 125)}
    internet.set("four.test", "A", sorted(many), 1)
    query = dns.message.make_query(f"four.{ZONE}", "A", want_dnssec=True, payload=512)
    until(lambda: len(proxy.ask(query, tcp=True).answer[0]) == len(many), lambda: proxy.log, 30)
    try:
        for _ in range(3):  # from the path in C, too, where there is one
            cut = proxy.ask(query)
            assert (bool(cut.flags & dns.flags.TC), cut.answer) == (True, [])
            assert len(proxy.ask(dns.message.make_query(f"four.{ZONE}", "A", payload=512)).answer[0]) == len(many)
            assert [len(rrset) for rrset in proxy.ask(query, tcp=True).answer] == [len(many), 1]
        for unbound in unbounds:
            reply = dns.query.tcp(query, unbound.host, timeout=10, port=unbound.port)
            assert reply.flags & dns.flags.AD
    finally:
        internet.set("four.test", "A", ["203.0.113.4"], 2)
    until(lambda: len(proxy.ask(query, tcp=True).answer[0]) == 1, lambda: proxy.log, 30)
