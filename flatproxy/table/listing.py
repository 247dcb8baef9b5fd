"""Which flagged names there are, worst first, and which of them a text is in. It changes nothing and keeps nothing.

A million names are gone through in pieces of a fraction of a millisecond, for somebody who has a rest after each.
Nothing is sorted: the worst are known by rung, the others come in the configuration's order.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from flatproxy.config.rules import Rule
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.table import Table

    Matches = Callable[[Iterable[bytes]], list[bytes]]

NAMES_A_PIECE = 5_000
_LONGEST_LENGTH = 44
"""Up to this one the octet that says how long a label is can be no letter, digit or hyphen."""
_HIGHEST_LENGTH = 0x3F
_DOTS = bytes(0x2E if each <= _LONGEST_LENGTH or each == 0x2F or 0x3A <= each <= 0x3F else each for each in range(256))


def matching(text: str) -> Matches:
    """Return what keeps those names (wire form) that have this text in them, whatever its letters' case."""
    text = text.lower()
    needle = text.encode().translate(_DOTS)
    dotted, short = b"." in needle, _LONGEST_LENGTH + 2
    # What is within one label: where a piece has it in none of its names, no name of it is looked at.
    rough = max(text.split("."), key=len).encode()
    is_exact = not dotted and min(needle, default=0) > _HIGHEST_LENGTH

    def within(found: Iterable[bytes]) -> list[bytes]:
        found = list(found)
        if rough.translate(_DOTS) == rough and rough not in b"".join(found):
            return []
        if is_exact:
            return [name for name in found if needle in name]
        if dotted:
            return [
                name
                for name in found
                if (needle in name.translate(_DOTS) if len(name) <= short else text in names.to_text(name))
            ]
        return [name for name in found if (needle in name if len(name) <= short else text in names.to_text(name))]

    return within


def worst_first(table: Table, matches: Matches = list) -> Iterator[list[bytes]]:
    """Yield the flagged names that match (wire form), in pieces, some of which may be empty.

    A name is on the worst rung of its types. What moves to another rung meanwhile may come twice or not at all.
    """
    told: dict[int, int] = {}
    """Rules by `id`, and how many names each has."""
    rules = table.rules
    for answers in table.tally.below.values():
        many: dict[int, int] = {}
        left = iter(list(answers))
        while piece := list(islice(left, NAMES_A_PIECE)):
            yield matches(_names(piece, told, many))
        if many:
            yield from _walk(rules, matches, lambda rule, many=many: rule in many, sum(many.values()))  # type: ignore[misc]
    yield from _walk(rules, matches, lambda rule: rule not in told, len(rules) - sum(told.values()))


def _walk(
    rules: Mapping[bytes, Rule], matches: Matches, wanted: Callable[[int], bool], count: int
) -> Iterator[list[bytes]]:
    """Yield those of all names whose rule (by `id`) is wanted; there are so many of them, or about so many."""
    if count >= len(rules):
        quick = iter(rules)
        while found := list(islice(quick, NAMES_A_PIECE)):
            yield matches(found)
    elif count > 0:
        walk = iter(rules.items())
        while rows := list(islice(walk, NAMES_A_PIECE)):
            yield matches([name for name, rule in rows if wanted(id(rule))])


def _names(answers: list[TargetAnswer], told: dict[int, int], many: dict[int, int]) -> list[bytes]:
    """Return the names of these answers whose rule was not told of yet; rules of too many to be known go to `many`."""
    found: list[bytes] = []
    for answer in answers:
        rule = id(answer.rule)
        if rule in told:
            continue
        told[rule] = answer.names
        if answer.names == 1:
            found.append(answer.first_name)
        elif answer.names == 1 + len(answer.others):
            found += (answer.first_name, *answer.others)
        else:
            many[rule] = answer.names
    return found


@define
class Page:
    """The names from one place in a listing on, as it is gone through."""

    first: int
    size: int
    found: list[bytes] = field(factory=list)
    passed: int = 0
    """How many names there were so far."""

    def take(self, piece: list[bytes]) -> bool:
        """Take a piece; tell whether the page is full."""
        start = self.first - self.passed
        self.passed += len(piece)
        if start < len(piece):
            self.found += piece[max(start, 0) : max(start, 0) + self.size - len(self.found)]
        return len(self.found) >= self.size
