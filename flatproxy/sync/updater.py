"""Which name is looked at when, so that the zone follows what is answered. Nothing waits for it, no answer hangs on it.

Each name is compared with what the zone had when it was looked at last, once a second; the nameserver is asked where
they differ, and every `ZONE_LOOK_S` in any case, since others may have changed the zone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from attrs import frozen
from twisted.logger import Logger

from flatproxy.sync.attempt import Attempt
from flatproxy.sync.plan import after, wanted
from flatproxy.sync.primary import Primary
from flatproxy.sync.signers import signer_of
from flatproxy.sync.standing import Standing, SyncedName, SyncState, pause_s
from flatproxy.wire import proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import Settings
    from flatproxy.table.table import Table

log = Logger()

ATTEMPTS_AT_ONCE = 8
NAMES_COMPARED = 100
"""Names that are compared in one tick."""
COMPARE_S = 1.0


@frozen
class _Way:
    """Where updates go, and where what was written is kept."""

    primary: Primary
    state: Path
    interval_s: float
    pinned: bool


def primary_of(settings: Settings) -> Primary | None:
    """Return the nameserver that takes updates, None without `[sync]`; `ConfigError` where nobody can sign them."""
    sync, upstream = settings.sync, settings.upstream
    if sync is None:
        return None
    header = proxy.LOCAL if upstream.proxy_protocol and sync.server is None else b""
    return Primary(sync.server or upstream.servers[0], signer_of(sync), header)


def synced(settings: Settings) -> dict[bytes, Rule]:
    """Return the names that are kept in step."""
    rules = settings.flatten
    if settings.sync is None or not any(group.rule.sync for group in rules.groups):
        return {}
    return {name: rule for name, rule in rules.items() if rule.sync}


class Updater:
    """A part of the service, see `process/phases.py`. `may_write` tells whether it is this node's part to write.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        table: Table,
        may_write: Callable[[], bool] = lambda: True,
        *,
        clock: Callable[[], float] = monotonic,
        dry: bool = False,
    ) -> None:
        self._table = table
        self._clock = clock
        self._may_write = may_write
        self._dry = dry
        self._prepared: tuple[_Way | None, dict[bytes, Rule]] | None = None
        self._way: _Way | None = None
        self.names: dict[bytes, SyncedName] = {}
        self.outcomes: Counter[str] = Counter()
        """Of tries since the start."""
        self._round: Iterator[SyncedName] = iter(())
        self._round_due = 0.0
        self._tasks: dict[SyncedName, asyncio.Task[None]] = {}

    def prepare(self, settings: Settings) -> None:
        """Read the key, where a name needs it; `ConfigError` where it cannot be used."""
        rules = synced(settings)
        way = None
        if rules and settings.sync is not None and settings.state is not None:
            primary = primary_of(settings)
            assert primary is not None
            way = _Way(primary, settings.state.path, settings.sync.interval_s, settings.sync.sync_pinned)
        self._prepared = way, rules

    def abort(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def commit(self) -> None:
        """Go over to it. What is known of names stays, and whatever failed is tried again."""
        assert self._prepared is not None, "nothing was prepared"
        (self._way, rules), self._prepared = self._prepared, None
        before = self.names
        self.names = {name: before.get(name) or SyncedName(name, rule) for name, rule in rules.items()}
        for each in self.names.values():
            each.rule = rules[each.wire]
            each.forget_failures()
        self._round = iter(())

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done now."""
        if self._way is not None:
            yield lambda: self.tick(now)

    def tick(self, now: float) -> None:
        """Compare some names, and begin tries where they are due."""
        if self._way is None or len(self._tasks) >= ATTEMPTS_AT_ONCE:
            return
        compared = 0
        for each in islice(self._round, NAMES_COMPARED):
            compared += 1
            if each not in self._tasks and self._is_due(self._way, each, now):
                task = self._tasks[each] = asyncio.get_running_loop().create_task(self._try(each))
                task.add_done_callback(partial(self._ended, each))
                if len(self._tasks) >= ATTEMPTS_AT_ONCE:
                    return
        if not compared and now >= self._round_due:
            self._round, self._round_due = iter(list(self.names.values())), now + COMPARE_S

    def _is_due(self, way: _Way, each: SyncedName, now: float) -> bool:
        if now < each.not_before:
            return False
        want = wanted(self._table, each.wire, each.rule, now, pinned=way.pinned)
        if each.standing is None:
            return bool(want.sets) and not want.is_cold
        known = each.standing
        return now >= each.due or want.why != known.why or after(want, known.made) != known.made

    async def _try(self, each: SyncedName) -> None:
        try:
            await self.attempt(each)
        except Exception:  # noqa: BLE001 - one name's oddity must not stop the others
            log.failure("keeping {name} in step went wrong", event="sync_error", name=each.text)
            each.failures += 1
            each.not_before = self._clock() + pause_s(each.failures)

    def _ended(self, each: SyncedName, _task: asyncio.Task[None]) -> None:
        self._tasks.pop(each, None)

    async def attempt(self, each: SyncedName) -> Standing:
        """Try one name now; never raises a `FlatproxyError`."""
        way = self._way
        assert way is not None, "no name is kept in step"
        attempt = Attempt(
            primary=way.primary,
            state=way.state,
            interval_s=way.interval_s,
            name=each.wire,
            rule=each.rule,
            may_write=self._may_write,
            dry=self._dry,
            noted=each.noted,
        )
        want = wanted(self._table, each.wire, each.rule, self._clock(), pinned=way.pinned)
        standing, each.noted = await attempt.run(want)
        self.outcomes[str(standing.state)] += 1
        each.take(standing, self._clock(), way.interval_s)
        return standing

    def states(self) -> dict[str, int]:
        """Return how many names stand how; those not tried yet are none of them."""
        counts = {str(state): 0 for state in SyncState if state is not SyncState.WRITTEN}
        for each in self.names.values():
            if each.state is not None:
                counts[str(each.state)] += 1
        return counts

    def state_of(self, name: bytes) -> str | None:
        """Return how one name stands, None where it is not kept in step or was not tried yet."""
        synced = self.names.get(name)
        return str(synced.state) if synced is not None and synced.state is not None else None

    def conflicts(self) -> Iterator[str]:
        """Yield the names that somebody else has written."""
        return (each.text for each in self.names.values() if each.state is SyncState.CONFLICT)

    async def stop(self) -> None:
        """End what is under way. What was sent and not answered is looked at after the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
