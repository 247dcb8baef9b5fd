"""What the nameserver holds at the flagged names themselves: what clients get for other types, and as a last answer."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import dns.flags
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from attrs import define, field

from flatproxy.config.problems import join
from flatproxy.diagnose import findings, signatures
from flatproxy.diagnose.asking import Patience, each
from flatproxy.diagnose.zones import SIGNED, UNSIGN, Keys
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.zone_probes import zone_of
from flatproxy.wire import names, types

if TYPE_CHECKING:
    import dns.message
    import dns.name

    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.diagnose.asking import Asking
    from flatproxy.diagnose.findings import Finding

MOST_NAMES = 2_000
"""Names that the nameserver is asked about, some questions for each: more of them would take minutes."""

_IPV4HINT, _IPV6HINT = 4, 6
"""SvcParamKeys (RFC 9460 section 14.3.2)."""


def key_of(name: bytes) -> str:
    """Return the key path of a flagged name."""
    return join("flatten", names.to_text(name))


def judge_soa(name: bytes, response: dns.message.Message) -> Finding | None:
    """Return what the answer to an SOA query at a flagged name shows to be amiss there."""
    key = key_of(name)
    code = response.rcode()
    if code == dns.rcode.NXDOMAIN:
        what = (
            "the nameserver says that there is no such name (NXDOMAIN): a resolver that has heard this for another "
            "type, such as MX, may take it for A and AAAA as well (RFC 8020)"
        )
        return findings.warning(key, "", what, "add a record at the name to the zone: a placeholder A will do")
    if code != dns.rcode.NOERROR:
        what = (
            f"the nameserver answers {dns.rcode.to_text(code)}: so does flatproxy, to every other type than A and AAAA"
        )
        return findings.warning(key, "", what, "let the nameserver serve the zone that the name is in")
    cname = response.get_rrset(response.answer, names.to_name(name), dns.rdataclass.IN, dns.rdatatype.CNAME)
    if cname:
        what = (
            "the nameserver has a CNAME there: flatproxy answers A and AAAA with the target's addresses, but MX, TXT "
            "and all other types follow the CNAME"
        )
        do = "replace the CNAME with a placeholder A record, and add the MX and TXT records that the name needs"
        return findings.warning(key, f"CNAME {cname[0].target}", what, do)
    if not response.flags & dns.flags.AA and any(rrset.rdtype == dns.rdatatype.NS for rrset in response.authority):
        what = "the nameserver delegates it to others: who follows the delegation never asks flatproxy"
        return findings.warning(key, "", what, "put flatproxy in front of the nameservers of that zone instead")
    return None


def hints(response: dns.message.Message) -> list[str]:
    """Return the address hints in the HTTPS records of a response, as text."""
    found = []
    for rrset in response.answer:
        if rrset.rdtype != dns.rdatatype.HTTPS:
            continue
        for record in rrset:
            for key, word in ((_IPV4HINT, "ipv4hint"), (_IPV6HINT, "ipv6hint")):
                param = record.params.get(key)
                if param is not None:
                    found.append(f"{word}={','.join(param.addresses)}")
    return found


@define
class FlaggedNames:
    """The probes at the flagged names, and what they found. `endpoints` are the nameservers that answer.

    `apexes` has the apex of each name's zone, where the nameserver said which it is.
    """

    settings: Settings
    asking: Asking
    endpoints: list[Endpoint]
    found: list[Finding] = field(factory=list)
    apexes: dict[bytes, bytes] = field(factory=dict)
    _keys: Keys = field(init=False)
    _signed: set[bytes] = field(factory=set)
    _patience: Patience = field(factory=Patience)
    _unanswered: list[bytes] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._keys = Keys(lambda: self.asking.upstream(self.endpoints))

    async def probe(self) -> None:
        """Probe the flagged names; where they are very many, some of them at equal distances."""
        if not self.endpoints:
            if self.settings.flatten:
                what = "no nameserver answers over UDP, so nothing is said of what it has at the flagged names"
                self.found.append(findings.info("upstream.servers", "", what))
            return
        flatten = self.settings.flatten
        step = -(-len(flatten) // MOST_NAMES)
        if step > 1:
            some = len(range(0, len(flatten), step))
            what = (
                f"of the {len(flatten):,} flagged names, every {step}. was looked at on the nameserver, {some:,} in "
                "all: what it has at the others is not known"
            )
            self.found.append(findings.info("flatten", "", what))
        await each(islice(flatten.items(), 0, None, max(step, 1)), self._probe_one)
        left = len(self._unanswered) + self._patience.skipped
        if left:
            what = f"the nameserver did not answer for {left} flagged names, so nothing is said of them"
            do = "look into its log, and whether it limits replies to this machine: flatproxy asks it for everybody"
            self.found.append(findings.warning("upstream.servers", "", what, do))

    async def _probe_one(self, item: tuple[bytes, Rule]) -> None:
        name, rule = item
        if self._patience.is_over():
            return
        try:
            await self._look_at(name, rule)
        except FlatproxyError:
            self._unanswered.append(name)
            self._patience.note(answered=False)
        else:
            self._patience.note(answered=True)

    async def _ask(self, name: bytes, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        return await self.asking.upstream(self.endpoints).ask(names.to_name(name), rdtype)

    async def _look_at(self, name: bytes, rule: Rule) -> None:
        response = await self._ask(name, dns.rdatatype.SOA)
        finding = judge_soa(name, response)
        if finding is not None:
            self.found.append(finding)
        zone = zone_of(response)
        if zone is not None:
            self.apexes[name] = zone.apex
        if zone is not None and (finding is None or response.rcode() == dns.rcode.NXDOMAIN):
            await self._look_for_keys(name, zone.apex)
        if finding is not None:
            return
        if not rule.fallback:
            await self._look_for_placeholder(name, rule)
        await self._look_for_https(name, rule)

    async def _look_for_https(self, name: bytes, rule: Rule) -> None:
        """See whether the nameserver's HTTPS records, where these are answered, lead past the target's addresses."""
        if "HTTPS" in rule.types:
            return
        response = await self._ask(name, dns.rdatatype.HTTPS)
        found = hints(response)
        if not found and any(rrset.rdtype == dns.rdatatype.HTTPS for rrset in response.answer):
            what = (
                "the nameserver has HTTPS records there, which flatproxy forwards: what they say of the service is the "
                "nameserver's word, not the target's"
            )
            do = 'types = ["A", "AAAA", "HTTPS"] to answer with the target\'s; or leave it, where the records fit'
            self.found.append(findings.info(key_of(name), "HTTPS", f"{what}: {do}"))
        if found:
            what = "its HTTPS record has address hints: a client may use them in place of the target's addresses"
            do = (
                'types = ["A", "AAAA", "HTTPS"], then flatproxy keeps them in step; or take the hints out of the '
                "record, clients then use A and AAAA"
            )
            self.found.append(findings.warning(key_of(name), " ".join(found), what, do))

    async def _look_for_keys(self, name: bytes, apex: bytes) -> None:
        if apex in self.settings.dnssec:
            await self._look_for_signed_placeholders(name)
        elif await self._keys.has(apex) and apex not in self._signed:
            self._signed.add(apex)
            zones = self.settings.access.zones
            key = f"access.zones[{zones.index(apex)}]" if apex in zones else key_of(name)
            text = names.to_text(apex)
            self.found.append(findings.warning(key, text, f"the zone is signed with DNSSEC: {SIGNED}", UNSIGN))

    async def _look_for_signed_placeholders(self, name: bytes) -> None:
        """See whether each flattened type has a record in a zone with keys of ours."""
        wanted = self.settings.flatten[name].types
        lacking = await signatures.without_record(self.asking.upstream(self.endpoints), name, wanted)
        for text in lacking:
            what = (
                f"the signed zone has no {text} record there, and says so to resolvers (NSEC): queries with DO=1 for "
                f"{text} go to the nameserver, all others get the target's records"
            )
            do = f"add a placeholder {text} record to the zone, or take {text} out of types"
            self.found.append(findings.warning(key_of(name), text, what, do))

    async def _look_for_placeholder(self, name: bytes, rule: Rule) -> None:
        """See whether the last rung has an address."""
        wanted = [text for text in sorted(rule.types) if types.has_addresses(types.number_of(text))]
        for rdtype in wanted:
            number = dns.rdatatype.RdataType(types.number_of(rdtype))
            response = await self._ask(name, number)
            if any(rrset.rdtype == number for rrset in response.answer):
                return
        if not wanted:
            return
        what = (
            f"the nameserver has no {' or '.join(wanted)} record there, and there is no fallback: when the "
            "target cannot be resolved for long, clients are told that there is no address"
        )
        do = "add a placeholder A record to the zone, or write fallback addresses"
        self.found.append(findings.warning(key_of(name), "", what, do))
