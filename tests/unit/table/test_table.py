from __future__ import annotations

from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from flatproxy.config.rules import NAMES_KEPT, Rule, Rules
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.changes import Failed, RungChanged, Settled
from flatproxy.table.ladder import Resolution, Rung
from flatproxy.table.status import not_fresh, statuses
from flatproxy.table.table import RULES_AT_ONCE, Table, question
from flatproxy.wire.types import TYPE_A, TYPE_AAAA, TYPE_ANY

if TYPE_CHECKING:
    from flatproxy.table.changes import Change
    from flatproxy.table.target import Target

NAME = b"\7example\3com\0"
SHOP = b"\4shop" + NAME
LB = b"\2lb\4test\0"
ONE, TWO = b"\xc0\0\2\1", b"\xc0\0\2\2"
ONLY_A = frozenset({"A"})
RULE = Rule(target=LB, types=ONLY_A, stale_for_s=100)


def table_of(*names: bytes, rule: Rule = RULE, now: float = 1000.0) -> Table:
    table = Table()
    table.adopt(dict.fromkeys(names, rule), now, 1.8)
    return table


def found(*rdatas: bytes, at: float = 1000.0, ttl_s: int = 60) -> Resolution:
    return Resolution(rdatas=rdatas, ttl_s=ttl_s, names=("lb.test",), resolved_at=at)


def target_of(table: Table) -> Target:
    return table.targets[LB, TYPE_A, RULE.guarding]


def answer_of(table: Table, name: bytes = NAME, rdtype: int = TYPE_A) -> TargetAnswer:
    answer = table.get(question(name, rdtype))
    assert isinstance(answer, TargetAnswer)
    return answer


def counted(table: Table) -> dict[str, int]:
    return {rung.name.lower(): count for rung, count in table.tally.names.items() if count}


def pass_time(table: Table, now: float) -> int:
    """Let the table take note of the time; return of how many targets it did so."""
    looks = 0
    while table.advance(now):
        looks += 1
    return looks


class TestQuestions:
    def test_equal_rules_share_an_answer(self) -> None:
        table = Table()
        table.adopt({NAME: RULE, SHOP: Rule(target=LB, types=ONLY_A, stale_for_s=100)}, 0.0, 1.8)
        shared = answer_of(table)
        assert shared is answer_of(table, SHOP)
        assert (shared.names, shared.first_name, shared.others) == (2, NAME, (SHOP,))

    def test_names_of_one_rule_cost_one_target(self) -> None:
        table = table_of(*(bytes([1, 97 + number]) + NAME for number in range(20)), rule=Rule(target=LB))
        assert sorted(key[:2] for key in table.targets) == [(LB, TYPE_A), (LB, TYPE_AAAA)]
        assert [answer.names for answer in table.answers] == [20, 20]

    def test_types_and_any_are_as_the_rule_says(self) -> None:
        table = table_of(NAME, rule=Rule(target=LB, types=frozenset({"AAAA"}), any="forward"))
        asked = (TYPE_A, TYPE_AAAA, TYPE_ANY)
        assert [table.get(question(NAME, rdtype)) is not None for rdtype in asked] == [False, True, False]
        assert table_of(NAME).get(question(NAME, TYPE_ANY)) is not None

    def test_no_other_question_has_an_answer(self) -> None:
        table, key = table_of(NAME), question(NAME, TYPE_A)
        others = [
            question(NAME, TYPE_AAAA),
            question(NAME, 15),
            question(SHOP, TYPE_A),
            key[:-2] + b"\0\3",
            key[1:],
            b"",
        ]
        assert table.get(key) is not None
        assert [other for other in others if table.get(other) is not None] == []


