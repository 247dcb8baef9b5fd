from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import define, field

from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.changes import ChoiceChanged, OffersChanged
from flatproxy.table.ladder import Resolution, Rung
from flatproxy.table.status import statuses
from flatproxy.table.table import Table, question
from flatproxy.wire.types import TYPE_A, TYPE_AAAA
from tests.unit.wire.messages import end_of, query

if TYPE_CHECKING:
    from flatproxy.table.changes import Change
    from flatproxy.table.target import Target

NAME = b"\7example\3com\0"
EU, US = b"\2eu\4test\0", b"\2us\4test\0"
ONE, TWO, THREE = b"\xc0\0\2\1", b"\xc0\0\2\2", b"\xc0\0\2\3"
SIX = bytes(15) + b"\6"
COLD_S = 1.8
CHECK = Check(kind="tcp", port=443)


@define
class World:
    """A table with one name that has two targets, the time, and who is sick."""

    options: dict[str, Any] = field(factory=dict)
    now: float = 1000.0
    sick: set[bytes] = field(factory=set)
    changes: list[Change] = field(factory=list)
    table: Table = field(factory=Table)

    def __attrs_post_init__(self) -> None:
        self.table.feed.subscribe(self.changes.append)
        self.table.sick = lambda _check: self.sick
        self.adopt()

    def adopt(self, **options: Any) -> None:
        options = {"types": frozenset({"A"}), "stale_for_s": 100, "hold_absent_s": 50, **self.options, **options}
        self.rule = Rule(target=EU, targets=(EU, US), special="allow", **options)
        self.table.adopt({NAME: self.rule}, self.now, COLD_S)

    rule: Rule = field(init=False)

    def target(self, name: bytes, rdtype: int = TYPE_A) -> Target:
        return self.table.targets[name, rdtype, self.rule.guarding]

    def answer(self, rdtype: int = TYPE_A) -> TargetAnswer:
        answer = self.table.get(question(NAME, rdtype))
        assert isinstance(answer, TargetAnswer)
        return answer

    def settle(self, name: bytes, *rdatas: bytes, ttl_s: int = 60, rdtype: int = TYPE_A) -> None:
        resolution = Resolution(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), resolved_at=self.now)
        self.target(name, rdtype).settle(resolution, "addresses", 0.0)

    def fail(self, name: bytes, rdtype: int = TYPE_A) -> None:
        self.target(name, rdtype).fail("timeout", "no answer", self.now)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        while self.table.advance(self.now):
            pass

    def judge(self, *sick: bytes) -> None:
        self.sick = set(sick)
        for selection in self.table.selections:
            selection.reconsider(self.now)

    def says(self, rdtype: int = TYPE_A) -> tuple[str, tuple[bytes, ...], int]:
        step = self.answer(rdtype).step(self.now)
        return step.rung.name, step.rdatas, step.ttl_s

    def choices(self) -> list[tuple[int, ...]]:
        return [change.after.targets for change in self.changes if isinstance(change, ChoiceChanged)]


def healthy(**options: Any) -> World:
    return World({"health": Checking(check=CHECK, minimum=0.5), **options})


def replied(world: World, rdtype: int = TYPE_A) -> bytes | None:
    message = query("example.com", "A")
    return world.answer(rdtype).reply(message, end_of(message), world.now, udp=True)


def test_a_name_with_one_target_has_no_selection() -> None:
    table = Table()
    table.adopt({NAME: Rule(target=EU)}, 0.0, COLD_S)
    assert table.selections == []


def test_both_targets_are_resolved_and_the_first_is_answered() -> None:
    world = World()
    assert sorted(key[0] for key in world.table.targets) == [EU, US]
    world.settle(US, TWO)
    world.settle(EU, ONE)
    assert world.says() == ("FRESH", (ONE,), 60)
    assert world.choices() == [(0,)]


def test_the_second_waits_for_the_first_as_long_as_that_is_worth_waiting_for() -> None:
    world = World()
    world.settle(US, TWO)
    assert replied(world) is None
    heard: list[bytes | None] = []
    assert world.answer().wait(world.now, lambda: heard.append(replied(world)))
    assert heard == []
    world.pass_time(COLD_S)
    (reply,) = heard
    assert reply is not None
    assert TWO in reply
    assert not world.answer().wait(world.now, lambda: None)


def test_who_waits_is_answered_once_the_first_is_known() -> None:
    world = World()
    heard: list[bytes | None] = []
    assert world.answer().wait(world.now, lambda: heard.append(replied(world)))
    world.fail(EU)
    assert heard == []  # the second may have something
    world.settle(US, TWO)
    (reply,) = heard
    assert reply is not None
    assert TWO in reply


def test_one_that_has_nothing_is_passed_over_and_used_again() -> None:
    world = World()
    world.settle(EU, ONE)
    world.settle(US, TWO)
    world.settle(EU)
    assert world.says()[:2] == ("FRESH", (TWO,))
    world.settle(EU, THREE)
    assert world.says()[:2] == ("FRESH", (THREE,))
    assert world.choices() == [(0,), (1,), (0,)]


def test_one_that_cannot_be_resolved_is_passed_over_once_its_ttl_is_over() -> None:
    world = World()
    world.settle(EU, ONE, ttl_s=10)
    world.settle(US, TWO)
    world.fail(EU)
    assert world.says()[:2] == ("FRESH", (ONE,))
    world.pass_time(10)
    assert world.says()[:2] == ("FRESH", (TWO,))
    assert world.answer().rung is Rung.FRESH


