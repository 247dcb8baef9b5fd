"""One try at one name: look at the zone, judge, write. It knows no schedule and keeps nothing but in the state file."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from flatproxy.errors import FlatproxyError
from flatproxy.sync.memory import Noted, note, recall
from flatproxy.sync.plan import after, synced_types
from flatproxy.sync.primary import PrerequisiteFailed, ReplyLost
from flatproxy.sync.sets import agree, sets_text
from flatproxy.sync.signers import SyncFailed
from flatproxy.sync.standing import ZONE_LOOK_S, Standing, SyncState

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flatproxy.config.rules import Rule
    from flatproxy.sync.plan import Wanted
    from flatproxy.sync.primary import Primary
    from flatproxy.sync.sets import Sets


_DOMAIN_APEX = "it is the apex of an Active Directory domain, whose controllers write its addresses themselves"


@frozen(kw_only=True)
class Attempt:
    """A try. `noted` is what this process knows of a name that the state file has lost."""

    primary: Primary
    state: Path
    interval_s: float
    name: bytes
    rule: Rule
    may_write: Callable[[], bool] = lambda: True
    """Asked before the first message, and again before the update."""
    dry: bool = False
    noted: Noted | None = None
    wall: Callable[[], float] = time

    async def run(self, want: Wanted) -> tuple[Standing, Noted | None]:
        """Return what it came to and what is noted now; never raises a `FlatproxyError`."""
        standing, noted = await self._run(want)
        return evolve(standing, why=want.why), noted

    async def _run(self, want: Wanted) -> tuple[Standing, Noted | None]:
        try:
            noted = await asyncio.to_thread(recall, self.state, self.name) or self.noted
            found = await self.primary.read(self.name, synced_types(self.rule))
        except FlatproxyError as error:
            return Standing(state=SyncState.FAILED, reason=str(error)), self.noted
        try:
            return await self._judge(want, noted, found)
        except FlatproxyError as error:
            return Standing(state=SyncState.FAILED, reason=str(error), found=found), noted

    async def _judge(self, want: Wanted, noted: Noted | None, found: Sets) -> tuple[Standing, Noted]:
        first = noted is None
        if noted is None:
            noted = Noted((found,))
            await self._keep(noted)
        goal = after(want, found)
        if goal == found and not want.why:
            if noted.ours != (found,):
                noted = Noted((found,), noted.written_at)
                await self._keep(noted)
            return Standing(state=SyncState.IN_STEP, found=found, made=found, first=first), noted
        if not any(agree(ours, found) for ours in noted.ours):
            # What another node of a fleet writes is for that node to judge.
            if not self.may_write():
                return await self._leave(noted, found, goal)
            return self._conflict(noted, found), noted
        if goal == found:
            return Standing(state=SyncState.WITHHELD, reason=want.why, found=found, made=found, first=first), noted
        if await self.primary.is_domain(self.name):
            return Standing(
                state=SyncState.WITHHELD, reason=_DOMAIN_APEX, found=found, made=found, wait_s=ZONE_LOOK_S
            ), noted
        standing, noted = await self._write(noted, found, goal)
        return evolve(standing, first=first), noted

    async def _write(self, noted: Noted, found: Sets, goal: Sets) -> tuple[Standing, Noted]:
        if self.dry or not self.may_write():
            return await self._leave(noted, found, goal)
        wall = self.wall()
        wait_s = noted.written_at + self.interval_s - wall
        if 0 < wait_s <= self.interval_s:  # a clock that was set back keeps nothing from being written
            return Standing(state=SyncState.WAITING, found=found, made=goal, wait_s=wait_s), noted
        zone = await self.primary.zone(self.name)
        if not self.may_write():
            return await self._leave(noted, found, goal)
        # Kept before it is sent: what stands there after a lost reply, or after our own end, is ours all the same.
        intended = evolve(noted.with_intent(goal), written_at=wall)
        await self._keep(intended)
        reason = ""
        try:
            await self.primary.update(zone, self.name, found, goal, self.rule.sync_ttl_s)
        except (ReplyLost, PrerequisiteFailed) as error:
            reason = str(error)
            again = await self.primary.read(self.name, goal)
            if again != goal and isinstance(error, PrerequisiteFailed):
                return self._conflict(noted, again, reason), noted
            if again != goal:
                return Standing(state=SyncState.FAILED, reason=reason, found=found, made=goal), intended
            reason += "; but the zone has it now"
        except SyncFailed:
            await self._keep(noted)
            raise
        noted = Noted((goal,), wall)
        await self._keep(noted)
        return Standing(state=SyncState.WRITTEN, reason=reason, found=found, made=goal), noted

    async def _leave(self, noted: Noted, found: Sets, goal: Sets) -> tuple[Standing, Noted]:
        """Leave it to somebody else to write, and note what may be found there then."""
        intended = noted.with_intent(goal)
        if intended != noted:
            await self._keep(intended)
        return Standing(state=SyncState.DIFFERS, found=found, made=goal), intended

    def _conflict(self, noted: Noted, found: Sets, said: str = "") -> Standing:
        reason = f"{sets_text(found)} stands there, and flatproxy left {sets_text(noted.ours[0])}"
        reason += f"; {said}" if said else ""
        return Standing(state=SyncState.CONFLICT, reason=reason, found=found, made=found)

    async def _keep(self, noted: Noted) -> None:
        if not self.dry:
            await asyncio.to_thread(note, self.state, self.name, noted)


async def take_as_ours(primary: Primary, state: Path, name: bytes, rule: Rule) -> Sets:
    """Note that what the zone has now is ours, and return it; `FlatproxyError` where that cannot be done."""
    found = await primary.read(name, synced_types(rule))
    await asyncio.to_thread(note, state, name, Noted((found,)))
    return found
