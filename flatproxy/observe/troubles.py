"""What is wrong now, and since when: the one source of `/readyz`, the pages and `check`, and of the alerts' words.

It judges what is known and asks nobody. It must cost little, however many names there are: what is listed is bounded.
"""

from __future__ import annotations

from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Final

from attrs import define, evolve, field, frozen

from flatproxy.observe.recent import DOWN, UP
from flatproxy.table import status
from flatproxy.table.ladder import Rung
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.observe.history import LastChanges
    from flatproxy.observe.running import Running
    from flatproxy.table.answers import TargetAnswer

LISTED: Final = 10
"""Troubles of one kind that are told one by one; the others are counted."""
TRIED: Final = 200
"""Names or targets that are looked at for a kind of trouble that nobody keeps count of."""

# The words, by what they are about; the summaries of config/prometheus/alerts.yml are the same ones.
NOT_LISTENING: Final = "not listening"
NO_NAMESERVER: Final = "no upstream nameserver answers"
NAMESERVER_DOWN: Final = "nameserver {server} does not answer"
NAMESERVER_FAILING: Final = "nameserver {server} answers SERVFAIL to everything"
RESOLVER_DOWN: Final = "resolver {server} does not answer"
UNRESOLVED: Final = "{name} {type} is not resolved yet"
BY_RUNG: Final = {
    Rung.HELD: "the target of {name} has no {type} any more",
    Rung.STALE: "{name} {type} is answered with old addresses",
    Rung.FALLBACK: "{name} {type} is answered with its fallback addresses",
    Rung.UPSTREAM: "{name} {type} is answered by the nameserver's own record",
}
PINNED: Final = "{name} {type} has been pinned for a day"
NO_ADDRESS: Final = "the target of {name} has no address"
UNRESOLVABLE: Final = "{target} {type} cannot be resolved: {reason}"
RELOAD_FAILED: Final = "the configuration could not be loaded"
STATE_FAILS: Final = "the state file cannot be used"
UNSIGNABLE: Final = "{zone} is signed with DNSSEC, and no key of flatproxy is active there"
NO_PLACEHOLDER: Final = "{name} has no {type} record in its signed zone"
SICK: Final = "{address} of {name} fails its checks"
FAILING_OPEN: Final = "too few addresses of {name} are well: all of them are answered"
WRITTEN_ELSEWHERE: Final = "somebody else has written {name}"

ERROR: Final = "error"
"""Clients get wrong addresses or none, or will soon."""
WARNING: Final = "warning"
"""It works, but not for ever."""
DAY_S: Final = 86_400.0
_SEVERE = {Rung.FALLBACK, Rung.UPSTREAM}


@frozen(kw_only=True)
class Trouble:
    """One thing that is wrong; `since` is Unix time. What `blocks` keeps the service from being ready."""

    severity: str
    what: str
    blocks: bool = False
    since: float = 0.0
    after_s: float = 0.0
    """It is told once it has lasted for so long."""
    key: str = ""
    """What tells it apart from others where its words change while it lasts, empty where they do not."""