def test_where_none_resolves_what_is_held_comes_before_what_is_stale() -> None:
    world = World()
    world.settle(EU, ONE, ttl_s=5)
    world.settle(US, TWO, ttl_s=5)
    world.fail(EU)
    world.settle(US, ttl_s=5)
    world.pass_time(6)
    assert world.says() == ("HELD", (TWO,), 30)
    world.pass_time(50)
    assert world.says() == ("STALE", (ONE,), 30)


def test_what_all_targets_say_they_have_not_is_told() -> None:
    world = World()
    world.settle(EU)
    world.settle(US)
    assert world.says()[:2] == ("FRESH", ())
    world = World()
    world.settle(EU)
    world.fail(US)
    assert world.says()[0] == "UPSTREAM"


def test_all_are_answered_together_with_the_least_ttl() -> None:
    world = World({"use": "all"})
    world.settle(EU, ONE, ttl_s=60)
    assert replied(world) is None
    world.settle(US, TWO, ONE, ttl_s=20)
    assert world.says() == ("FRESH", (ONE, TWO), 20)
    world.settle(EU)
    assert world.says()[:2] == ("FRESH", (TWO, ONE))


def test_the_other_type_moves_with_the_choice() -> None:
    world = World({"types": frozenset({"A", "AAAA"})})
    world.settle(EU, ONE)
    world.settle(EU, SIX, rdtype=TYPE_AAAA)
    world.settle(US, TWO)
    world.settle(US, rdtype=TYPE_AAAA)
    assert world.says(TYPE_AAAA)[:2] == ("FRESH", (SIX,))
    world.settle(EU)
    assert world.says()[:2] == ("FRESH", (ONE,)) or world.says()[:2] == ("HELD", (ONE,))
    world.settle(EU, rdtype=TYPE_AAAA)
    assert world.says()[:2] == ("FRESH", (TWO,))
    assert world.says(TYPE_AAAA)[:2] == ("FRESH", ())


def test_a_sick_address_leaves_the_answer_and_the_ttl_is_short() -> None:
    world = healthy()
    world.settle(EU, ONE, TWO, THREE)
    world.settle(US, b"\xc0\0\2\4")
    before = replied(world)
    world.judge(TWO)
    assert world.says() == ("FRESH", (ONE, THREE), 10)
    after = replied(world)
    assert before is not None
    assert after is not None
    assert (before[7], after[7]) == (3, 2)
    world.judge()
    assert world.says() == ("FRESH", (ONE, TWO, THREE), 60)


def test_below_the_minimum_the_next_is_used_and_below_it_everywhere_all_are() -> None:
    world = healthy()
    world.settle(EU, ONE, TWO)
    world.settle(US, THREE)
    world.judge(ONE, TWO)
    assert world.says() == ("FRESH", (THREE,), 10)
    world.judge(ONE, TWO, THREE)
    assert world.says() == ("FRESH", (ONE, TWO), 60)
    assert world.table.selections[0].fails_open
    world.settle(EU)
    world.settle(US)
    world.pass_time(60)  # nothing is held any more
    assert world.says()[1] == ()
    assert not world.table.selections[0].fails_open


def test_the_addresses_of_all_targets_are_offered_also_those_that_are_not_answered() -> None:
    world = healthy()
    world.settle(EU, ONE)
    world.settle(US, TWO)
    (selection,) = world.table.selections
    assert selection.offered == {ONE, TWO}
    assert sum(isinstance(change, OffersChanged) for change in world.changes) == 2
    world.settle(US, TWO)
    assert sum(isinstance(change, OffersChanged) for change in world.changes) == 2
    assert [str(target) for target in selection.targets_with(TWO)] == ["us.test"]


def test_a_reload_is_no_change_of_choice() -> None:
    world = World()
    world.settle(EU)
    world.settle(US, TWO)
    world.changes.clear()
    world.adopt(max_ttl_s=7)
    assert world.says() == ("FRESH", (TWO,), 7)
    assert world.changes == [] or all(isinstance(change, OffersChanged) for change in world.changes)


def test_each_answer_is_counted_once() -> None:
    world = World()
    world.settle(EU, ONE)
    world.settle(US, TWO)
    assert list(world.table.answers) == [world.answer()]
    assert world.table.tally.names[Rung.FRESH] == 1
    (status,) = statuses(world.table, world.now)
    assert (status.target, status.rdatas) == ("eu.test", ("192.0.2.1",))


def test_restored_addresses_are_not_passed_over_before_they_were_asked_for() -> None:
    world = World()
    old = Resolution(rdatas=(ONE,), ttl_s=5, names=("lb.test",), resolved_at=world.now - 50)
    world.target(EU).restore(old, world.now)
    world.settle(US, TWO)
    assert world.says()[:2] == ("STALE", (ONE,))
    world.fail(EU)
    assert world.says()[:2] == ("FRESH", (TWO,))


def test_a_pinned_name_has_no_choice() -> None:
    world = World({"pin": (ip_address("192.0.2.9"),)})
    assert world.table.selections == []
    assert world.says()[:2] == ("PINNED", (b"\xc0\0\2\x09",))
