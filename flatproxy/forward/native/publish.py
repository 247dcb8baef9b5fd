"""What the packet path in C knows, kept in step with the table: who may ask, what is flagged, answers, zones.

It is prepared and committed with the forwarder, and follows the table's feed. It reads the table and changes nothing.
"""

from __future__ import annotations

from array import array
from ipaddress import collapse_addresses
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from flatproxy.forward.native.signed import SignedAnswers
from flatproxy.forward.native.stages import hinfo_stage, stages_of, stages_of_choice
from flatproxy.table.changes import ChoiceChanged, Failed, HealthChanged, OffersChanged, Refused, RungChanged, Settled
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.config.rules import Rule, Rules
    from flatproxy.config.settings import Access, Settings
    from flatproxy.forward.native import _core
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.changes import Change
    from flatproxy.table.table import Table
    from flatproxy.table.target import Target
    from flatproxy.wire.prefixes import Network

    Key = tuple[Rule | int, int]

ZONES_SHARE: Final = 20
"""All zones are published anew at most for this part of the time: many are found one after the other."""


def ranges(networks: Iterable[Network], version: int) -> bytes:
    """Return first and last addresses of what these networks of one IP version cover, sorted and apart."""
    of_version: list[Any] = [network for network in networks if network.version == version]
    merged = collapse_addresses(of_version)
    return b"".join(network.network_address.packed + network.broadcast_address.packed for network in merged)


