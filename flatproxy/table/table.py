"""The table itself: which answer a question has, and the targets behind the answers.

`adopt` is how the configuration comes in; `advance` is how time does. Everything else changes by targets and zones.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field

from flatproxy.config.guarding import NO_GUARDING
from flatproxy.config.rules import Rules
from flatproxy.table.agenda import Agenda
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.any_answers import AnyAnswer
from flatproxy.table.changes import Feed
from flatproxy.table.selection import Selection
from flatproxy.table.services import ServiceAnswer
from flatproxy.table.shadows import Shadows
from flatproxy.table.tailored import TailoredAnswer, Tailoring
from flatproxy.table.tally import Tally
from flatproxy.table.target import Target
from flatproxy.table.zones import Zones
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from flatproxy.config.rules import Check, Group, Rule
    from flatproxy.table.answers import Answer
    from flatproxy.table.target import TargetKey

    ByRule = dict[int, TargetAnswer | AnyAnswer]

_TYPES = (*(each.number for each in types.FLATTENED), types.TYPE_ANY)

RULES_AT_ONCE = 50
"""Rules or targets that are put in force without a rest."""


def _nothing() -> None:
    """Go on at once."""


def question(name: bytes, rdtype: int) -> bytes:
    """Return a question in wire form, lower case: the key of the table."""
    return name + rdtype.to_bytes(2, "big") + types.CLASS_IN


class Adopted(NamedTuple):
    """The targets that a change of the rules has brought, and those that are needed no more."""

    new: list[Target]
    gone: list[Target]


@define(eq=False)
class _Making:
    """What `adopt` makes, until it is in force."""

    cold_until: float
    by_rule: dict[bytes, ByRule] = field(factory=lambda: {question(b"", number): {} for number in _TYPES})
    shadowed: dict[bytes, ByRule] = field(factory=lambda: {question(b"", number): {} for number in _TYPES})
    viewed: dict[tuple[int, str], Rule | None] = field(factory=dict)
    shared: dict[tuple[Rule, int], TargetAnswer] = field(factory=dict)
    serving: dict[Target, list[TargetAnswer]] = field(factory=dict)
    selections: list[Selection] = field(factory=list)
    hinfos: dict[int, AnyAnswer] = field(factory=dict)
    new: list[Target] = field(factory=list)


@define(eq=False, repr=False)
class Table:
    """It keeps nothing for each name but looks at the rules, which must not change. Equal rules share answers.

    `_by_rule` has, for type and class of a question, the answer of each rule by the rule's `id`.
    """

    feed: Feed = field(factory=Feed)
    wall: Callable[[], float] = lambda: 0.0
    """Returns Unix time, which signatures need; nothing else here does."""
    tally: Tally = field(factory=Tally)
    tailoring: Tailoring = field(factory=Tailoring)
    looks: Agenda[Target] = field(factory=Agenda)
    """When the passing of time changes something of a target."""
    waits: Agenda[Target] = field(factory=Agenda)
    """Until when queries wait for a target: nothing else that is due may hold these up."""
    wanted: deque[Target] = field(factory=deque)
    """Targets that a query waits for, each once: whoever resolves takes these first."""
    targets: dict[TargetKey, Target] = field(factory=dict)
    zones: Zones = field(init=False)
    rules: Mapping[bytes, Rule] = field(factory=Rules)
    shadows: Shadows = field(factory=Shadows)
    _by_rule: dict[bytes, ByRule] = field(factory=dict)
    _shadowed: dict[bytes, ByRule] = field(factory=dict)
    """The same for rules that are only rehearsed."""
    _viewed: dict[tuple[int, str], Rule | None] = field(factory=dict)
    """What a view is answered by in place of a rule (by its `id`)."""
    selections: list[Selection] = field(factory=list)
    """What stands behind the answers of rules with several targets, or with health checks."""
    sick: Callable[[Check], Collection[bytes]] = lambda _check: ()
    """Returns the addresses that fail a check."""
    _pinned: list[Target] = field(factory=list)
    """The targets of names that are pinned: nobody resolves them."""

    def __attrs_post_init__(self) -> None:
        self.zones = Zones(self.feed)

    def get(self, key: bytes, view: str | None = None) -> Answer | None:
        """Return the answer to a question, None where there is none. Called for packets: three look-ups.

        `view` is the client's, None where it is in none.
        """
        rule = self.rules.get(key[:-4])
        if rule is not None and view is not None:
            rule = self._viewed.get((id(rule), view), rule)
        if rule is None:
            return None
        by_rule = self._by_rule.get(key[-4:])
        return None if by_rule is None else by_rule.get(id(rule))

    def rehearsed(self, key: bytes, view: str | None = None) -> TargetAnswer | None:
        """Return what would be answered to a question that is only rehearsed, None to any other."""
        rule = self.rules.get(key[:-4])
        if rule is not None and view is not None:
            rule = self._viewed.get((id(rule), view), rule)
        found = self._shadowed.get(key[-4:], {}).get(id(rule)) if rule is not None else None
        return found if isinstance(found, TargetAnswer) else None

    def answer_of(self, key: bytes, view: str | None = None) -> Answer | None:
        """Return the answer to a question, be it only a rehearsed one."""
        return self.get(key, view) or self.rehearsed(key, view)

    @property
    def answers(self) -> Iterator[TargetAnswer]:
        """Every answer that has a target, once."""
        for target in (*self.targets.values(), *self._pinned):
            yield from (answer for answer in target.answers if answer.target is target)

    def adopt(
        self, rules: Mapping[bytes, Rule], now: float, cold_s: float, rest: Callable[[], None] = _nothing
    ) -> Adopted:
        """Answer by these rules from now on; a new target is cold for `cold_s` seconds.

        What is known of targets stays. The cost is that of the distinct rules; `rest` is called between pieces.
        """
        groups = (rules if isinstance(rules, Rules) else Rules(rules)).groups
        made = _Making(now + cold_s)
        self._pinned = []
        for number, group in enumerate(groups):
            if number % RULES_AT_ONCE == 0:
                rest()
            self._add(made, group, group.rule, None)
            for view, rule in group.rule.views:
                made.viewed[id(group.rule), view] = rule
                if rule is not None:
                    self._add(made, group, rule, view)
        self.rules, self._by_rule, self._viewed = rules, made.by_rule, made.viewed
        self._shadowed = made.shadowed if any(made.shadowed.values()) else {}
        self.shadows.begin(any_=bool(self._shadowed))
        self.selections = made.selections
        return Adopted(made.new, self._serve(made.serving, now, rest))

    def _add(self, made: _Making, group: Group, rule: Rule, view: str | None) -> None:
        """Make the answers of a rule that the names of a group have, be it for one view only."""
        numbers = sorted(map(types.number_of, rule.types))
        if (rule, numbers[0]) not in made.shared:
            places = [
                {number: self._target_of(name, rule, number, made) for number in numbers}
                for name in (rule.all_targets if rule.needs_choice else (rule.target,))
            ]
            answers = [self._answer_of(places[0][number], rule, group.first, view) for number in numbers]
            if rule.needs_choice:
                made.selections.append(self._selection_of(rule, places, answers, view))
            for number, answer in zip(numbers, answers, strict=True):
                answer.stand_beside(tuple(other for other in answers if other is not answer))
                made.shared[rule, number] = answer
                for place in places:
                    made.serving.setdefault(place[number], []).append(answer)
        for number in numbers:
            answer = made.shared[rule, number]
            if view is None:
                answer.share(group)
            (made.shadowed if rule.shadow else made.by_rule)[question(b"", number)][id(rule)] = answer
        if rule.any == "hinfo" and not rule.shadow:
            ttl_s = rule.max_ttl_s
            any_answer = made.hinfos.setdefault(ttl_s, AnyAnswer(ttl_s, self))
            made.by_rule[question(b"", types.TYPE_ANY)][id(rule)] = any_answer

    def _selection_of(
        self, rule: Rule, places: list[dict[int, Target]], answers: list[TargetAnswer], view: str | None
    ) -> Selection:
        """Return what chooses for new answers, with the choice of those before: a reload is no change."""
        selection = Selection(rule, tuple(places), self, answers)
        before = self.answer_of(question(answers[0].first_name, answers[0].target.rdtype), view)
        if isinstance(before, TargetAnswer) and before.selection and before.rule.all_targets == rule.all_targets:
            selection.said = before.selection.said
        for answer in answers:
            answer.selection = selection
        return selection

    def _target_of(self, name: bytes, rule: Rule, rdtype: int, made: _Making) -> Target:
        if rule.pin:
            self._pinned.append(Target(name, rdtype, self, float("-inf")))
            return self._pinned[-1]
        # Guards are for addresses: what stands in records of other types is held to these when it is answered.
        guarding = rule.guarding if types.has_addresses(rdtype) else NO_GUARDING
        key = name, rdtype, guarding
        target = self.targets.get(key)
        if target is None:
            target = self.targets[key] = Target(name, rdtype, self, made.cold_until, guarding)
            made.new.append(target)
        return target

    def _answer_of(self, target: Target, rule: Rule, first_name: bytes, view: str | None) -> TargetAnswer:
        """Return a new answer, with the rung of the one before for that name: a reload is no change of rung."""
        before = self.answer_of(question(first_name, target.rdtype), view)
        kind = TailoredAnswer if rule.is_tailored else TargetAnswer
        kind = ServiceAnswer if types.is_service(target.rdtype) else kind
        return kind(target, rule, first_name, said=before.said if isinstance(before, TargetAnswer) else None)

    def _serve(self, serving: dict[Target, list[TargetAnswer]], now: float, rest: Callable[[], None]) -> list[Target]:
        """Put the answers in force, and forget and return the targets that none of them needs."""
        self.tally.clear()
        gone = [target for target in self.targets.values() if target not in serving]
        for target in gone:
            del self.targets[target.key]
            self.tailoring.subnets.forget(target)
            target.serve((), now)
        for number, (target, answers) in enumerate(serving.items()):
            if number % RULES_AT_ONCE == 0:
                rest()
            target.serve(answers, now)
        return gone

    def holds(self, target: Target) -> bool:
        """Tell whether a target is still needed: a reload may have dropped it, and another may stand in its place."""
        return self.targets.get(target.key) is target

    def advance(self, now: float) -> bool:
        """Put right one target that the passing of time has changed; tell whether there was one."""
        target = self.waits.next_due(now) or self.looks.next_due(now)
        if target is None:
            return False
        target.look(now)
        return True

    @property
    def soonest(self) -> float:
        """When `advance` may next find something to do."""
        return min(self.waits.soonest, self.looks.soonest)
