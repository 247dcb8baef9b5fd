"""Records that point at a flagged name, in front of NSD: what NSD adds to them, and what `check` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message
import dns.query

from tests.support.configuration import configuration

from .commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

POINTED_AT = {
    "mail.example.com": ["example.com MX", "_sip._tcp.example.com SRV"],
    "mail.example.net": ["example.com MX", "example.net MX"],
    "ns1.example.com": ["example.com NS"],
    "sip.example.com": ["_sip._tcp.example.com SRV"],
}


def test_check_names_records_that_point_at_flagged_names(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> None:
    internet.set("lb.pointed.test", "A", ["198.51.100.7"])
    path = tmp_path / "flatproxy.toml"
    names = [*POINTED_AT, "example.com", "host.example.net"]
    flatten = {name: {"target": "lb.pointed.test"} for name in names}
    path.write_text(configuration(upstream=[nsd.address], resolver=[internet.address], flatten=flatten))
    done = run("check", "--config", str(path), "--json")
    assert done.code == 0
    told = {each["key"]: each for each in done.json["findings"] if "point at it" in each["what"]}
    assert set(told) == {f'flatten."{name}"' for name in POINTED_AT}
    for name, records in POINTED_AT.items():
        finding = told[f'flatten."{name}"']
        assert finding["severity"] == "warning"
        assert finding["value"] == ", ".join(sorted(records))
        assert finding["do"]


def test_what_it_warns_of_is_what_the_nameserver_does(nsd: Nsd) -> None:
    host, port = nsd.address
    answer = dns.query.udp(dns.message.make_query("example.com", "MX"), host, port=port, timeout=5)
    added = {f"{rrset.name} {record}" for rrset in answer.additional for record in rrset}
    assert "mail.example.com. 192.0.2.25" in added
