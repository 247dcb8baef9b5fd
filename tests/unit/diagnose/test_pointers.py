from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from flatproxy.diagnose.findings import Finding, Severity
from flatproxy.diagnose.pointers import SERVICES, Pointers, pointed_at
from flatproxy.errors import UpstreamTimeout

from .replies import reply, settings, wire

if TYPE_CHECKING:
    import dns.message
    import dns.name
    import dns.rdatatype

    from flatproxy.config.settings import Endpoint

APEX = wire("example.com")
FLAGGED = {name: {"target": "lb.test"} for name in ("example.com", "mail.example.com", "www.example.com")}
APEXES = dict.fromkeys(map(wire, FLAGGED), APEX)


@define
class Zone:
    """A nameserver with these records, as `name TTL IN TYPE rdata`. It is silent about names in `silent`."""

    records: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    asked: Endpoint | None = None
    seen: list[tuple[str, str]] = field(factory=list)

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        text = name.to_text(omit_final_dot=True)
        self.seen.append((text, rdtype.name))
        if text in self.silent:
            raise UpstreamTimeout(f"{text} {rdtype.name}: no answer within 1 s")
        here = [record for record in self.records if record.split()[0:4:3] == [text, rdtype.name]]
        return reply(text, rdtype.name, *here)


def found(zone: Zone, flatten: dict[str, dict[str, str]] | None = None) -> list[Finding]:
    probes = Pointers(settings(FLAGGED if flatten is None else flatten), APEXES, lambda: zone)
    asyncio.run(probes.probe())
    return probes.found


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("example.com 60 IN MX 10 mail.example.com.", "example.com MX"),
        ("www.example.com 60 IN MX 10 mail.example.com.", "www.example.com MX"),
        ("example.com 60 IN NS MAIL.Example.com.", "example.com NS"),
        ("_imaps._tcp.example.com 60 IN SRV 0 1 993 mail.example.com.", "_imaps._tcp.example.com SRV"),
    ],
)
def test_a_record_that_points_at_a_flagged_name_is_told_with_what_to_write(record: str, told: str) -> None:
    (finding,) = found(Zone((record,)))
    assert finding.severity is Severity.WARNING
    assert finding.key == 'flatten."mail.example.com"'
    assert finding.value == told
    assert "placeholder" in finding.what
    assert "not flagged" in finding.do


def test_records_that_point_elsewhere_are_fine() -> None:
    records = (
        "example.com 60 IN MX 10 mx.example.com.",
        "example.com 60 IN NS ns1.example.com.",
        "_sip._tcp.example.com 60 IN SRV 0 1 5060 .",
    )
    assert found(Zone(records)) == []


def test_many_records_at_one_name_are_one_finding() -> None:
    records = [f"{service}.example.com 60 IN SRV 0 1 1 www.example.com." for service in SERVICES]
    (finding,) = found(Zone(tuple(records)))
    assert finding.value.endswith(f"and {len(SERVICES) - 4} more")


def test_a_cname_in_the_answer_is_no_pointer() -> None:
    answer = reply("_sip._tcp.example.com", "SRV", "_sip._tcp.example.com 60 IN CNAME www.example.com.")
    assert list(pointed_at(answer)) == []


def test_each_zone_is_asked_once_for_all_and_each_name_for_mx() -> None:
    zone = Zone()
    assert found(zone) == []
    expected = [("example.com", "MX"), ("example.com", "NS")]
    expected += [(f"{service}.example.com", "SRV") for service in SERVICES]
    expected += [("mail.example.com", "MX"), ("www.example.com", "MX")]
    assert sorted(zone.seen) == sorted(expected)


def test_nothing_is_asked_where_nothing_is_flagged() -> None:
    zone = Zone()
    assert found(zone, {}) == []
    assert zone.seen == []


def test_silence_is_told_and_hides_nothing_else() -> None:
    zone = Zone(("example.com 60 IN NS mail.example.com.",), silent=("_sip._tcp.example.com",))
    pointer, silence = found(zone)
    assert pointer.value == "example.com NS"
    assert (silence.severity, silence.key) == (Severity.WARNING, "upstream.servers")
    assert "1 question " in silence.what


def test_of_very_many_zones_some_are_asked() -> None:
    config = settings(FLAGGED, access={"zones": ["example.com", "example.net"]})
    zone = Zone()
    probes = Pointers(config, APEXES, lambda: zone, most=1)
    asyncio.run(probes.probe())
    (finding,) = probes.found
    assert finding.severity is Severity.INFO
    assert ("example.com", "NS") in zone.seen
    assert ("example.net", "NS") not in zone.seen


def test_a_service_that_makes_the_name_too_long_is_left_out() -> None:
    long = ".".join(letter * 61 for letter in "abcd")
    zone = Zone()
    probes = Pointers(settings(FLAGGED, access={"zones": ["example.com", long]}), {}, lambda: zone)
    asyncio.run(probes.probe())
    assert sorted(asked for asked in zone.seen if asked[0].endswith(long)) == [(long, "MX"), (long, "NS")]


def test_the_page_says_which_services_are_looked_at() -> None:
    page = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text()
    assert tuple(re.findall(r"`(_[\w-]+\._\w+)`", page)) == SERVICES