@define(eq=False)
class Troubles:
    """Those of one service. `look` is to be called about once a second: it is how times become known."""

    running: Running
    history: LastChanges
    _since: dict[str, float] = field(factory=dict)

    def look(self) -> list[Trouble]:
        """Return what is wrong now, errors first."""
        wall = self.running.wall()
        known, self._since = self._since, {}
        found: list[Trouble] = []
        for trouble in (*self.blocking(), *self._others()):
            key = trouble.key or trouble.what
            since = self._since[key] = known.get(key, wall)
            if wall - since >= trouble.after_s:
                found.append(evolve(trouble, since=since))
        return sorted(found, key=lambda trouble: trouble.severity != ERROR)

    def blocking(self) -> Iterator[Trouble]:
        """Yield what keeps it from being ready."""
        running = self.running
        if not running.listening():
            yield Trouble(severity=ERROR, what=NOT_LISTENING, blocks=True)
        if not any(server.has_answered for server in running.servers()):
            yield Trouble(severity=ERROR, what=NO_NAMESERVER, blocks=True)
        yield from _each(running.table.tally.cold, UNRESOLVED, WARNING, blocks=True)

    def _others(self) -> Iterator[Trouble]:
        yield from self._servers()
        yield from self._names()
        yield from self._zones()
        yield from self._health()
        for name in islice(self.running.sync_conflicts(), LISTED):
            yield Trouble(severity=WARNING, what=WRITTEN_ELSEWHERE.format(name=name))
        if not self.running.reload().success:
            yield Trouble(severity=WARNING, what=RELOAD_FAILED)
        if self.running.state_fails():
            yield Trouble(severity=WARNING, what=STATE_FAILS)

    def _servers(self) -> Iterator[Trouble]:
        for server in self.running.servers():
            if server.state != UP:
                words = NAMESERVER_DOWN if server.state == DOWN else NAMESERVER_FAILING
                yield Trouble(severity=WARNING, what=words.format(server=server.endpoint))
        for resolver in self.running.resolvers():
            if resolver.state != UP:
                yield Trouble(severity=WARNING, what=RESOLVER_DOWN.format(server=resolver.endpoint))

    def _names(self) -> Iterator[Trouble]:
        """Yield what is wrong with flagged names, by rung, and with their targets."""
        table = self.running.table
        for rung, answers in table.tally.below.items():
            if rung in BY_RUNG:
                yield from _each(_warm(answers, table.tally.cold), BY_RUNG[rung], ERROR if rung in _SEVERE else WARNING)
        yield from _each(table.tally.below[Rung.PINNED], PINNED, WARNING, after_s=DAY_S)
        for target, reason in islice(self.history.failing.items(), LISTED):
            if table.holds(target):
                what = UNRESOLVABLE.format(target=target, type=target.type_text, reason=reason)
                yield Trouble(severity=WARNING, what=what, key=f"{target} {target.type_text}")
        for name in islice(self._without_address(), LISTED):
            yield Trouble(severity=ERROR, what=NO_ADDRESS.format(name=names.to_text(name)))

    def _without_address(self) -> Iterator[bytes]:
        """Yield flagged names whose target is known to have none, some where there are very many."""
        table, now, told = self.running.table, self.running.now(), set[bytes]()
        for target in islice(self.history.empty, TRIED):
            for answer in target.answers:
                if answer.first_name in told:
                    continue
                told.add(answer.first_name)
                found = [each for view, _answer, each in status.of_name(table, answer.first_name, now) if view is None]
                if all(each.absent for each in found if types.has_addresses(types.number_of(each.rdtype))):
                    yield answer.first_name

    def _zones(self) -> Iterator[Trouble]:
        zones = self.running.table.zones
        for apex in islice(zones.signed, LISTED):
            signing = zones.signings.get(apex)
            if signing is None or not signing.keys.signers:
                yield Trouble(severity=WARNING, what=UNSIGNABLE.format(zone=names.to_text(apex)))
        for name, rdtype in islice(status.placeholders_missing(self.running.table), LISTED):
            yield Trouble(severity=WARNING, what=NO_PLACEHOLDER.format(name=name, type=rdtype))

    def _health(self) -> Iterator[Trouble]:
        """Yield names that fail open, then sick addresses. Without one of these no name does, and none is looked at."""
        sick = [each for each in islice(self.running.checked_addresses(), LISTED) if not each.is_well]
        for name, fails in islice(self.running.failing_open(), LISTED) if sick else ():
            if fails:
                yield Trouble(severity=ERROR, what=FAILING_OPEN.format(name=names.to_text(name)))
        for each in sick:
            what = SICK.format(address=ip_address(each.address), name=names.to_text(each.name))
            yield Trouble(severity=WARNING, what=what)


def _warm(answers: Mapping[TargetAnswer, None], cold: Mapping[TargetAnswer, None]) -> Mapping[TargetAnswer, None]:
    """Return those whose first resolution is over, or some of them where very many are not."""
    if not cold:
        return answers
    return {answer: None for answer in islice(answers, TRIED) if answer not in cold}


def _each(
    answers: Mapping[TargetAnswer, None], words: str, severity: str, *, blocks: bool = False, after_s: float = 0.0
) -> Iterator[Trouble]:
    """Yield a trouble for each answer, the first of its names standing for all, and one that counts those above."""
    for answer in islice(answers, LISTED):
        others = f" (and {answer.names - 1} more names)" if answer.names > 1 else ""
        what = words.format(name=names.to_text(answer.first_name) + others, type=answer.target.type_text)
        yield Trouble(severity=severity, what=what, blocks=blocks, after_s=after_s)
    if len(answers) > LISTED:
        what = words.format(name="each of", type=f"{len(answers) - LISTED} more")
        yield Trouble(severity=severity, what=what, blocks=blocks, after_s=after_s, key=words)
