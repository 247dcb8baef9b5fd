from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from flatproxy.config.rules import Rules
from flatproxy.config.settings import Access, Endpoint, Settings, State, Sync, Upstream
from flatproxy.errors import ConfigError
from flatproxy.sync.standing import SyncState
from flatproxy.sync.updater import COMPARE_S, Updater, primary_of
from flatproxy.table.table import Table
from flatproxy.wire.types import TYPE_A, TYPE_AAAA
from tests.support.primaries import KEY_FILE

from .names import FOUR, NAME, OTHER_FOUR, RULE, SIX, FakePrimary, Memo, settle, table_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    key = tmp_path / "sync.key"
    key.touch(0o600)
    key.write_text(KEY_FILE)
    return Settings(
        upstream=Upstream(servers=(Endpoint("192.0.2.53", 53),)),
        access=Access(zones=(NAME,)),
        flatten=Rules({NAME: RULE}),
        state=State(path=tmp_path / "state.sqlite"),
        sync=Sync(key_file=key),
    )


class Hours:
    """An updater over hours of its clock, in front of a zone in memory."""

    def __init__(self, table: Table, settings: Settings) -> None:
        self.zone = Memo()
        self.writes = True
        self.now = 0.0
        self.updater = Updater(table, lambda: self.writes, clock=lambda: self.now)
        self.updater.prepare(settings)
        self.updater.commit()
        assert self.updater._way is not None
        self.updater._way = evolve(self.updater._way, primary=FakePrimary(self.zone), interval_s=0.0)

    async def pass_time(self, now: float, rounds: int = 2) -> None:
        for step in range(rounds):
            self.now = now + step * COMPARE_S
            for part in self.updater.parts(self.now):
                part()  # begins a round
                part()  # goes through it
            await asyncio.gather(*self.updater._tasks.values())
            await asyncio.sleep(0)  # for what is called after a task

    @property
    def state(self) -> SyncState | None:
        return self.updater.names[NAME].state


def test_it_waits_until_all_types_are_known_and_writes_in_one_go(settings: Settings) -> None:
    async def run() -> None:
        table = table_of()
        hours = Hours(table, settings)
        settle(table, TYPE_A, FOUR)
        await hours.pass_time(1000.0)
        assert (hours.state, hours.zone.updates) == (None, [])
        settle(table, TYPE_AAAA, SIX)
        await hours.pass_time(1001.0)
        assert (hours.state, len(hours.zone.updates)) == (SyncState.IN_STEP, 1)
        settle(table, TYPE_A, OTHER_FOUR, at=1002.0)
        await hours.pass_time(1004.0)
        assert (hours.updater.outcomes["written"], hours.updater.states()["in_step"]) == (2, 1)

    asyncio.run(run())


def test_another_node_leaves_it_until_it_is_its_turn(settings: Settings) -> None:
    async def run() -> None:
        table = table_of()
        hours = Hours(table, settings)
        hours.writes = False
        settle(table, TYPE_A, FOUR)
        settle(table, TYPE_AAAA, SIX)
        await hours.pass_time(1001.0)
        assert (hours.state, hours.zone.updates) == (SyncState.DIFFERS, [])
        hours.writes = True
        await hours.pass_time(1010.0)
        assert (hours.state, len(hours.zone.updates)) == (SyncState.IN_STEP, 1)

    asyncio.run(run())


def test_updates_go_to_the_first_nameserver_unless_another_is_named(settings: Settings) -> None:
    primary = primary_of(settings)
    assert primary is not None
    assert (primary.endpoint, primary.header) == (Endpoint("192.0.2.53", 53), b"")
    behind = evolve(settings, upstream=evolve(settings.upstream, proxy_protocol=True))
    assert (found := primary_of(behind)) is not None
    assert found.header
    assert settings.sync is not None
    other = evolve(behind, sync=evolve(settings.sync, server=Endpoint("192.0.2.54", 53)))
    assert (found := primary_of(other)) is not None
    assert (found.endpoint.host, found.header) == ("192.0.2.54", b"")


def test_a_key_is_read_only_where_a_name_needs_it(settings: Settings) -> None:
    missing = evolve(settings, sync=Sync(key_file=settings.state.path if settings.state else None))
    updater = Updater(Table())
    with pytest.raises(ConfigError, match="cannot be read"):
        updater.prepare(missing)
    updater.abort()
    updater.prepare(evolve(missing, flatten=Rules({NAME: evolve(RULE, sync=False)})))
    updater.commit()
    assert (updater.names, list(updater.parts(0.0))) == ({}, [])
