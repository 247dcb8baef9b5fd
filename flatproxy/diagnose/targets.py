"""Resolves every target once for each type that it is used for, and judges what comes of it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import dns.rdatatype
from attrs import define, field

from flatproxy.config.problems import join
from flatproxy.diagnose import addresses, findings
from flatproxy.diagnose.asking import Patience, each
from flatproxy.diagnose.findings import TargetReport
from flatproxy.diagnose.flagged import key_of
from flatproxy.diagnose.text import count, some
from flatproxy.diagnose.traces import follow
from flatproxy.errors import ChainLoop, ConfigError
from flatproxy.flatten.guards import sift
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.table.ladder import MIN_FRESH_S, lifetime_s
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import EncryptedServer, Endpoint, Settings
    from flatproxy.diagnose.addresses import Probed
    from flatproxy.diagnose.asking import Asking
    from flatproxy.diagnose.findings import Finding
    from flatproxy.diagnose.traces import Walk
_SHOWN = 4


@define
class Use:
    """One target of a rule, and the flagged names that share this."""

    rule: Rule
    target: bytes
    names: list[bytes] = field(factory=list)
    view: str = ""
    """The view that it is for, nothing where it is the names' own."""

    @property
    def key(self) -> str:
        """The key path of the target under the first of the names."""
        several = self.rule.targets
        return f"{self.table}.{f'targets[{several.index(self.target)}]' if several else 'target'}"

    @property
    def table(self) -> str:
        """The path of the table, of the first of the names or of a view of it, that the rule was read from."""
        path = key_of(self.names[0])
        return join(f"{path}.views", self.view) if self.view else path

    @property
    def value(self) -> str:
        """The target, with how many names have it."""
        others = len(self.names) - 1
        return names.to_text(self.target) + (f", also for {count(others, 'more name')}" if others else "")


def uses_of(settings: Settings) -> list[Use]:
    """Return the targets of the rules in use, each with its names, in the configuration's order."""
    uses: dict[tuple[Rule, bytes], Use] = {}
    for name, own in settings.flatten.items():
        for view, rule in (("", own), *own.views):
            if rule is not None:
                for target in rule.all_targets:
                    uses.setdefault((rule, target), Use(rule, target, view=view)).names.append(name)
    return list(uses.values())


def judge_target(use: Use, walks: Sequence[Walk]) -> Iterator[Finding]:
    """Yield what is to be said of a target that is used so; `walks` are those for the types of the rule."""
    loops = [walk for walk in walks if isinstance(walk.error, ChainLoop)]
    failed = [walk for walk in walks if walk.error is not None and walk not in loops]
    if loops:
        what = f"the chain is a loop: {loops[0].error}"
        do = "write a target whose chain ends at addresses, or correct the CNAME records in it"
        yield findings.error(use.key, use.value, what, do)
    elif not any(walk.addresses for walk in walks):
        yield findings.error(use.key, use.value, *_nothing(use, walks, failed))
    else:
        for walk in failed:
            what = f"{walk.rdtype} cannot be resolved: {walk.reason}"
            do = f'ask its owner; if it has no {walk.rdtype} at all, types without "{walk.rdtype}" leaves these alone'
            yield findings.warning(use.key, use.value, what, do)
    yield from _about_addresses(use, walks)


def _nothing(use: Use, walks: Sequence[Walk], failed: Sequence[Walk]) -> tuple[str, str]:
    """Say that, and why, no walk has found an address, and what to do."""
    if not failed:
        what = "the target does not exist" if walks[0].outcome == "nxdomain" else "the target has no address"
        types = " or ".join(walk.rdtype for walk in walks)
        return f"{what}: no {types} record; clients are told so", "correct the target's name, or ask its owner"
    reasons = list(dict.fromkeys(walk.reason for walk in failed))
    then = "fallback" if use.rule.fallback else "what the nameserver has at the name"
    what = f"the target cannot be resolved: {'; '.join(reasons)}. Clients get {then}"
    return (
        what,
        "see with dig, at the servers of [resolver], where its chain breaks; correct the target or ask its owner",
    )


def _about_addresses(use: Use, walks: Sequence[Walk]) -> Iterator[Finding]:
    with_addresses = [walk for walk in walks if types.has_addresses(types.number_of(walk.rdtype))]
    every = [address for walk in with_addresses for address in walk.addresses]
    refused: dict[bytes, str] = {}
    for walk in with_addresses:
        if walk.found is not None:
            refused |= sift(use.rule.guarding, types.number_of(walk.rdtype), walk.found.rdatas)[1]
    if refused:
        shown = some([f"{ip_address(rdata)} is {why}" for rdata, why in refused.items()], _SHOWN)
        do = (
            'where inside use is meant, write special = "allow" under the name; otherwise a target with other addresses'
        )
        if any("outside" in why for why in refused.values()):
            do = "write the target's networks in allow, or another target"
        if len(refused) == len(every):
            yield findings.error(use.key, use.value, f"every address is refused: {shown}", do)
        else:
            yield findings.warning(use.key, use.value, f"addresses that are left out: {shown}", do)
    unlasting = [
        walk.rdtype for walk in walks if walk.found and walk.addresses and not lifetime_s(walk.found.ttl_s, use.rule)
    ]
    if unlasting:
        what = f"{' and '.join(unlasting)} has a TTL of 0: asked for every second, answered for {MIN_FRESH_S:g} s"
        yield findings.info(use.key, use.value, what, 'a min_ttl, like "5s", asks less often')


