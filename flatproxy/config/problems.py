"""How a refused value becomes a `Problem`: key paths, TOML text, suggestions. It never decides what is right."""

from __future__ import annotations

import difflib
import re
from datetime import date, time
from typing import TYPE_CHECKING

from attrs import fields
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from flatproxy.config.settings import Access, Limits, Listen, Resolver, Rule, State, Upstream
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = {'"': r"\"", "\\": r"\\", "\n": r"\n", "\r": r"\r", "\t": r"\t"}
_LONGEST_VALUE = 70
_DEEPEST_VALUE = 3

# What to write for a key that must be there and is not.
_MISSING = {
    "dns": 'dns = ["0.0.0.0:53", "[::]:53"]',
    "servers": 'servers = ["192.0.2.53:53"], with the address of the existing nameserver',
    "zones": 'zones = ["example.com"], with the zones of the nameserver; or zones = ["."] for every name',
    "target": 'target = "lb.example.net", with the host name whose addresses are the answer',
    "path": 'path = "/var/lib/flatproxy/answers.sqlite"; or leave [state] out to keep answers in memory only',
}


class Refusal(ValueError):
    """A value that cannot stand where it stands, before its key path is known."""

    def __init__(self, reason: str, write: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.write = write


def keys_of(table: type) -> list[str]:
    """Return the keys of the table that becomes this class: `timeout_s` is written `timeout`."""
    return [key_of(attribute.name) for attribute in fields(table)]


def key_of(attribute: str) -> str:
    """Return the key in the file of an attribute of the settings."""
    return attribute.removesuffix("_s")


TABLE_KEYS = {
    "listen": keys_of(Listen),
    "upstream": keys_of(Upstream),
    "access": keys_of(Access),
    "resolver": keys_of(Resolver),
    "defaults": [key for key in keys_of(Rule) if key not in {"target", "fallback"}],
    "flatten": [],
    "limits": keys_of(Limits),
    "state": keys_of(State),
}
_FLAGGED_ONLY = ("target", "fallback")
INCLUDE = "include"
"""The one key that stands above all tables."""


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


def problems_of(error: Exception, raw: object, path: str) -> Iterator[Problem]:
    """Yield the problems that structuring `raw`, the table or array at `path`, has found."""
    if isinstance(error, ClassValidationError) and isinstance(raw, dict):
        for found, attribute in error.group_exceptions()[0]:
            key = key_of(attribute.name)
            if isinstance(found, KeyError):
                yield Problem(key=join(path, key), reason="is required", write=_MISSING[key])
            else:
                yield from problems_of(found, raw[key], join(path, key))
        for rest in error.group_exceptions()[1]:
            if isinstance(rest, ForbiddenExtraKeysError):
                yield from (
                    unknown_key(path, key, raw[key], keys_of(rest.cl)) for key in raw if key in rest.extra_fields
                )
            else:
                raise rest
    elif isinstance(error, IterableValidationError) and isinstance(raw, list):
        for found, item in error.group_exceptions()[0]:
            yield from problems_of(found, raw[int(item.index)], f"{path}[{item.index}]")
    elif isinstance(error, Refusal):
        yield problem(path, raw, error)
    else:
        raise error


def unknown_key(path: str, key: str, value: object, known: Iterable[str]) -> Problem:
    """Return the problem of a key that its table does not have, with the key that was probably meant."""
    known = list(known)
    reason = f"[{path}] has no such key" if path else "there is no such table"
    close = difflib.get_close_matches(key.lower(), known if path else [*known, INCLUDE], n=1)
    homes = [home for home, keys in TABLE_KEYS.items() if key in keys]
    if (path, key) == ("listen", "workers"):
        reason, write = "one process takes all packets, worker processes are gone", "no such line"
    elif key == INCLUDE:
        write = f"{_assignment(key, value)} at the top of the file, before the first table"
    elif close:
        reason += f"; did you mean {close[0]}?"
        write = _assignment(close[0], value) if path or close[0] == INCLUDE else f"[{close[0]}]"
    elif key in _FLAGGED_ONLY:
        write = f'{_assignment(key, value)} under [flatten."NAME"]'
    elif homes:
        write = f"{_assignment(key, value)} under [{homes[0]}]"
    else:
        write = f"no such line; the {'keys' if path else 'tables'} here are {', '.join(known)}"
    return Problem(key=join(path, key), value=toml_text(value), reason=reason, write=write)


def _assignment(key: str, value: object) -> str:
    text = toml_text(value)
    return f"{key} = {text}" if "…" not in text else key
