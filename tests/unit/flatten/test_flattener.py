from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import dns.resolver
import pytest

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Access, Dnssec, Endpoint, Listen, Resolver, Settings, State, Upstream
from flatproxy.errors import ConfigError, FlatproxyError
from flatproxy.flatten.flattener import Flattener
from flatproxy.signing import keys
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


def test_keys_are_read_while_preparing(tmp_path: Path) -> None:
    """What is wrong with a file of a key is said before anything has changed."""
    made, table = flattener()
    made.prepare(settings())
    made.commit()
    wanted = attrs.evolve(settings(OTHER), dnssec={NAME: Dnssec(key=(tmp_path / "Kexample.com.+013+00001",))})
    with pytest.raises(ConfigError, match="no such file"):
        made.prepare(wanted)
    made.abort()
    assert (list(table.zones.signings), {name for name, *_rest in table.targets}) == ([], {LB})


def test_a_reload_keeps_what_is_known_of_keys(tmp_path: Path) -> None:
    first, second = (keys.generate(NAME, "ECDSAP256SHA256") for _ in range(2))
    pairs = [keys.write_pair(key, tmp_path) for key in (first, second)]
    made, table = flattener()
    made.prepare(attrs.evolve(settings(), dnssec={NAME: Dnssec(key=(pairs[0],))}))
    made.commit()
    signing = table.zones.signings[NAME]
    for moment in (1e9, 1e9 + 100):
        signing.learn([first.rdata, second.rdata], 60, moment)
    made.prepare(attrs.evolve(settings(), dnssec={NAME: Dnssec(key=(pairs[1], pairs[0]))}))
    assert signing.keys.keys == (first,)
    made.commit()
    after = table.zones.signings[NAME]
    assert (after.keys.keys, after.signer.keys) == ((second, first), (first,))
    made.prepare(settings())
    made.commit()
    assert table.zones.signings == {}


def test_a_system_resolver_elsewhere_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    made, _table = flattener()
    there = dns.resolver.Resolver(configure=False)
    there.nameservers = ["192.0.2.1"]
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: there)
    with pytest.raises(FlatproxyError, match=r"192\.0\.2\.1:53 is neither"):
        made.prepare(settings(resolver=Resolver(servers=("system",), require_ad=True)))
