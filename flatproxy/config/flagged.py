"""The flagged names: `[flatten."NAME"]` over `[defaults]`, each to a `Rule`. Quick for a hundred thousand names.

It knows the served zones and nothing else of the other tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from cattrs.errors import BaseValidationError

from flatproxy.config import names
from flatproxy.config.addresses import address
from flatproxy.config.problems import (
    TABLE_KEYS,
    Refusal,
    join,
    keys_of,
    kind_of,
    problem,
    problems_of,
    quoted,
    unknown_key,
)
from flatproxy.config.settings import Rule
from flatproxy.config.tables import reader_of
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

_read_rule = reader_of(Rule)
_RULE_KEYS = frozenset(keys_of(Rule))
_PLACEHOLDER = {"target": "example.com"}
_RR_TYPE = {4: "A", 6: "AAAA"}
_NEUTRAL: dict[str, object] = {"types": ["A", "AAAA"], "min_ttl": "0s", "max_ttl": "7d"}
_MOST_LABELS = 127  # 255 octets hold no more


@define
class Flagged:
    """The flagged names as they are read, and what is wrong with them."""

    rules: dict[bytes, Rule] = field(factory=dict)
    """The rule of each name. Of use only where there are no problems."""

    problems: list[Problem] = field(factory=list)

    _defaults: dict[str, object] = field(factory=dict)
    """The keys of `[defaults]` that are right, as TOML has them: what each name starts from."""

    _first: dict[bytes, str] = field(factory=dict)
    """How each name was written first."""

    _seen: dict[Hashable, Rule] = field(factory=dict)
    """The rule of each table content that was right, so that equal tables are read once."""

    _interned: dict[Rule, Rule] = field(factory=dict)

    def read_defaults(self, raw: Mapping[str, object]) -> None:
        """Take `[defaults]`. It comes before the names; a wrong key is reported here and not under each of them."""
        known = TABLE_KEYS["defaults"]
        self.problems.extend(unknown_key("defaults", key, raw[key], known) for key in raw if key not in known)
        self._defaults = {key: value for key, value in raw.items() if key in known}
        try:
            rule = _read_rule({**_PLACEHOLDER, **self._defaults})
        except BaseValidationError as error:
            self.problems.extend(problems_of(error, raw, "defaults"))
            self._defaults = _without_wrong(self._defaults)
            rule = _read_rule({**_PLACEHOLDER, **self._defaults})
        self.problems.extend(_ttl_clashes(rule, self._defaults, "defaults"))

    def read_names(self, raw: Mapping[str, object], zones: tuple[bytes, ...]) -> None:
        """Take `[flatten]`. Each name must be in one of the zones."""
        inside = frozenset(zones)
        for name, table in raw.items():
            content = _content(table)
            rule = self._seen.get(content) if content is not None else None
            if rule is None:
                own = self._undivided(name, table)
                if own is None:
                    continue
                rule = self._rule(name, own)
                if rule is not None and content is not None:
                    self._seen[content] = rule
            self._place(name, table, rule, inside)

    def _rule(self, name: str, table: object) -> Rule | None:
        """Return the rule of a table with the defaults below it; None where it is wrong."""
        path = join("flatten", name)
        if not isinstance(table, dict):
            what = f"a table is needed, not {kind_of(table)}"
            meant = quoted(table) if isinstance(table, str) else '"lb.example.net"'
            self.problems.append(problem(path, table, Refusal(what, f"[{path}]\ntarget = {meant}")))
            return None
        try:
            rule = _read_rule({**self._defaults, **table})
            wrong = False
        except BaseValidationError as error:
            # What is right is looked at all the same, so that nothing is found only the next time.
            self.problems.extend(problems_of(error, table, path))
            rule = _read_rule({**_PLACEHOLDER, **self._defaults, **_without_wrong(table)})
            wrong = True
        clashes = [*_ttl_clashes(rule, table, path), *_fallback_clashes(rule, table, path)]
        self.problems.extend(clashes)
        return None if wrong or clashes else self._interned.setdefault(rule, rule)

    def _place(self, name: str, table: object, rule: Rule | None, zones: frozenset[bytes]) -> None:
        """Note the rule under its name; the name is checked even where its table is wrong."""
        try:
            wire = names.flagged_name(name)
        except Refusal as refusal:
            write = f"[flatten.{refusal.write}]" if refusal.write.startswith('"') else refusal.write
            self._refuse(name, refusal.reason, write)
            return
        first = self._first.setdefault(wire, name)
        if first != name:
            self._refuse(name, f"the same name as {join('flatten', first)}", "one table for both")
        elif not _is_inside(wire, zones):
            shown = quoted(name.rstrip(".") or name)
            self._refuse(name, "not in a zone of access.zones", f"its zone in access.zones as well, like {shown}")
        if (rule.target if rule else _target(table)) == wire:
            reason = "the name is its own target"
            write = "another name, whose addresses are the answer"
            key = f"{join('flatten', name)}.target"
            self.problems.append(Problem(key=key, value=quoted(name), reason=reason, write=write))
        if rule is not None:
            self.rules[wire] = rule

    def _refuse(self, name: str, reason: str, write: str) -> None:
        self.problems.append(Problem(key=join("flatten", name), reason=reason, write=write))

    def _undivided(self, name: str, table: object) -> object:
        """Return the table without the tables that unquoted dots in a name have made; None where nothing is left."""
        if not isinstance(table, dict):
            return table
        rest = {key: value for key, value in table.items() if key in _RULE_KEYS or not isinstance(value, dict)}
        if len(rest) == len(table):
            return table
        for whole in _divided_names(name, {key: value for key, value in table.items() if key not in rest}):
            reason = "a name with dots needs quotes, or TOML reads a table in a table"
            self._refuse(name, reason, f"[flatten.{quoted(whole)}]")
        return rest or None


def _content(table: object) -> Hashable | None:
    """Return a key that only equal tables share; None for one that cannot be right."""
    if type(table) is not dict:
        return None
    content = tuple((key, tuple(value) if type(value) is list else value) for key, value in table.items())
    try:
        hash(content)
    except TypeError:
        return None
    return content


def _target(table: object) -> bytes | None:
    """Return the target in a table that is wrong otherwise."""
    try:
        return names.target(table.get("target")) if isinstance(table, dict) else None
    except Refusal:
        return None


def _divided_names(name: str, tables: Mapping[str, object]) -> Iterator[str]:
    """Yield the dotted names that were meant by tables in tables."""
    waiting = [(f"{name}.{key}", value, 2) for key, value in reversed(list(tables.items()))]
    while waiting:
        name, value, labels = waiting.pop()
        inner = value.items() if isinstance(value, dict) else ()
        deeper = [(key, item) for key, item in inner if key not in _RULE_KEYS and isinstance(item, dict)]
        if labels == _MOST_LABELS or len(deeper) < len(inner) or not deeper:
            yield name
        if labels < _MOST_LABELS:
            waiting.extend((f"{name}.{key}", item, labels + 1) for key, item in reversed(deeper))


def _is_inside(wire: bytes, zones: frozenset[bytes]) -> bool:
    """Return whether a name or one of its ancestors is among the zones."""
    offset = 0
    while wire[offset:] not in zones:
        if not wire[offset]:
            return False
        offset += wire[offset] + 1
    return True


def _without_wrong(table: Mapping[str, object]) -> dict[str, object]:
    """Return the keys that are right by themselves; one that clashes with nothing stands in for one that is wrong."""
    right: dict[str, object] = {}
    for key, value in table.items():
        try:
            _read_rule({**_PLACEHOLDER, key: value})
        except BaseValidationError:
            if key in _NEUTRAL:
                right[key] = _NEUTRAL[key]
        else:
            right[key] = value
    return right


def _ttl_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield what is wrong with min_ttl above max_ttl, at a key of this table; what [defaults] causes is said there."""
    if rule.min_ttl_s <= rule.max_ttl_s:
        return
    if "min_ttl" in table:
        refusal = Refusal(f"more than max_ttl, which is {rule.max_ttl_s}s", quoted(f"{rule.max_ttl_s}s"))
        yield problem(f"{path}.min_ttl", table["min_ttl"], refusal)
    elif "max_ttl" in table:
        refusal = Refusal(f"less than min_ttl, which is {rule.min_ttl_s}s", quoted(f"{rule.min_ttl_s}s"))
        yield problem(f"{path}.max_ttl", table["max_ttl"], refusal)


def _fallback_clashes(rule: Rule, table: Mapping[str, object], path: str) -> Iterator[Problem]:
    """Yield the fallback addresses of a family that the name is not flattened for."""
    items = table.get("fallback")
    if len(rule.types) == len(_RR_TYPE) or not isinstance(items, list):
        return
    for index, item in enumerate(items):
        try:
            version = address(item).version
        except Refusal:
            continue
        if _RR_TYPE[version] not in rule.types:
            reason = f"an IPv{version} address, but types has no {quoted(_RR_TYPE[version])}"
            refusal = Refusal(reason, 'types = ["A", "AAAA"], or leave the address out')
            yield problem(f"{path}.fallback[{index}]", item, refusal)
