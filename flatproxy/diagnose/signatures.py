"""What `check` and `explain` say of signed zones with keys of ours: what each key is now, and what is in the way.

A running flatproxy has waited for itself: where it keeps its state in a file, that is read.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from time import time
from typing import TYPE_CHECKING

import dns.dnssec
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import define, field

from flatproxy.config.problems import join
from flatproxy.diagnose import findings
from flatproxy.diagnose.prospects import span_text
from flatproxy.errors import ConfigError, FlatproxyError
from flatproxy.flatten import signings
from flatproxy.flatten.stores.sqlite import read_keys
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.asking import Bounded
    from flatproxy.diagnose.findings import Finding
    from flatproxy.signing.keys import Key
    from flatproxy.signing.zone import ZoneSigning

_LATER = "see docs/dnssec.md for the order of what to do"


@define
class SigningZones:
    """The probe of the zones with keys of ours. `upstream` returns whom to ask."""

    settings: Settings
    upstream: Callable[[], Bounded]
    found: list[Finding] = field(factory=list)

    async def probe(self) -> None:
        """Look at the DNSKEY RRset of each zone."""
        for zone in self.settings.dnssec:
            place = f"{join('dnssec', names.to_text(zone))}.key"
            try:
                signing = signing_in(self.settings, zone)
            except ConfigError as error:
                for problem in error.problems:
                    self.found.append(findings.error(problem.key or place, "", problem.reason, problem.write))
                continue
            await self._look_at(signing, place)

    async def _look_at(self, signing: ZoneSigning, place: str) -> None:
        for key in signing.keys.keys:
            if key.is_ksk:
                what = "the key has the SEP flag, as key-signing keys have: flatproxy needs no right to sign keys"
                do = "let flatproxy keygen make a zone-signing key, and publish that"
                self.found.append(findings.warning(place, str(key.tag), what, do))
        try:
            dnskeys, ttl_s = await published(self.upstream(), signing.zone)
        except FlatproxyError as error:
            what = f"the nameserver's DNSKEY records are not known: {error}"
            self.found.append(findings.warning(place, "", what, "let the nameserver answer"))
            return
        if not dnskeys:
            what = "the zone is not signed: the nameserver has no DNSKEY record"
            self.found.append(findings.warning(place, "", what, "sign the zone, or leave the table out"))
            return
        for key in signing.keys.keys:
            self.found.append(_about(signing, key, dnskeys, ttl_s, place))
        if why := off(signing, dnskeys):
            do = f"list a published key of each algorithm of the zone, and of no other; {_LATER}"
            self.found.append(findings.warning(place, "", f"nothing is signed: {why}", do))


def signing_in(settings: Settings, zone: bytes) -> ZoneSigning:
    """Return one zone's keys with what the state file knows; `ConfigError` where a key is of no use."""
    made = signings.signings_of(signings.keys_of({zone: settings.dnssec[zone]}), {})
    if settings.state is not None:
        # What is wrong with the file is said elsewhere.
        with suppress(sqlite3.Error, OSError, ValueError, TypeError):
            signings.restore(made, read_keys(settings.state.path))
    return made[zone]


async def published(upstream: Bounded, zone: bytes) -> tuple[list[bytes], int]:
    """Return the DNSKEY rdatas that the nameserver answers, and their TTL; raises as `ask` does."""
    response = await upstream.ask(names.to_name(zone), dns.rdatatype.DNSKEY)
    apex = names.to_name(zone)
    rrset = response.get_rrset(response.answer, apex, dns.rdataclass.IN, dns.rdatatype.DNSKEY)
    return ([key.to_wire() or b"" for key in rrset], rrset.ttl) if rrset else ([], 0)


def off(signing: ZoneSigning, dnskeys: Collection[bytes]) -> str:
    """Return what would be in the way of signing if all of our published keys were active."""
    from flatproxy.signing.states import why_off  # noqa: PLC0415 - an extra

    ours = signing.keys.keys
    return why_off([key for key in ours if key.rdata in dnskeys], ours, dnskeys)


def _about(signing: ZoneSigning, key: Key, dnskeys: Collection[bytes], ttl_s: int, place: str) -> Finding:
    """Return what one key is."""
    shown, state = str(key.tag), signing.keys.state(key)
    if key.rdata not in dnskeys:
        what = "absent: the nameserver does not publish the key, so nothing is signed with it"
        return findings.warning(place, shown, what, f"publish {key.record}")
    if state.state == "active":
        signs = "" if off(signing, dnskeys) else ": flagged names are signed"
        return findings.fine(place, shown, f"active for {span_text(time() - state.since)}{signs}")
    if state.state == "waiting":
        left_s = state.left_s(time())
        return findings.info(place, shown, f"waiting: it is published, and may sign in {span_text(left_s)}", _LATER)
    what = f"published; a flatproxy that runs may sign when it has seen it for as long as its TTL, {span_text(ttl_s)}"
    return findings.info(place, shown, what, _LATER)


def words(signing: ZoneSigning) -> Iterator[str]:
    """Yield what `explain` says of the keys of a zone, as far as the state file knows."""
    for key in signing.keys.keys:
        state = signing.keys.state(key)
        since = f" for {span_text(time() - state.since)}" if state.since else ""
        yield f"key {key.tag} ({dns.dnssec.algorithm_to_text(key.algorithm)}): {state.state}{since}"
    if signing.keys.off:
        yield f"nothing is signed: {signing.keys.off}"


async def without_record(upstream: Bounded, name: bytes, wanted: Collection[str]) -> list[str]:
    """Return the types that are flattened at a name and that the nameserver has no record of; raises as `ask` does."""
    lacking = []
    for text in sorted(wanted):
        number = dns.rdatatype.RdataType.make(types.number_of(text))
        response = await upstream.ask(names.to_name(name), number)
        if not any(rrset.rdtype == number and names.to_wire(rrset.name) == name for rrset in response.answer):
            lacking.append(text)
    return lacking
