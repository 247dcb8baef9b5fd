"""How a refused value becomes a `Problem`: key paths and TOML text. It never decides what is right."""

from __future__ import annotations

import re
from datetime import date, time
from typing import TYPE_CHECKING

from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LONGEST_VALUE = 70
_DEEPEST_VALUE = 3


class Refusal(ValueError):
    """A value that cannot stand where it stands, before its key path is known."""

    def __init__(self, reason: str, write: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.write = write


class ItemRefusals(Refusal):
    """An array with items that cannot stand there; `items` has each with its index."""

    def __init__(self, items: Sequence[tuple[int, Refusal]]) -> None:
        super().__init__("some items are wrong", "each item on its own")
        self.items = items


def quoted(text: str) -> str:
    """Return the text as a TOML string; what a terminal would not show as it is, is escaped."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join(_ESCAPED.get(character) or _shown(character) for character in text) + '"'


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def kind_of(value: object) -> str:
    """Return what TOML calls a value of this type."""
    for python_type, name in (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a float"),
        (str, "a string"),
        (list, "an array"),
        (dict, "a table"),
        (date | time, "a date or a time"),
    ):
        if isinstance(value, python_type):
            return name
    return "something that TOML does not have"


def toml_text(value: object) -> str:
    """Return a value as TOML, shortened where it is long or deep."""
    text = _toml(value, _DEEPEST_VALUE)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _toml(value: object, depth: int) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return hex(value) if value.bit_length() > 64 else str(value)  # str() refuses very long integers
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item, depth - 1) for item in value[:_LONGEST_VALUE]) + "]" if depth else "[…]"
    if isinstance(value, dict):
        if not depth:
            return "{…}"
        pairs = list(value.items())[:_LONGEST_VALUE]
        return "{" + ", ".join(f"{_bare(key)} = {_toml(item, depth - 1)}" for key, item in pairs) + "}"
    return repr(value)


def _bare(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else quoted(key)


def join(path: str, key: str) -> str:
    """Return the path of a key in the table at `path`; a flagged name always stands in quotes."""
    if path == "flatten":
        return f"flatten.{quoted(key)}"
    return f"{path}.{_bare(key)}" if path else _bare(key)


def problem(path: str, value: object, refusal: Refusal) -> Problem:
    """Return the problem of a value at a path."""
    return Problem(key=path, value=toml_text(value), reason=refusal.reason, write=refusal.write)


def problems_of(refusal: Refusal, value: object, path: str) -> Iterator[Problem]:
    """Yield the problems of a refused value at a path; those of its items where only some of an array are wrong."""
    if isinstance(refusal, ItemRefusals) and isinstance(value, list):
        for index, each in refusal.items:
            yield problem(f"{path}[{index}]", value[index], each)
    else:
        yield problem(path, value, refusal)


def assignment(key: str, value: object) -> str:
    """Return `key = value` as TOML, the key alone where the value is too long to be shown."""
    text = toml_text(value)
    return f"{key} = {text}" if "…" not in text else key
