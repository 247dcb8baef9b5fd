"""The probe of one nameserver for the served zones: an SOA with authority for each, over UDP and over TCP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rcode
import dns.rdatatype
from attrs import define, field, frozen

from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import Asking, Patience, each
from flatproxy.errors import FlatproxyError, UpstreamTimeout
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dns.message

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.diagnose.findings import Finding

UDP = "UDP"
TCP = "TCP"
_SHOWN = 3


@frozen
class Verdict:
    """What is wrong with a server's answer for a zone, and what to do."""

    what: str
    do: str


def judge_zone(apex: bytes, response: dns.message.Message) -> Verdict | None:
    """Return what is wrong with the answer to an SOA query for a served zone, None where nothing is."""
    code = response.rcode()
    if code == dns.rcode.REFUSED:
        do = "let it serve the zone and answer this machine's queries, or take the zone out of access.zones"
        return Verdict("REFUSED", do)
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        do = "look into its log: the zone may not be loaded, or has expired on a secondary"
        return Verdict(dns.rcode.to_text(code), do)
    if not response.flags & dns.flags.AA:
        what = "answers without authority (AA is clear)" if response.answer else "refers to other nameservers"
        return Verdict(what, "write a nameserver that serves the zone itself, as a primary or a secondary")
    if code == dns.rcode.NXDOMAIN:
        return Verdict("no such name (NXDOMAIN)", "correct the name in access.zones, or add the zone to the nameserver")
    zone = zone_of(response)
    if zone is None or not names.to_name(apex).is_subdomain(names.to_name(zone.apex)):
        return Verdict("answers without an SOA record of the zone", "see: dig @SERVER ZONE SOA +norecurse")
    return None


@define
class ZoneProbe:
    """The probe of one server, which stands at `key`. `silent` says why nothing came, by transport."""

    settings: Settings
    asking: Asking
    key: str
    endpoint: Endpoint
    silent: dict[str, str] = field(factory=dict)
    _wrong: dict[int, dict[str, Verdict]] = field(factory=dict)
    _patience: Patience = field(factory=Patience)

    @property
    def _zones(self) -> list[tuple[int, bytes]]:
        """The served zones with their place in access.zones."""
        zones = enumerate(self.settings.access.zones)
        return [(index, apex) for index, apex in zones if apex != names.ROOT]

    async def run(self) -> None:
        """Ask for the first zone to see over what it answers at all, then for every zone."""
        zones = self._zones
        first = zones[0][1] if zones else names.ROOT
        for transport in (UDP, TCP):
            try:
                await self._ask(first, transport)
            except FlatproxyError as error:
                self.silent[transport] = str(error).removeprefix(f"{self.endpoint}: ")
        transports = [transport for transport in (UDP, TCP) if transport not in self.silent]
        await each(
            ((index, apex, transport) for index, apex in zones for transport in transports),
            self._ask_about,
        )

    async def _ask(self, apex: bytes, transport: str) -> dns.message.Message:
        """Ask, and over UDP once more where nothing came: a lost datagram is no finding."""
        name = names.to_name(apex)
        try:
            return await self.asking.nameserver(self.endpoint, name, dns.rdatatype.SOA, tcp=transport == TCP)
        except UpstreamTimeout:
            if transport == TCP:
                raise
            return await self.asking.nameserver(self.endpoint, name, dns.rdatatype.SOA, tcp=False)

    async def _ask_about(self, question: tuple[int, bytes, str]) -> None:
        index, apex, transport = question
        if self._patience.is_over():
            return
        try:
            response = await self._ask(apex, transport)
        except FlatproxyError as error:
            self._patience.note(answered=False)
            what = str(error).removeprefix(f"{self.endpoint}: ")
            verdict: Verdict | None = Verdict(what, "look into its log, and whether it limits replies to this machine")
        else:
            self._patience.note(answered=True)
            verdict = judge_zone(apex, response)
        if verdict is not None:
            self._wrong.setdefault(index, {})[transport] = verdict

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong, or that nothing is."""
        if self.silent:
            yield self._silence()
        for index, verdicts in sorted(self._wrong.items()):
            yield from self._zone_findings(index, verdicts)
        if self._patience.skipped:
            what = f"no answer {self._patience.silent} times in a row: {self._patience.skipped} queries were not sent"
            do = "look into its log, and whether it limits replies to this machine: flatproxy asks it for everybody"
            yield findings.error(self.key, str(self.endpoint), what, do)
        if len(self.silent) < 2 and not self._wrong:
            over = " and ".join(transport for transport in (UDP, TCP) if transport not in self.silent)
            yield findings.fine(self.key, str(self.endpoint), f"answers {self._what()}over {over}")

    def _what(self) -> str:
        zones = [names.to_text(apex) for _, apex in self._zones]
        if not zones:
            return ""
        return f"for {', '.join(zones)} " if len(zones) <= _SHOWN else f"for all {len(zones)} zones "

    def _silence(self) -> Finding:
        port = self.endpoint.port
        if len(self.silent) == 2:
            udp, tcp = self.silent[UDP], self.silent[TCP]
            why = udp if udp == tcp else f"{udp} over UDP, {tcp} over TCP"
            what = f"does not answer: {why}"
            do = f"start the nameserver there, or write its address; firewalls must let UDP and TCP port {port} pass"
        else:
            ((transport, why),) = self.silent.items()
            what = f"does not answer over {transport}: {why}"
            needs = "large answers, zone transfers and TCP clients" if transport == TCP else "nearly every query"
            do = f"let it listen on {transport} port {port}, and firewalls let that pass: {needs} need it"
        return findings.error(self.key, str(self.endpoint), what, do)

    def _zone_findings(self, index: int, verdicts: dict[str, Verdict]) -> Iterator[Finding]:
        key, zone = f"access.zones[{index}]", names.to_text(self.settings.access.zones[index])
        same = len(verdicts) == 2 - len(self.silent) and len(set(verdicts.values())) == 1
        for transport, verdict in verdicts.items():
            over = "" if same else f" over {transport}"
            yield findings.error(key, zone, f"{self.endpoint}{over}: {verdict.what}", verdict.do)
            if same:
                return
