"""What stands at a name: for each type, the set of its rdatas. Values and their text; nobody is asked here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Sets = dict[int, frozenset[bytes]]
"""By the number of the type. An empty set: there is no record of the type; a type that is left out is not known."""


def agree(known: Mapping[int, frozenset[bytes]], found: Mapping[int, frozenset[bytes]]) -> bool:
    """Tell whether what is known of the types found is what was found."""
    return all(known.get(rdtype, rdatas) == rdatas for rdtype, rdatas in found.items())


def to_json(sets: Sets) -> str:
    """Return the sets as the state file has them."""
    return json.dumps({str(rdtype): sorted(rdata.hex() for rdata in rdatas) for rdtype, rdatas in sets.items()})


def from_json(text: str) -> Sets:
    """Return the sets that `to_json` wrote; `ValueError` where the text is none of its kind."""
    raw: Any = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError("not a set of records")  # noqa: TRY004 - what a damaged file has
    return {int(rdtype): frozenset(bytes.fromhex(rdata) for rdata in rdatas) for rdtype, rdatas in raw.items()}


def sets_text(sets: Mapping[int, frozenset[bytes]]) -> str:
    """Return the records of all types in one line."""
    parts = [
        f"{types.text_of(rdtype)} {', '.join(types.rdata_texts(rdtype, sorted(rdatas)))}"
        for rdtype, rdatas in sorted(sets.items())
        if rdatas
    ]
    return "; ".join(parts) or "no address"


def diff(name: str, before: Sets, after: Sets, ttl_s: int) -> Iterator[str]:
    """Yield a line for each record that goes (-), comes (+) or stays (two blanks)."""
    for rdtype in sorted(after):
        old, new = before.get(rdtype, frozenset()), after[rdtype]
        for mark, rdatas in (("-", old - new), (" ", old & new), ("+", new - old)):
            ttl = f"{ttl_s} " if mark == "+" else ""
            for text in types.rdata_texts(rdtype, sorted(rdatas)):
                yield f"{mark} {name}. {ttl}{types.text_of(rdtype)} {text}"
