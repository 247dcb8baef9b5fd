"""Views: `[views.NAME]`, networks of clients, and `[flatten."NAME".views.VIEW]`, what these are answered.

It knows which views there are and which are used; what stands in a view's table besides `action` is a rule's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.config import addresses, values
from flatproxy.config.problems import Refusal, join, kind_of, problem, problems_of
from flatproxy.config.tables import unknown_key
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.wire.prefixes import Network

_CLIENTS = 'clients = ["10.0.0.0/8", "2001:db8:1::/48"]'
_clients = values.array(
    addresses.network, example=_CLIENTS.partition(" = ")[2], empty="without a network nobody is in the view"
)
_action = values.choice(("pass",), "the only action is that the nameserver answers")
_AN_EXAMPLE = f"[views.inside]\n{_CLIENTS}"


@define
class Views:
    """The views that are defined, what is wrong with them, and which of them a name has used."""

    networks: dict[str, tuple[Network, ...]] = field(factory=dict)
    problems: list[Problem] = field(factory=list)
    _defined: frozenset[str] = frozenset()
    _used: set[str] = field(factory=set)

    def read(self, raw: Mapping[str, object]) -> None:
        """Take `[views]`."""
        self._defined = frozenset(raw)
        homes: dict[Network, str] = {}
        for name, table in raw.items():
            path = join("views", name)
            if not isinstance(table, dict):
                self.problems.append(
                    problem(path, table, Refusal(f"a table is needed, not {kind_of(table)}", _AN_EXAMPLE))
                )
                continue
            self.problems.extend(unknown_key(path, key, table[key], ["clients"]) for key in table if key != "clients")
            if "clients" not in table:
                self.problems.append(Problem(key=f"{path}.clients", reason="is required", write=_CLIENTS))
                continue
            try:
                self.networks[name] = _clients(table["clients"])
            except Refusal as refusal:
                self.problems.extend(problems_of(refusal, table["clients"], f"{path}.clients"))
                continue
            for index, network in enumerate(self.networks[name]):
                if (other := homes.setdefault(network, name)) != name:
                    wrong = Refusal(f"the same network as in {join('views', other)}", "each network in one view only")
                    self.problems.append(problem(f"{path}.clients[{index}]", str(network), wrong))

    def tables(self, raw: object, path: str, problems: list[Problem]) -> Iterator[tuple[str, dict[str, object] | None]]:
        """Yield what `views` under a name has: a view and its keys, None where the nameserver is to answer."""
        if not isinstance(raw, dict):
            example = f'[{path}.inside]\naction = "pass"'
            problems.append(
                problem(path, raw, Refusal(f"a table for each view is needed, not {kind_of(raw)}", example))
            )
            return
        for name, table in raw.items():
            key = join(path, name)
            if not isinstance(table, dict):
                example = f'[{key}]\naction = "pass"'
                problems.append(problem(key, table, Refusal(f"a table is needed, not {kind_of(table)}", example)))
                continue
            self._used.add(name)
            if name not in self._defined:
                there = f"; there is {', '.join(sorted(self._defined))}" if self._defined else ""
                write = f"[{join('views', name)}]\n{_CLIENTS}"
                problems.append(Problem(key=key, reason=f"no such view{there}", write=write))
            problems.extend(
                problem(join(key, each), table[each], Refusal("the zone's record is for all clients", "it at the name"))
                for each in ("sync", "sync_ttl")
                if each in table
            )
            if "action" not in table:
                yield name, table
                continue
            try:
                _action(table["action"])
            except Refusal as refusal:
                problems.append(problem(f"{key}.action", table["action"], refusal))
                continue
            problems.extend(
                problem(join(key, other), table[other], Refusal("the nameserver answers (action)", "one of the two"))
                for other in table
                if other != "action"
            )
            yield name, None

    def unused(self) -> Iterator[Problem]:
        """Yield the views that no name has a table for."""
        for name in self.networks.keys() - self._used:
            write = f'[flatten."NAME".{join("views", name)}] under a name, or leave the view out'
            yield Problem(key=join("views", name), reason="no name has a table for this view", write=write)
