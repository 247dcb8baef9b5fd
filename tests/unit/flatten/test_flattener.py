from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import dns.resolver
import pytest

from flatproxy.config.settings import Access, Endpoint, Listen, Resolver, Rule, Settings, State, Upstream
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.flattener import Flattener
from flatproxy.table.table import Table, question

if TYPE_CHECKING:
    from pathlib import Path

NAME = b"\7example\3com\0"
LB, OTHER = b"\2lb\4test\0", b"\5other\4test\0"
SERVER = Endpoint("192.0.2.53", 53)


def settings(target: bytes = LB, *, resolver: Resolver | None = None, state: State | None = None) -> Settings:
    return Settings(
        listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
        upstream=Upstream(servers=(SERVER,)),
        access=Access(zones=(NAME,)),
        resolver=resolver or Resolver(servers=(SERVER,)),
        flatten={NAME: Rule(target=target)},
        state=state,
    )


def flattener() -> tuple[Flattener, Table]:
    table = Table()
    return Flattener(table, lambda: None), table


def in_force(made: Flattener) -> dict[str, Any]:
    """Return all that a flattener and its parts refer to, but for what was prepared."""
    refresher = attrs.asdict(made._refresher, recurse=False, filter=lambda attribute, _value: attribute.name != "_due")
    probes = attrs.asdict(made._zone_probes, recurse=False)
    return {"refresher": refresher, "probes": probes, **{k: v for k, v in vars(made).items() if k != "_prepared"}}


def test_preparing_changes_nothing_that_is_in_force(tmp_path: Path) -> None:
    made, table = flattener()
    made.prepare(settings())
    assert (table.targets, table.rules, made._store) == ({}, {}, None)
    made.commit()
    before, targets = in_force(made), list(table.targets)
    made.prepare(settings(OTHER, state=State(path=tmp_path / "answers.sqlite")))
    made.abort()
    assert in_force(made) == before
    assert list(table.targets) == targets
    assert list(tmp_path.iterdir()) == []


def test_a_resolver_list_that_cannot_be_read_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    made, table = flattener()
    made.prepare(settings())
    made.commit()
    before, answer = in_force(made), table.get(question(NAME, 1))
    monkeypatch.setattr(dns.resolver, "Resolver", _unreadable)
    with pytest.raises(FlatproxyError):
        made.prepare(settings(OTHER, resolver=Resolver(servers=("system",))))
    made.abort()
    assert in_force(made) == before
    assert table.get(question(NAME, 1)) is answer


def _unreadable() -> dns.resolver.Resolver:
    raise dns.resolver.NoResolverConfiguration


def test_a_commit_brings_all_of_it_into_force(tmp_path: Path) -> None:
    made, table = flattener()
    made.prepare(settings(state=State(path=tmp_path / "first.sqlite")))
    made.commit()
    store = made._store
    made.prepare(settings(OTHER, resolver=Resolver(servers=(SERVER,), timeout_s=0.5), state=None))
    made.commit()
    assert {name for name, *_rest in table.targets} == {OTHER}
    assert made._refresher.resolvers.timeout_s == 0.5  # type: ignore[attr-defined] # it is a `Servers`
    assert made._refresher.upstream is made._zone_probes.upstream
    assert made._store is store
    assert store is not None
    made.abort()
    assert {name for name, *_rest in table.targets} == {OTHER}
