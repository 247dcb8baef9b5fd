"""MX, NS and SRV records that point at a flagged name: with each, the nameserver sends the placeholder's address.

The nameserver adds the addresses that stand in its zone (RFC 1035 sections 3.3.9 and 3.3.11, RFC 2782), and flatproxy
passes its answers on as they are. Without a transfer not every record can be seen: what is asked for is MX, NS and the
`SERVICES` of each zone, and MX of each flagged name.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

import dns.name
import dns.rdatatype
from attrs import define, field

from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import Patience, each
from flatproxy.diagnose.flagged import MOST_NAMES, key_of
from flatproxy.diagnose.text import count, some
from flatproxy.errors import FlatproxyError
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import dns.message

    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.findings import Finding
    from flatproxy.flatten.chain import Asker

    Question = tuple[dns.name.Name, dns.rdatatype.RdataType]

SERVICES = (
    "_autodiscover._tcp",
    "_caldavs._tcp",
    "_carddavs._tcp",
    "_imap._tcp",
    "_imaps._tcp",
    "_kerberos._tcp",
    "_kerberos._udp",
    "_ldap._tcp",
    "_minecraft._tcp",
    "_pop3s._tcp",
    "_sip._tcp",
    "_sip._tls",
    "_sip._udp",
    "_sipfederationtls._tcp",
    "_sips._tcp",
    "_submission._tcp",
    "_submissions._tcp",
    "_xmpp-client._tcp",
    "_xmpp-server._tcp",
)
"""Where SRV records usually stand below a zone's apex."""

_SHOWN = 4


def pointed_at(response: dns.message.Message) -> Iterator[bytes]:
    """Yield the names that the MX, NS and SRV records of an answer point at, as lower-cased wire."""
    for rrset in response.answer:
        for record in rrset:
            if rrset.rdtype == dns.rdatatype.MX:
                yield names.to_wire(record.exchange)
            elif rrset.rdtype in (dns.rdatatype.NS, dns.rdatatype.SRV):
                yield names.to_wire(record.target)


@define
class Pointers:
    """The probes, and what they found.

    `apexes` has the apex of the zone of each flagged name that was looked at, `upstream` returns whom to ask.
    """

    settings: Settings
    apexes: Mapping[bytes, bytes]
    upstream: Callable[[], Asker]
    most: int = MOST_NAMES
    """Zones that are asked for records."""
    found: list[Finding] = field(factory=list)
    _records: dict[bytes, list[str]] = field(factory=dict)
    _patience: Patience = field(factory=Patience)
    _unanswered: int = 0

    async def probe(self) -> None:
        """Ask for the records; where there are very many zones, for those of the first `most`."""
        if not self.settings.flatten:
            return
        zones = dict.fromkeys(chain(self.apexes.values(), self.settings.access.zones))
        zones.pop(names.ROOT, None)
        if len(zones) > self.most:
            what = f"of {len(zones):,} zones, {self.most:,} were asked for MX, NS and SRV records"
            self.found.append(findings.info("access.zones", "", what))
        await each(self._questions(list(islice(zones, self.most))), self._look_at)
        for name, records in sorted(self._records.items()):
            what = (
                "these records point at it, and with each the nameserver sends the addresses that stand in its zone: "
                "who uses those goes to the placeholder, who asks for the addresses goes to the target's"
            )
            do = "let them point at a name that is not flagged and has the addresses of that service"
            self.found.append(findings.warning(key_of(name), some(sorted(records), _SHOWN), what, do))
        left = self._unanswered + self._patience.skipped
        if left:
            what = f"{count(left, 'question')} for MX, NS and SRV records had no answer: some that point may be unseen"
            do = "look into its log, and whether it limits replies to this machine: flatproxy asks it for everybody"
            self.found.append(findings.warning("upstream.servers", "", what, do))

    def _questions(self, zones: list[bytes]) -> Iterator[Question]:
        for zone in zones:
            apex = names.to_name(zone)
            yield apex, dns.rdatatype.MX
            yield apex, dns.rdatatype.NS
            for service in SERVICES:
                try:
                    yield dns.name.from_text(service, apex), dns.rdatatype.SRV
                except dns.name.NameTooLong:
                    continue
        for name in self.apexes.keys() - zones:
            yield names.to_name(name), dns.rdatatype.MX

    async def _look_at(self, question: Question) -> None:
        if self._patience.is_over():
            return
        try:
            response = await self.upstream().ask(*question)
        except FlatproxyError:
            self._unanswered += 1
            self._patience.note(answered=False)
            return
        self._patience.note(answered=True)
        owner, rdtype = question
        record = f"{owner.to_text(omit_final_dot=True)} {rdtype.name}"
        for name in set(pointed_at(response)) & self.settings.flatten.keys():
            self._records.setdefault(name, []).append(record)