class TestReload:
    def test_what_is_known_stays(self) -> None:
        table = table_of(NAME)
        target_of(table).settle(found(ONE), "addresses", 0.0)
        assert table.adopt({NAME: RULE, SHOP: RULE}, 1001.0, 1.8) == ([], [])
        assert answer_of(table).step(1001.0).rdatas == (ONE,)
        assert counted(table) == {"fresh": 2}

    def test_new_targets_are_returned_and_old_ones_forgotten(self) -> None:
        table, other = table_of(NAME), b"\5other\4test\0"
        before = target_of(table)
        called: list[bool] = []
        assert before.wait(1000.0, lambda: called.append(True))
        (new,), gone = table.adopt({NAME: Rule(target=other, types=ONLY_A)}, 1000.0, 1.8)
        assert gone == [before]
        assert (new.name, [key[:2] for key in table.targets], called) == (other, [(other, TYPE_A)], [True])
        assert not table.holds(before)
        assert table.holds(new)
        assert (counted(table), len(table.tally.cold), table.tally.waiting) == ({"upstream": 1}, 1, 0)

    def test_it_is_no_change_of_rung(self) -> None:
        table = table_of(NAME)
        target_of(table).settle(found(ONE), "addresses", 0.0)
        pass_time(table, 1060.0)
        seen: list[Change] = []
        table.feed.subscribe(seen.append)
        table.adopt({NAME: RULE}, 1061.0, 1.8)
        assert (seen, counted(table)) == ([], {"stale": 1})

    def test_a_rule_that_changes_the_rung_is_one(self) -> None:
        table = table_of(NAME)
        target_of(table).settle(found(ONE), "addresses", 0.0)
        pass_time(table, 1060.0)
        seen: list[Change] = []
        table.feed.subscribe(seen.append)
        table.adopt({NAME: Rule(target=LB, types=ONLY_A, stale_for_s=0)}, 1061.0, 1.8)
        (change,) = seen
        assert isinstance(change, RungChanged)
        assert (change.before, change.after) == (Rung.STALE, Rung.UPSTREAM)


class TestTarget:
    def test_each_change_is_published_once(self) -> None:
        table = table_of(NAME)
        seen: list[Change] = []
        table.feed.subscribe(seen.append)
        target = target_of(table)
        target.settle(found(ONE), "addresses", 77.0)
        target.settle(found(ONE, at=1050.0), "addresses", 88.0)
        target.fail("timeout", "nobody answers", 1100.0)
        assert [type(change) for change in seen] == [Settled, RungChanged, Settled, Failed]
        assert [change.is_new for change in seen if isinstance(change, Settled)] == [True, False]
        assert (target.changed_at, target.failures) == (77.0, 1)
        assert target.outcomes == {"addresses": 2, "timeout": 1}

    def test_a_subscribers_fault_stops_nobody(self) -> None:
        table = table_of(NAME)
        seen: list[Change] = []

        def faulty(change: Change) -> None:
            raise ValueError(change)

        table.feed.subscribe(faulty)
        table.feed.subscribe(seen.append)
        target_of(table).settle(found(ONE), "addresses", 0.0)
        assert len(seen) == 2
        assert counted(table) == {"fresh": 1}

    def test_what_was_known_before_a_restart_is_taken_where_nothing_newer_is(self) -> None:
        table = table_of(NAME)
        target = target_of(table)
        target.restore(found(ONE, at=900.0), 1000.0)
        assert (answer_of(table).rung, table.tally.cold) == (Rung.STALE, {})
        target.settle(found(TWO), "addresses", 0.0)
        target.restore(found(ONE, at=999.0), 1000.0)
        assert answer_of(table).step(1000.0).rdatas == (TWO,)

    def test_a_failure_calls_back_who_waits(self) -> None:
        table, called = table_of(NAME), []
        assert answer_of(table).wait(1000.0, lambda: called.append(1))
        assert table.tally.waiting == 1
        target_of(table).fail("timeout", "nobody answers", 1000.5)
        assert (called, table.tally.waiting, table.tally.cold) == ([1], 0, {})


