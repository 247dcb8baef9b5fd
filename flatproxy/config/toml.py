"""TOML text to tables. What may stand in them is not decided here.

A hundred thousand tables, each an object of its own, would leave the memory of a running process full of holes. So a
long file is read in pieces, and equal tables become one object.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from flatproxy.config.problems import Refusal

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

_PIECE = 200
"""Flagged names in a piece."""
_MANY_LINES = ('"""', "'''")
_TABLE_ITSELF = re.compile(r"""^[ \t]*\[[ \t]*["']?flatten["']?[ \t]*\]""", re.MULTILINE)
_HEADER = re.compile(r"""^\[flatten\."(?:[^"\\\n]|\\.)*"\]""", re.MULTILINE)
"""The table of a name itself; those below it stay in its piece."""


class _NotInPieces(Exception):
    """The text is to be read as a whole: what is wrong with it, if anything, shows only then."""


def read_toml(text: str) -> dict[str, Any]:
    """Return what a TOML text says; `Refusal` where it is none. Equal tables of flagged names may be one object."""
    try:
        try:
            return _read_pieces(text)
        except (_NotInPieces, ValueError):
            return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError says line and column; an integer of 5000 digits is a ValueError
        raise Refusal(f"not TOML: {error}", "TOML 1.0: [table], then a line for each key = value") from None
    except RecursionError:
        raise Refusal("not usable TOML: nested too deeply", "arrays of strings, without nesting") from None


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text in pieces that begin with a flagged name's header, but for the first; each with their number."""
    start = count = 0
    for number, header in enumerate(_HEADER.finditer(text)):
        if number % _PIECE == 0:
            yield count, text[start : header.start()]
            start, count = header.start(), 0
        count += 1
    yield count, text[start:]


def _read_pieces(text: str) -> dict[str, Any]:
    # In a string of many lines a header may be text; and a table may not be declared twice, in whatever pieces.
    if any(quotes in text for quotes in _MANY_LINES) or _TABLE_ITSELF.search(text):
        raise _NotInPieces
    tables: dict[str, Any] = {}
    flagged: dict[str, Any] = {}
    known: dict[Hashable, object] = {}
    for count, piece in _pieces(text):
        part = tomllib.loads(piece)
        names = part.get("flatten", {})
        if type(names) is not dict or len(names) != count or not flagged.keys().isdisjoint(names):
            raise _NotInPieces
        if not part.keys() - {"flatten"} <= part.keys() - tables.keys():
            raise _NotInPieces  # a table stands there twice
        for name, table in names.items():
            content = content_of(table)
            flagged[name] = table if content is None else known.setdefault(content, table)
        tables.update(part)
        if "flatten" in tables:
            tables["flatten"] = flagged
    return tables


def content_of(table: object) -> Hashable | None:
    """Return a key that only equal tables share; None for one that cannot be right."""
    if type(table) is not dict:
        return None
    content = tuple((key, tuple(value) if type(value) is list else value) for key, value in table.items())
    try:
        hash(content)
    except TypeError:
        return None
    return content
