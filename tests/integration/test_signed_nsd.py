"""Signed zones of NSD with ldns-signzone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rdatatype
import dns.zone
import pytest

from tests.integration.signed import *  # noqa: F403 - the tests and their fixtures
from tests.support.child import run
from tests.support.signers import ZONE, NsdSigning

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.proxy import Proxy


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