def about_fallback(use: Use) -> Iterator[Finding]:
    """Yield what is to be said of fallback addresses."""
    private = [str(address) for address in use.rule.fallback if address.is_private]
    if private:
        what = f"addresses that cannot be reached from everywhere: {some(private, _SHOWN)}"
        do = "write addresses that your clients reach; those of examples (192.0.2.0/24, 2001:db8::/32) reach nobody"
        yield findings.warning(f"{key_of(use.names[0])}.fallback", "", what, do)


def about_health(use: Use, results: Sequence[Probed]) -> Iterator[Finding]:
    """Yield what is to be said of one probe of each address."""
    key = f"{use.table}.health"
    failing = [each for each in results if each.failure and not each.unknown]
    unknown = [each for each in results if each.unknown]
    if failing:
        shown = some([f"{each.text} {each.words}" for each in failing], _SHOWN)
        do = "look at the servers; or correct check, port, path, host or status"
        if len(failing) == len(results):
            what = f"every address of {names.to_text(use.target)} fails its check: {shown}"
            yield findings.error(key, use.rule.health.check.kind if use.rule.health else "", what, do)
        else:
            what = f"addresses of {names.to_text(use.target)} that fail their check: {shown}"
            yield findings.warning(key, use.rule.health.check.kind if use.rule.health else "", what, do)
    if unknown:
        what = f"{some([each.text for each in unknown], _SHOWN)}: {unknown[0].words}; they pass for well"
        yield findings.warning(key, "", what, "give this machine a route there, or leave the type out of types")


@define
class Targets:
    """The walks, and what they found."""

    settings: Settings
    asking: Asking
    resolvers: Sequence[Endpoint | EncryptedServer]
    upstream: Sequence[Endpoint]
    found: list[Finding] = field(factory=list)
    _walks: dict[tuple[bytes, str], Walk] = field(factory=dict)
    _patience: Patience = field(factory=Patience)

    async def probe(self) -> None:
        """Resolve every target."""
        uses = uses_of(self.settings)
        questions = dict.fromkeys((use.target, rdtype) for use in uses for rdtype in sorted(use.rule.types))
        await each(questions, self._walk)
        for use in uses:
            walks = self._of(use.target, use.rule.types)
            if len(walks) == len(use.rule.types):
                self.found += judge_target(use, walks)
            if use.target == use.rule.target:
                self.found += about_fallback(use)
        await self._probe_addresses(uses)
        if self._patience.skipped:
            what = f"{self._patience.silent} in a row could not be resolved: {self._patience.skipped} were not tried"
            do = "see what [resolver] servers answer, then check again"
            self.found.append(findings.error("resolver.servers", "", what, do))

    async def _walk(self, question: tuple[bytes, str]) -> None:
        target, rdtype = question
        if self._patience.is_over():
            return
        settings = self.settings
        walk = await follow(
            target,
            dns.rdatatype.from_text(rdtype),
            ConfiguredScope(settings.flatten, frozenset(settings.access.zones)),
            self.asking.resolvers(self.resolvers),
            self.asking.upstream(self.upstream),
        )
        self._patience.note(answered=not walk.silent)
        self._walks[question] = walk

    def _of(self, target: bytes, types: Iterable[str]) -> list[Walk]:
        found = [self._walks.get((target, rdtype)) for rdtype in sorted(types)]
        return [walk for walk in found if walk is not None]

    async def _probe_addresses(self, uses: Sequence[Use]) -> None:
        """Probe each address of targets with health checks once."""
        wanted = {
            (use.rule.health.check, rdata): None for use in uses if use.rule.health for rdata in self._addresses(use)
        }
        if not wanted:
            return
        try:
            probed = await addresses.probe(self.settings, wanted)
        except ConfigError as error:
            self.found += (findings.error(each.key, each.value, each.reason, each.write) for each in error.problems)
            return
        for use in uses:
            if use.rule.health is not None:
                check = use.rule.health.check
                results = [probed[check, rdata] for rdata in self._addresses(use) if (check, rdata) in probed]
                self.found += about_health(use, results)
        if len(wanted) > len(probed):
            what = f"{len(probed)} addresses were probed, {len(wanted) - len(probed)} others were not"
            self.found.append(findings.info("flatten", "", what, "flatproxy_health_up says how each of them is"))

    def _addresses(self, use: Use) -> Iterator[bytes]:
        """Yield the addresses of a target that the guards let through."""
        for walk in self._of(use.target, use.rule.types):
            number = types.number_of(walk.rdtype)
            if walk.found is not None and types.has_addresses(number):
                yield from sift(use.rule.guarding, number, walk.found.rdatas)[0]

    def reports(self) -> Iterator[TargetReport]:
        """Yield each target once, with all its names and walks."""
        uses: dict[bytes, list[Use]] = {}
        for use in uses_of(self.settings):
            uses.setdefault(use.target, []).append(use)
        for target, its in uses.items():
            yield TargetReport(
                target=names.to_text(target),
                names=tuple(names.to_text(name) for use in its for name in use.names),
                walks=tuple(self._of(target, {rdtype for use in its for rdtype in use.rule.types})),
            )
