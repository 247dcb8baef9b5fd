from __future__ import annotations

import pytest

from flatproxy.diagnose.text import WIDTH, count, labelled, some, table, wrapped


def test_long_text_hangs_below_its_beginning() -> None:
    lines = list(wrapped("word " * 60, "  label  ", 9))
    assert len(lines) > 2
    assert all(len(line) <= WIDTH for line in lines)
    assert lines[0].startswith("  label  word")
    assert all(line.startswith(" " * 9 + "word") for line in lines[1:])


def test_names_are_not_broken() -> None:
    name = "a-b-" * 40
    assert any(name in line for line in wrapped(f"short {name} short", "", 4))


def test_nothing_to_say_leaves_the_beginning() -> None:
    assert list(wrapped("", "  label  ", 9)) == ["  label"]


def test_labels_line_up() -> None:
    assert [*labelled("TTL", "30 s", at=13), *labelled("answer", "none", at=13)] == [
        "  TTL        30 s",
        "  answer     none",
    ]


def test_columns_line_up_and_empty_ones_take_no_room() -> None:
    rows = [("a.test", "", "CNAME b.test"), ("bb.test", "", "A 192.0.2.1")]
    assert list(table(rows)) == ["  a.test   CNAME b.test", "  bb.test  A 192.0.2.1"]
    assert list(table([])) == []


@pytest.mark.parametrize(("most", "text"), [(3, "a, b, c"), (2, "a, b and 1 more"), (1, "a and 2 more")])
def test_some_of_many(most: int, text: str) -> None:
    assert some(["a", "b", "c"], most) == text


def test_counts() -> None:
    assert [count(number, "error") for number in (0, 1, 2)] == ["0 errors", "1 error", "2 errors"]
