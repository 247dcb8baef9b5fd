"""Lines of name and target as most of a million are: only the first label is new. What they cost counts.

Whatever is not plain, new or wrong is left to `flagged`, which says what it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from attrs import define, field

from flatproxy.config import names
from flatproxy.wire.names import enclosing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flatproxy.config.rules import Rule

    Quick = Callable[
        [str, int, frozenset[bytes], dict[str, Rule], dict[bytes, bytes], dict[bytes, str], dict[bytes, Rule]], int
    ]
    """What takes plain lines in C: of an ASCII text, from a place on, up to the place that it returns."""

_MOST_SUFFIXES: Final = 10_000
_LONGEST: Final = 255
_LABEL: Final = re.compile(r"[A-Za-z0-9_-]{1,63}")
_LENGTHS: Final = tuple(bytes((length,)) for length in range(64))


@define
class PlainLines:
    """What was learned of the lines before."""

    targets: dict[str, Rule]
    """The rule of each target, as it is written."""
    known: dict[bytes, bytes]
    """Names that are to be the same objects as before; those that are read are taken out."""
    wrong: dict[bytes, str]
    """Names that were read and have no rule."""
    rules: dict[bytes, Rule]
    quick: Quick | None = None
    """None where there is nothing in C."""
    _suffixes: dict[str, bytes] = field(factory=dict)
    """What may follow any first label, as it is written: a plain name in a served zone."""

    def learn(self, name: str, wire: bytes, zones: frozenset[bytes]) -> None:
        """Take note of what follows the first label of a name that is right."""
        rest, rest_wire = name.partition(".")[2], wire[1 + wire[0] :]
        is_new = rest not in self._suffixes and len(self._suffixes) < _MOST_SUFFIXES
        if is_new and names.is_plain(name) and names.is_plain(rest) and enclosing(rest_wire, zones) is not None:
            self._suffixes[rest] = rest_wire

    def take(self, first: int, block: str, zones: frozenset[bytes]) -> Iterator[tuple[int, str]]:
        """Take what is plain of some lines; yield the others with their numbers, the first one's being `first`."""
        if self.quick is None or not block.isascii():
            yield from self._taken(first, block)
            return
        begin = 0
        while begin < len(block):
            at = self.quick(block, begin, zones, self.targets, self.known, self.wrong, self.rules)
            if at == len(block):
                return
            first += block.count("\n", begin, at)
            end = block.find("\n", at)
            end = end if end >= 0 else len(block)
            yield first, block[at:end]
            first, begin = first + 1, end + 1

    def _taken(self, first: int, block: str) -> Iterator[tuple[int, str]]:
        suffixes, targets, known, wrong, rules = self._suffixes, self.targets, self.known, self.wrong, self.rules
        is_label = _LABEL.fullmatch
        for number, line in enumerate(block.split("\n"), first):
            columns = line.split()
            if len(columns) == 2:
                label, _, rest = columns[0].partition(".")
                suffix, rule = suffixes.get(rest), targets.get(columns[1])
                if suffix is not None and rule is not None and is_label(label):
                    wire = _LENGTHS[len(label)] + label.lower().encode() + suffix
                    is_new = wire not in rules and wire not in wrong
                    if is_new and wire != rule.target and len(wire) <= _LONGEST:
                        rules[known.pop(wire, wire)] = rule
                        continue
            yield number, line
