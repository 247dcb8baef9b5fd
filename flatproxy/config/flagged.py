"""The flagged names: `[flatten."NAME"]` over `[defaults]`, each to a `Rule`. Quick for a hundred thousand names.

It knows the served zones and nothing else of the other tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve, field

from flatproxy.config import names
from flatproxy.config.clashes import ANY_TARGET, address_clashes, sync_clashes, ttl_clashes, without_wrong
from flatproxy.config.plain_lines import PlainLines
from flatproxy.config.problems import Refusal, join, kind_of, problem, quoted, toml_text
from flatproxy.config.rules import Rule, Rules
from flatproxy.config.several import (
    HEALTH_TABLE,
    choice_clashes,
    over,
    own_target,
    rules_under,
    with_all_targets,
    with_health,
)
from flatproxy.config.tables import INCLUDE, RULE, TABLE_KEYS, unknown_key
from flatproxy.config.toml import content_of
from flatproxy.config.unquoted import VIEWS, divided_names, is_key
from flatproxy.config.views import Views
from flatproxy.errors import Problem
from flatproxy.wire.names import enclosing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    from flatproxy.config.include import Included
    from flatproxy.config.plain_lines import Quick

_EXAMPLE_TABLE = '[flatten."example.com"]\ntarget = "lb.example.net"'
_EXAMPLE_LINE = "example.com lb.example.net"
_MOST_WRONG_LINES = 100
_VIEW = "view"
_OWN_TARGET = Refusal("the name is its own target", "another name, whose addresses are the answer")
RESTS = 200


@define
class Flagged:
    """The flagged names as they are read, and what is wrong with them."""

    _rest: Callable[[], object]
    """Called after every `RESTS` names."""

    rules: Rules = field(factory=Rules)
    """The rule of each name. Of use only where there are no problems."""

    problems: list[Problem] = field(factory=list)

    _defaults: dict[str, object] = field(factory=dict)
    """The keys of `[defaults]` that are right, as TOML has them: what each name starts from."""

    _wrong: dict[bytes, str] = field(factory=dict)
    """The names whose rules are wrong, with the file in which each was written; empty for the main one."""

    _begun: list[tuple[int, str]] = field(factory=lambda: [(0, "")])
    """How many names had rules when the names of each file began."""

    _source: Included | None = None
    """The included file that is read now; None for the main one."""

    _targets: dict[str, Rule] = field(factory=dict)
    """The rule of each target in a file of two columns."""

    views: Views = field(factory=Views)

    _seen: dict[Hashable, Rule] = field(factory=dict)
    """The rule of each table content that was right, so that equal tables are read once."""

    _known: dict[bytes, bytes] = field(factory=dict)
    """The names of the settings in force that were not read yet. Read again, they are the same objects: a reload that
    made a million names anew would leave as many holes in memory as it frees."""

    _interned: dict[Rule, Rule] = field(factory=dict)

    _quick: Quick | None = None
    """What reads plain lines in C."""

    _plain: PlainLines = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._plain = PlainLines(self._targets, self._known, self._wrong, self.rules, self._quick)

    @classmethod
    def after(cls, before: Rules, rest: Callable[[], object], quick: Quick | None = None) -> Flagged:
        """Return one that takes from the rules in force what is equal; `quick` reads plain lines, where it is there."""
        made = cls(rest, quick=quick)
        made._known.update((name, name) for name in before)
        made._interned.update((group.rule, group.rule) for group in before.groups)
        return made

    def read_defaults(self, raw: Mapping[str, object], client_subnet: str = "off") -> None:
        """Take `[defaults]`. It comes before the names; a wrong key is reported here and not under each of them.

        `client_subnet` is that of `[resolver]`.
        """
        known = TABLE_KEYS["defaults"]
        self.problems.extend(unknown_key("defaults", key, raw[key], known) for key in raw if key not in known)
        self._defaults = {key: value for key, value in raw.items() if key in known}
        self._defaults["client_subnet"] = client_subnet
        rule = RULE.read({**ANY_TARGET, **self._defaults}, "defaults", self.problems)
        if rule is None:
            self._defaults = without_wrong(self._defaults)
            rule = self._read_right({})
        self.problems.extend(ttl_clashes(rule, self._defaults, "defaults"))

    def _read_right(self, table: Mapping[str, object]) -> Rule:
        """Return the rule of keys that are known to be right, over the defaults."""
        rule = RULE.read({**ANY_TARGET, **self._defaults, **table}, "", [])
        assert rule is not None
        return rule

    def read_names(self, raw: Mapping[str, object], zones: tuple[bytes, ...]) -> None:
        """Take `[flatten]`. Each name must be in one of the zones."""
        inside = frozenset(zones)
        for number, (name, table) in enumerate(raw.items()):
            if number % RESTS == 0:
                self._rest()
            content = content_of(table)
            rule = self._seen.get(content) if content is not None else None
            if rule is None:
                own = self._undivided(name, table)
                if own is None:
                    continue
                rule = self._rule(name, own)
                if rule is not None and content is not None:
                    self._seen[content] = rule
            self._place(name, table, rule, inside, raw)

    def read_included(self, other: Included, zones: tuple[bytes, ...]) -> None:
        """Take the names of an included file; what is wrong is said with file and line."""
        self._source = other
        self._begun.append((len(self.rules), other.file))
        if other.tables is None:
            self._read_lines(other, frozenset(zones))
            return
        before = len(self.problems)
        for key, value in other.tables.items():
            if key != "flatten":
                reason = "an included file has flagged names and nothing else"
                write = f"this into the file that includes it; here stand tables like {_EXAMPLE_TABLE}"
                self.problems.append(Problem(key=key, value=toml_text(value), reason=reason, write=write))
        tables = other.tables.get("flatten", {})
        if isinstance(tables, dict):
            self.read_names(tables, zones)
        else:
            self.problems.append(
                problem("flatten", tables, Refusal(f"a table is needed, not {kind_of(tables)}", _EXAMPLE_TABLE))
            )
        self.problems[before:] = [evolve(each, key=other.place(each.key)) for each in self.problems[before:]]

    def _read_lines(self, other: Included, zones: frozenset[bytes]) -> None:
        """Take lines of name and target. What they cost counts: there may be a million."""
        wrong = 0
        for first, block in other.blocks():
            self._rest()
            for number, line in self._plain.take(first, block, zones):
                columns = line.partition("#")[0].split()
                if not columns:
                    continue
                try:
                    self._read_columns(columns, zones)
                except Refusal as refusal:
                    wrong += 1
                    place = f"{other.file}:{number}: {quoted(columns[0])}"
                    self.problems.append(Problem(key=place, reason=refusal.reason, write=refusal.write.strip('"')))
                    if wrong == _MOST_WRONG_LINES:
                        reason = f"the first {wrong} wrong lines are shown, what follows them was not read"
                        write = f"lines like: {_EXAMPLE_LINE}"
                        self.problems.append(Problem(key=other.file, reason=reason, write=write))
                        return

    def _read_columns(self, columns: list[str], zones: frozenset[bytes]) -> None:
        """Take one name; `Refusal` where something is wrong."""
        if len(columns) != 2:
            reason = f"a line has two columns, name and target, not {len(columns)}"
            raise Refusal(reason, f"a line like: {_EXAMPLE_LINE}")
        name, target = columns
        wire = names.flagged_name(name)
        if wire in self.rules or wire in self._wrong:
            raise self._twice(wire)
        if enclosing(wire, zones) is None:
            raise _outside(name)
        rule = self._targets.get(target)
        if rule is None:
            names.target(target)  # raises what is wrong with it
            made = self._read_right({"target": target})
            rule = self._targets[target] = self._interned.setdefault(made, made)
        if rule.target == wire:
            raise _OWN_TARGET
        self._plain.learn(name, wire, zones)
        wire = self._known.pop(wire, wire)
        self.rules[wire] = rule

    def _rule(self, name: str, table: object) -> Rule | None:
        """Return the rule of a table with the defaults below it; None where it is wrong."""
        path = join("flatten", name)
        if not isinstance(table, dict):
            what = f"a table is needed, not {kind_of(table)}"
            meant = quoted(table) if isinstance(table, str) else '"lb.example.net"'
            write = f"[{path}]\ntarget = {meant}"
            if name == INCLUDE and isinstance(table, list):
                write = f"{INCLUDE} = {toml_text(table)} at the top of the file, before the first table"
            self.problems.append(problem(path, table, Refusal(what, write)))
            return None
        known = len(self.problems)
        views, table = table.get(VIEWS), {key: value for key, value in table.items() if key != VIEWS}
        rule = self._rule_of(name, table, {}, path)
        if views is not None:
            rule = evolve(rule, views=tuple(self._views_of(name, views, table, f"{path}.{VIEWS}")))
        return None if len(self.problems) > known else self._interned.setdefault(rule, rule)

    def _views_of(
        self, name: str, raw: object, inherited: Mapping[str, object], path: str
    ) -> Iterator[tuple[str, Rule | None]]:
        """Yield what each view of a name is answered by; a view's table has the name's keys below it."""
        for view, table in self.views.tables(raw, path, self.problems):
            yield view, None if table is None else self._rule_of(name, table, inherited, join(path, view))

    def _rule_of(self, name: str, table: dict[str, object], inherited: Mapping[str, object], path: str) -> Rule:
        """Return the rule of a table over what it inherits and the defaults; what is wrong is added to the problems."""
        below = {**self._defaults, **(without_wrong(inherited) if inherited else {})}
        own = {key: value for key, value in table.items() if key != HEALTH_TABLE}
        rule = RULE.read(over(below, own), path, self.problems)
        if rule is None:
            # What is right is looked at all the same, so that nothing is found only the next time.
            rule = self._read_right(over(below, without_wrong(own)))
        rule = with_health(with_all_targets(rule), inherited, name, path, [])
        rule = with_health(rule, table, name, path, self.problems)
        for clashes in (ttl_clashes, address_clashes, sync_clashes, choice_clashes):
            self.problems += clashes(rule, table, path)
        return rule

    def _place(
        self, name: str, table: object, rule: Rule | None, zones: frozenset[bytes], raw: Mapping[str, object]
    ) -> None:
        """Note the rule under its name; the name is checked even where its table is wrong."""
        try:
            wire = names.flagged_name(name)
        except Refusal as refusal:
            write = f"[flatten.{refusal.write}]" if refusal.write.startswith('"') else refusal.write
            self._refuse(name, refusal.reason, write)
            return
        if wire in self.rules or wire in self._wrong:
            wrong = self._twice(wire, raw)
            self._refuse(name, wrong.reason, wrong.write)
        elif enclosing(wire, zones) is None:
            wrong = _outside(name)
            self._refuse(name, wrong.reason, wrong.write)
        else:
            wire = self._known.pop(wire, wire)
        path = join("flatten", name)
        if rule is None and own_target(table) == wire:
            self.problems.append(problem(f"{path}.target", name, _OWN_TARGET))
        for place, each in rules_under(path, rule):
            if wire in each.all_targets:
                key = f"targets[{each.targets.index(wire)}]" if each.targets else "target"
                self.problems.append(problem(f"{place}.{key}", name, _OWN_TARGET))
        if rule is not None:
            self.rules[wire] = rule
        elif wire not in self.rules:
            self._wrong.setdefault(wire, self._file)

    @property
    def _file(self) -> str:
        return self._source.file if self._source is not None else ""

    def _twice(self, wire: bytes, raw: Iterable[str] = ()) -> Refusal:
        """Return what is wrong with a name that was read already; `raw` has the names of the table that is read."""
        first = self._first_file(wire)
        if first != self._file:
            where = first or "the file that includes this one"
            return Refusal(f"the same name as in {where}", "one of the two")
        for written in raw:
            if _is_written(written, wire):
                return Refusal(f"the same name as {join('flatten', written)}", "one table for both")
        for number, line in self._source.lines() if self._source is not None else ():
            if _is_written(line.split(maxsplit=1)[0] if line.strip() else "", wire):
                return Refusal(f"the same name as in line {number}", "one line for both")
        return Refusal("the same name as above", "it once")

    def _first_file(self, wire: bytes) -> str:
        """Return the file in which a name was written first; empty for the main one."""
        if wire in self._wrong:
            return self._wrong[wire]
        place = next(place for place, name in enumerate(self.rules) if name == wire)
        return next(file for begun, file in reversed(self._begun) if begun <= place)

    def _refuse(self, name: str, reason: str, write: str) -> None:
        self.problems.append(Problem(key=join("flatten", name), reason=reason, write=write))

    def _undivided(self, name: str, table: object) -> object:
        """Return the table without the tables that unquoted dots in a name have made; None where nothing is left."""
        if not isinstance(table, dict):
            return table
        rest = {key: value for key, value in table.items() if is_key(key, value) or not isinstance(value, dict)}
        if len(rest) == len(table):
            return table
        if "." in name and isinstance(table.get(_VIEW), dict):
            key, views = join("flatten", name), f"{join('flatten', name)}.{VIEWS}"
            self.problems.append(Problem(key=f"{key}.{_VIEW}", reason="did you mean views?", write=f"[{views}.inside]"))
            return rest or None
        for whole in divided_names(name, {key: value for key, value in table.items() if key not in rest}):
            reason = "a name with dots needs quotes, or TOML reads a table in a table"
            self._refuse(name, reason, f"[flatten.{quoted(whole)}]")
        return rest or None


def _is_written(name: str, wire: bytes) -> bool:
    try:
        return names.flagged_name(name) == wire
    except Refusal:
        return False


def _outside(name: str) -> Refusal:
    shown = quoted(name.rstrip(".") or name)
    return Refusal("not in a zone of access.zones", f"its zone in access.zones as well, like {shown}")
