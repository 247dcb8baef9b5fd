"""`flatproxy sync --once`, `--dry-run` and `--adopt`: what is done once and told on standard output."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.config.names import flagged_name
from flatproxy.config.problems import Refusal, join
from flatproxy.errors import ConfigError, Problem
from flatproxy.process.syncing import SYNC_TICK_S, Follower, load_for_sync
from flatproxy.sync.attempt import take_as_ours
from flatproxy.sync.sets import diff, sets_text
from flatproxy.sync.standing import SyncState
from flatproxy.sync.updater import primary_of, synced
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.table import question
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flatproxy.config.settings import Settings
    from flatproxy.sync.standing import Standing, SyncedName
    from flatproxy.table.table import Table

LEFT_S = 1.0
"""After `resolver.timeout`, before it goes on with what there is."""
_WORDS = {
    SyncState.IN_STEP: "in step",
    SyncState.WRITTEN: "written",
    SyncState.DIFFERS: "would be written",
    SyncState.WAITING: "differs, and was written less than interval ago",
    SyncState.WITHHELD: "not written",
    SyncState.CONFLICT: "conflict",
    SyncState.FAILED: "failed",
}
_WELL = frozenset({SyncState.IN_STEP, SyncState.WRITTEN, SyncState.DIFFERS, SyncState.WAITING})


@frozen
class SyncReport:
    """How each name stands after one try, and the file that the names are in."""

    file: Path
    tried: tuple[tuple[SyncedName, Standing], ...]

    @property
    def ok(self) -> bool:
        """Whether each name is in step, or was or will be written."""
        return all(standing.state in _WELL for _, standing in self.tried)

    def lines(self) -> Iterator[str]:
        """Yield the lines to print: how a name stands, and a diff where something changes."""
        for each, standing in self.tried:
            reason = f": {standing.reason}" if standing.reason else ""
            yield f"{each.text}: {_WORDS[standing.state]}{reason}"
            if standing.state in (SyncState.WRITTEN, SyncState.DIFFERS, SyncState.WAITING):
                yield from diff(each.text, standing.found, standing.made, each.rule.sync_ttl_s)
            if standing.state is SyncState.CONFLICT:
                yield f"  to write over it: flatproxy sync --adopt {each.text} --config {self.file}"


def try_once(path: Path, *, dry: bool) -> SyncReport:
    """Resolve every target and try every name once; `dry`: nothing is written, neither to the zone nor to a file.

    Raises `FlatproxyError` where that cannot begin.
    """
    settings = load_for_sync(path)
    return SyncReport(path, tuple(asyncio.run(_try_all(settings, dry=dry))))


async def _try_all(settings: Settings, *, dry: bool) -> list[tuple[SyncedName, Standing]]:
    follower = Follower(once=True, dry=dry)
    follower.start(settings)
    try:
        until = monotonic() + settings.resolver.timeout_s + LEFT_S
        left = list(follower.updater.names)
        while left and (now := monotonic()) < until:
            follower.resolve(now)
            await asyncio.sleep(SYNC_TICK_S)
            left = [name for name in left if not _was_resolved(follower.table, name)]
        return [(each, await follower.updater.attempt(each)) for each in follower.updater.names.values()]
    finally:
        await follower.stop()


def _was_resolved(table: Table, name: bytes) -> bool:
    """Tell whether a resolution of each of a name's targets has ended, be it in failure."""
    answers = [table.get(question(name, rdtype)) for rdtype in types.OF_ADDRESSES]
    return all(bool(each.target.outcomes) or each.rule.pin for each in answers if isinstance(each, TargetAnswer))


def adopt_name(path: Path, written: str) -> Iterator[str]:
    """Note that what the zone has at a name is ours, and yield what to print.

    `ConfigError` where the name is not kept in step, `FlatproxyError` where the zone or the state file is out of reach.
    """
    settings = load_for_sync(path)
    try:
        name = flagged_name(written)
    except Refusal as refusal:
        raise ConfigError(problems=(Problem(key="--adopt", reason=refusal.reason, write=refusal.write),)) from None
    rule = synced(settings).get(name)
    if rule is None:
        key = join("flatten", names.to_text(name))
        problem = Problem(key=key, reason="this name is not kept in step", write=f"[{key}] with sync = true")
        raise ConfigError(problems=(problem,), file=str(path))
    primary, state = primary_of(settings), settings.state
    assert primary is not None
    assert state is not None
    found = asyncio.run(take_as_ours(primary, state.path, name, rule))
    yield f"{names.to_text(name)}: {sets_text(found)} is ours now, and is written over when something else is answered"
