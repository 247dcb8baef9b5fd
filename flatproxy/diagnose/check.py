"""`flatproxy check`: probe all that a configuration names, and gather what is found."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from contextlib import aclosing
from time import time
from typing import TYPE_CHECKING

from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import Asking
from flatproxy.diagnose.certificates import about_certificate
from flatproxy.diagnose.directories import Directories
from flatproxy.diagnose.findings import Report
from flatproxy.diagnose.flagged import FlaggedNames
from flatproxy.diagnose.fleet_store import about_store
from flatproxy.diagnose.in_step import InStep
from flatproxy.diagnose.nameservers import Nameservers
from flatproxy.diagnose.pointers import Pointers
from flatproxy.diagnose.resolvers import Resolvers
from flatproxy.diagnose.running_service import about_running
from flatproxy.diagnose.signatures import SigningZones
from flatproxy.diagnose.targets import Targets
from flatproxy.flatten.stores import sqlite as store
from flatproxy.table.shadows import Rehearsal, how_far
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flatproxy.config.settings import Settings, State
    from flatproxy.diagnose.findings import Finding
    from flatproxy.flatten.stores.store import ShadowRow

_NUMBER = re.compile(r"(\d+)")


async def check(settings: Settings, file: str) -> Report:
    """Return what is found; what goes wrong on the way is among it."""
    async with aclosing(Asking(settings)) as asking:
        return await _check(settings, file, asking)


async def _check(settings: Settings, file: str, asking: Asking) -> Report:
    nameservers = Nameservers(settings, asking)
    resolvers = Resolvers(settings, asking)
    resolvers.gather()
    await asyncio.gather(nameservers.probe(), resolvers.probe())
    flagged = FlaggedNames(settings, asking, nameservers.usable)
    targets = Targets(settings, asking, resolvers.endpoints, nameservers.usable)
    await asyncio.gather(flagged.probe(), targets.probe())
    pointers = Pointers(settings, flagged.apexes, lambda: asking.upstream(nameservers.usable))
    signatures = SigningZones(settings, lambda: asking.upstream(nameservers.usable))
    directories = Directories(settings, lambda: asking.upstream(nameservers.usable))
    found = [*nameservers.found, *resolvers.found, *targets.found, *flagged.found]
    if nameservers.usable:
        await asyncio.gather(pointers.probe(), signatures.probe(), directories.probe())
        found += [*pointers.found, *signatures.found, *directories.found]
    found += about_certificate(settings.listen)
    found += await about_store(settings)
    in_step = InStep(settings)
    await in_step.probe()
    found += in_step.found
    if settings.state is not None:
        found += about_state(settings.state)
    found += [*about_shadows(settings), *await about_running(settings)]
    return Report(file=file, findings=tuple(sorted(found, key=_order)), targets=tuple(targets.reports()))


def _order(finding: Finding) -> tuple[int, list[str | int]]:
    """Return a key that sorts by severity, then by place, `servers[2]` before `servers[10]`."""
    parts = _NUMBER.split(finding.key)
    return finding.severity, [int(part) if index % 2 else part for index, part in enumerate(parts)]


def about_shadows(settings: Settings) -> Iterator[Finding]:
    """Yield how far the names in shadow mode are, as the state file knows it."""
    rehearsed = [name for name, rule in settings.flatten.items() if rule.is_rehearsed]
    if not rehearsed:
        return
    known: Mapping[bytes, ShadowRow] = {}
    if settings.state is not None:
        with contextlib.suppress(sqlite3.Error, OSError, ValueError, TypeError):
            known = store.read_shadows(settings.state.path)
    for name in rehearsed:
        row = known.get(name)
        rehearsal = Rehearsal(*row) if row is not None else None
        what = f"in shadow mode, clients get the nameserver's answer; {how_far(rehearsal, time())}"
        key = f'flatten."{names.to_text(name)}".shadow'
        if rehearsal is not None and rehearsal.is_safe(time()):
            yield findings.info(key, "true", what, "take the line out, and reload")
        else:
            do = (
                ""
                if settings.state is not None
                else "without [state] only the status page of the running service knows"
            )
            yield findings.info(key, "true", what, do)


def about_state(state: State) -> Iterator[Finding]:
    """Yield what is wrong with the state file as this user sees it."""
    if not state.path.parent.is_dir():
        what = "its directory does not exist: answers are lost when flatproxy stops"
        do = f"make the directory {state.path.parent}, writable for the user that runs flatproxy"
        yield findings.warning("state.path", str(state.path), what, do)
        return
    try:
        store.read_rows(state.path)
    except (sqlite3.Error, OSError, ValueError, TypeError) as error:
        what = f"cannot be read: {error}"
        do = "let the user that runs flatproxy read and write it; a damaged file may be deleted, it is written anew"
        yield findings.warning("state.path", str(state.path), what, do)
