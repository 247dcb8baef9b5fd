"""What the table notes of who is asked for: nothing on a query's path, but what can be seen later."""

from __future__ import annotations

import dns.message

from flatproxy.config.rules import Rule
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table, question
from flatproxy.wire.peek import question_end

NAME, LB = b"\7example\3com\0", b"\2lb\4test\0"
RULES = {NAME: Rule(target=LB, types=frozenset({"A"}))}
FOUND = Resolution(rdatas=(b"\xc0\0\2\1",), ttl_s=60, names=("lb.test",), resolved_at=0.0)


def made() -> tuple[Table, TargetAnswer]:
    table = Table()
    table.adopt(RULES, 0.0, 1.8)
    answer = table.get(question(NAME, 1))
    assert isinstance(answer, TargetAnswer)
    return table, answer


def test_a_target_was_asked_for_once_it_has_answered() -> None:
    _table, answer = made()
    query = dns.message.make_query("example.com", "A").to_wire()
    answer.target.settle(FOUND, "addresses", 0.0)
    assert not answer.target.was_asked()
    assert answer.reply(query, question_end(query), 1.0, udp=True)
    assert answer.target.was_asked()
    assert not answer.target.was_asked()
    assert answer.reply(query, question_end(query), 1.0, udp=True), "one that is kept ready"
    assert answer.target.was_asked()


def test_a_reload_is_no_question() -> None:
    table, answer = made()
    table.adopt(dict(RULES), 1.0, 1.8)
    assert not answer.target.was_asked()


def test_the_first_query_that_waits_names_its_target() -> None:
    table, answer = made()
    assert list(table.wanted) == []
    for _ in range(3):
        assert answer.wait(0.5, lambda: None)
    assert list(table.wanted) == [answer.target]