class TestTime:
    def test_rungs_are_counted_and_published_as_time_passes(self) -> None:
        table = table_of(
            NAME, SHOP, rule=Rule(target=LB, types=ONLY_A, stale_for_s=100, fallback=(ip_address("192.0.2.9"),))
        )
        target_of(table).settle(found(ONE), "addresses", 0.0)
        seen: list[Change] = []
        table.feed.subscribe(seen.append)
        counts = []
        for now in (1059.9, 1060.0, 1159.9, 1160.0, 2000.0):
            pass_time(table, now)
            counts.append(counted(table))
        assert counts == [{"fresh": 2}, {"stale": 2}, {"stale": 2}, {"fallback": 2}, {"fallback": 2}]
        assert [change.after for change in seen if isinstance(change, RungChanged)] == [Rung.STALE, Rung.FALLBACK]

    def test_a_cold_target_lets_go_who_waits_when_it_took_too_long(self) -> None:
        table, called = table_of(NAME), []
        assert answer_of(table).wait(1000.0, lambda: called.append(1))
        pass_time(table, 1001.7)
        assert (called, len(table.tally.cold)) == ([], 1)
        pass_time(table, 1001.8)
        assert (called, len(table.tally.cold)) == ([1], 0)

    def test_a_cold_answer_is_counted_and_not_published(self) -> None:
        table = table_of(NAME)
        seen: list[Change] = []
        table.feed.subscribe(seen.append)
        pass_time(table, 1001.0)
        assert (seen, counted(table), list(table.tally.below[Rung.UPSTREAM])) == (
            [],
            {"upstream": 1},
            [answer_of(table)],
        )
        pass_time(table, 1002.0)
        (change,) = seen
        assert isinstance(change, RungChanged)
        assert (change.before, change.after) == (None, Rung.UPSTREAM)

    def test_who_waits_is_let_go_before_anything_else(self) -> None:
        table, called = Table(), []
        names = [bytes((1, number, 0)) for number in range(100)]
        table.adopt({name: Rule(target=name, types=ONLY_A) for name in names}, 1000.0, 1.8)
        assert answer_of(table, names[-1]).wait(1001.0, lambda: called.append(1))
        assert table.advance(1001.8)
        assert (called, len(table.tally.cold)) == ([1], 99)

    def test_only_what_is_due_is_looked_at(self) -> None:
        """However many targets there are, and however many of them are not fresh."""
        table = Table()
        rules = {bytes([2, 97 + number // 26, 97 + number % 26, 0]): number for number in range(600)}
        table.adopt(
            {name: Rule(target=name, types=ONLY_A, stale_for_s=100 + number) for name, number in rules.items()},
            1000.0,
            1.8,
        )
        for target in table.targets.values():
            target.settle(found(ONE), "addresses", 0.0)
        assert pass_time(table, 1060.0) == 600
        assert counted(table) == {"stale": 600}
        assert [pass_time(table, now) for now in (1060.0, 1100.0, 1159.9, 1160.0, 1161.0, 1163.0)] == [0, 0, 0, 1, 1, 2]

    def test_a_refresh_moves_the_next_look(self) -> None:
        table = table_of(NAME)
        target = target_of(table)
        target.settle(found(ONE), "addresses", 0.0)
        target.settle(found(ONE, at=1050.0), "addresses", 0.0)
        assert pass_time(table, 1109.9) == 0
        target.settle(found(ONE, at=1051.0, ttl_s=5), "addresses", 0.0)
        assert pass_time(table, 1056.0) == 1
        assert counted(table) == {"stale": 1}


class TestStatus:
    @pytest.mark.parametrize(
        ("now", "rung", "left", "addresses"),
        [(1010.0, "fresh", 50.0, 3), (1070.0, "stale", 0.0, 3), (1000.0 + 60 + 100, "upstream", 0.0, 0)],
    )
    def test_it_says_what_is_answered(self, now: float, rung: str, left: float, addresses: int) -> None:
        table = table_of(NAME)
        target_of(table).settle(found(ONE, TWO, b"\xc0\0\2\3"), "addresses", 0.0)
        (status,) = statuses(table, now)
        assert (status.name, status.rdtype, status.target, status.chain) == (
            "example.com",
            "A",
            "lb.test",
            ("lb.test",),
        )
        assert (status.rung, status.ttl_left_s, len(status.rdatas)) == (rung, left, addresses)
        assert (status.age_s, status.stale_left_s) == ((now - 1000, 1160 - now) if addresses else (None, None))

    def test_names_that_are_not_fresh_are_found_without_the_others(self) -> None:
        table, other = Table(), b"\5other\4test\0"
        table.adopt({NAME: RULE, SHOP: Rule(target=other, types=ONLY_A), b"\1w" + SHOP: RULE}, 1000.0, 1.8)
        table.targets[other, TYPE_A, RULE.guarding].settle(found(ONE), "addresses", 0.0)
        assert [status.name for status in not_fresh(table, 1000.0)] == ["example.com", "w.shop.example.com"]
        target_of(table).settle(found(ONE), "addresses", 0.0)
        assert list(not_fresh(table, 1000.0)) == []

    def test_of_many_names_with_one_answer_so_many_are_shown(self) -> None:
        rules = Rules(dict.fromkeys((number.to_bytes(3, "big") for number in range(3_000)), RULE))
        table = Table()
        table.adopt(rules, 1000.0, 1.8)
        assert sum(1 for _ in not_fresh(table, 1000.0)) == NAMES_KEPT + 1
        assert counted(table) == {"upstream": 3_000}


def test_many_rules_are_put_in_force_with_rests_and_answer_meanwhile() -> None:
    """A reload of a hundred thousand targets must not make packets wait for all of them."""

    def rules(count: int) -> dict[bytes, Rule]:
        labels = [b"\4" + f"{number:04}".encode() for number in range(count)]
        return {label + NAME: Rule(target=label + LB, types=ONLY_A) for label in labels}

    table = Table()
    table.adopt(rules(26), 0.0, 1.8)
    rests: list[object] = []
    many = rules(500)
    table.adopt(many, 1.0, 1.8, lambda: rests.append(table.get(question(b"\0040001" + NAME, TYPE_A))))
    assert len(rests) >= 2 * len(many) // RULES_AT_ONCE
    assert None not in rests


class TestGuards:
    BOTH = Rule(target=LB)

    def answers(self, table: Table) -> tuple[TargetAnswer, TargetAnswer]:
        return answer_of(table), answer_of(table, rdtype=TYPE_AAAA)

    def test_targets_with_other_guards_are_others(self) -> None:
        open_rule = evolve(self.BOTH, special="allow")
        table = Table()
        table.adopt(
            {NAME: self.BOTH, b"\1a" + NAME: open_rule, b"\1b" + NAME: evolve(open_rule, max_ttl_s=9)}, 0.0, 1.8
        )
        assert len(table.targets) == 4

    def test_a_family_that_goes_alone_is_held_until_the_other_was_asked(self) -> None:
        table = table_of(NAME, rule=self.BOTH)
        v4, v6 = self.answers(table)
        v4.target.settle(found(ONE), "addresses", 0.0)
        v6.target.settle(found(bytes(16)), "addresses", 0.0)
        v4.target.settle(found(at=1030.0), "nodata", 0.0)
        assert (v4.rung, v4.step(1030.0).rdatas) == (Rung.HELD, (ONE,))
        v6.target.settle(found(bytes(16), at=1030.1), "addresses", 0.0)
        assert (v4.rung, v4.step(1030.2).rdatas) == (Rung.FRESH, ())

    def test_what_is_held_ends_on_time(self) -> None:
        table = table_of(NAME, rule=evolve(self.BOTH, hold_absent_s=50))
        v4, _ = self.answers(table)
        v4.target.settle(found(ONE), "addresses", 0.0)
        v4.target.settle(found(at=1010.0), "nxdomain", 0.0)
        while table.advance(1059.9):
            pass
        assert table.tally.names[Rung.HELD] == 1
        while table.advance(1060.0):
            pass
        assert (table.tally.names[Rung.HELD], v4.rung) == (0, Rung.FRESH)

    def test_a_pinned_name_has_no_target_to_resolve(self) -> None:
        table = table_of(NAME, rule=evolve(self.BOTH, pin=(IPv4Address("192.0.2.9"),)))
        v4, v6 = self.answers(table)
        assert (table.targets, table.tally.cold) == ({}, {})
        assert (v4.rung, v4.step(1000.0).rdatas, v6.step(1000.0).rdatas) == (Rung.PINNED, (b"\xc0\0\2\x09",), ())
        assert table.tally.names[Rung.PINNED] == 2
        assert list(table.answers) == [v4, v6]


class TestViews:
    def test_a_view_has_its_own_answer_or_none(self) -> None:
        other = Rule(target=b"\5other\4test\0", types=ONLY_A)
        table = table_of(NAME, rule=evolve(RULE, views=(("inside", None), ("branch", other))))
        own, branch = table.get(question(NAME, TYPE_A)), table.get(question(NAME, TYPE_A), "branch")
        assert isinstance(branch, TargetAnswer)
        assert (branch.rule, branch is own) == (other, False)
        assert table.get(question(NAME, TYPE_A), "inside") is None
        assert table.get(question(NAME, TYPE_A), "elsewhere") is own
        assert (sum(table.tally.names.values()), len(table.tally.cold)) == (1, 1), "a view is no name of its own"