class Publisher:
    """Answers by rule and type: they outlive tables, so that a reload leaves those of unchanged rules as they are."""

    def __init__(self, core: Any, table: Table) -> None:  # noqa: ANN401 - the extension
        self._core = core
        self._table = table
        self._answers: dict[Key, _core.Answer] = {}
        self._prepared: tuple[dict[Key, _core.Answer], _core.Table] | None = None
        self._of: dict[TargetAnswer, _core.Answer] = {}
        self._changed: dict[Target, None] = {}
        self._signed = SignedAnswers(table)
        self._zones_changed = True
        self._zones_at = 0.0
        self._zones_version = -1

    def prepare(self, settings: Settings) -> None:
        """Make the table of these settings. The cost is that of the names, and half a second for a million of them."""
        answers: dict[Key, _core.Answer] = {}
        numbers: dict[int, int] = {}
        said: list[tuple[int, tuple[tuple[int, _core.Answer], ...]]] = []
        for group in settings.flatten.groups:
            numbers[id(group.rule)] = len(said)
            said.append((self._handed_over(group.rule), tuple(self._typed(group.rule, answers))))
        self._prepared = answers, self._made(settings.access, settings.flatten, numbers, tuple(said))

    def _handed_over(self, rule: Rule) -> int:
        """Say what Python judges: it knows views, answers by client subnet, and what shadows a reply."""
        if rule.is_rehearsed:
            return int(self._core.HAND_REPLIES)
        if rule.views or (rule.is_tailored and rule.client_subnet == "synthesize"):
            return int(self._core.HAND_ALL)
        return int(self._core.HAND_SUBNETS if rule.is_tailored else self._core.HAND_NOTHING)

    def _typed(self, rule: Rule, answers: dict[Key, _core.Answer]) -> Iterable[tuple[int, _core.Answer]]:
        """Yield each type that a rule answers, be it to one view, and with what."""
        keys: dict[int, Key] = {}
        for each in (rule, *(other for _view, other in rule.views if other is not None)):
            if each.any == "hinfo":
                keys.setdefault(types.TYPE_ANY, (each.max_ttl_s, types.TYPE_ANY))
            for number in map(types.number_of, each.types):
                keys.setdefault(number, (each, number))
        for key in keys.values():
            if key not in answers:
                answers[key] = self._answers.get(key) or self._core.Answer()
            yield key[1], answers[key]

    def _made(self, access: Access, flatten: Rules, numbers: dict[int, int], rules: tuple[Any, ...]) -> _core.Table:
        ipv4, ipv6 = ranges(access.query, 4), ranges(access.query, 6)
        table: _core.Table = self._core.Table(
            names=b"".join(flatten),
            rule_numbers=array("I", map(numbers.__getitem__, map(id, flatten.values()))),
            rules=rules,
            zones=None if names.ROOT in access.zones else b"".join(dict.fromkeys(access.zones)),
            ipv4=ipv4,
            ipv6=ipv6,
            everyone=(ipv4, ipv6) == (bytes(4) + b"\xff" * 4, bytes(16) + b"\xff" * 16),
        )
        return table

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def commit(self, path: _core.Path) -> None:
        """Publish it; the table has adopted the same rules by now."""
        assert self._prepared is not None, "nothing was prepared"
        (answers, table), self._prepared = self._prepared, None
        before, self._answers = self._answers, answers
        mine = ((answer, answers.get((answer.rule, answer.target.rdtype))) for answer in self._table.answers)
        self._of = {answer: said for answer, said in mine if said is not None}
        signed, now = self._signed.forget(), monotonic()
        for answer, said in self._of.items():
            answer.given_elsewhere, answer.signed_here = said.was_asked, self._sign
            key = answer.rule, answer.target.rdtype
            if before.get(key) is not said or answer.selection is not None or key in signed:
                self._say(answer, now)
        for (rule, rdtype), said in answers.items():
            if isinstance(rule, int) and (rule, rdtype) not in before:
                said.say((hinfo_stage(rule),), False)  # noqa: FBT003 - the extension takes it by place
        path.publish(table)
        self._zones_changed, self._zones_at = True, 0.0
        self.follow(path)

    def __call__(self, change: Change) -> None:
        """Tell the path at once what a target was found to be; `follow` tells it of every other change."""
        match change:
            case Settled(target=target):
                self._say_all(target.answers)
            case ChoiceChanged(selection=selection):
                self._say_all(selection.answers)
            case Failed(target=target):
                self._changed[target] = None
            case RungChanged(answer=answer):
                self._changed[answer.target] = None
            case Refused() | OffersChanged() | HealthChanged():
                pass
            case _:
                self._zones_changed = True

    def follow(self, path: _core.Path) -> None:
        """Tell the path what has changed since."""
        self._changed.update(dict.fromkeys(self._signed.outdated(monotonic())))
        changed, self._changed = self._changed, {}
        for target in changed:
            self._say_all(target.answers)
        now = monotonic()
        self._zones_changed |= self._table.zones.version != self._zones_version
        if self._zones_changed and now >= self._zones_at:
            self._zones_changed = False
            path.publish(self._zones())
            self._zones_at = monotonic() + ZONES_SHARE * (monotonic() - now)

    def _say_all(self, answers: Iterable[TargetAnswer]) -> None:
        """Say these answers, and those of other types that depend on the same targets."""
        now = monotonic()
        for answer in answers:
            for each in (answer,) if answer.selection is None else answer.selection.answers:
                self._say(each, now)

    def _say(self, answer: TargetAnswer, now: float) -> None:
        said = self._of.get(answer)
        if said is None:
            return
        # SVCB and HTTPS depend on other targets' addresses, too: Python puts them together. What is held depends on
        # other types, and a text goes with it.
        target, selection = answer.target, answer.selection
        held = answer.held_of(target)
        if selection is not None and not types.is_service(target.rdtype):
            said.say(stages_of_choice(selection, target.rdtype, now), False)  # noqa: FBT003 - as above
        elif target.is_cold(now) or types.is_service(target.rdtype) or (held and now < held.until):
            said.unsay()
        else:
            said.say(stages_of(answer, self._signed.rrsigs(answer, now)), not answer.rule.fallback)

    def _sign(self, answer: TargetAnswer) -> None:
        """Have the path give an answer signed, too, that Python has just given so."""
        if self._signed.add(answer):
            self._changed[answer.target] = None

    def _zones(self) -> _core.Zones:
        zones = self._table.zones
        self._zones_version = zones.version
        apexes = list(dict.fromkeys((*zones.apexes, *zones.signings)))
        facts = tuple((self._dnssec(apex), zones.soa(apex) or b"") for apex in apexes)
        made: _core.Zones = self._core.Zones(b"".join(apexes), facts)
        return made

    def _dnssec(self, apex: bytes) -> int:
        """Say what becomes of DO=1 in a zone: where a key is ours Python signs, or says that it cannot."""
        zones, core = self._table.zones, self._core
        if not zones.is_signed(apex):
            return int(core.DNSSEC_NONE)
        return int(core.DNSSEC_FORWARD if zones.signing_of(apex) is None else core.DNSSEC_SIGN)
