"""`explain` within a running service: what it knows by itself stands in for the state file."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from flatproxy.diagnose.explain import explain
from flatproxy.diagnose.explain_text import render
from flatproxy.diagnose.prospects import Kept
from flatproxy.flatten.stores.store import Row
from flatproxy.table import status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.explained import Flattened, Forwarded
    from flatproxy.table.table import Table


@frozen
class LiveExplanation:
    """A report in both of its forms."""

    report: Flattened | Forwarded

    def lines(self) -> Iterator[str]:
        """Return it as text for people."""
        return render(self.report)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return self.report.as_json()


def kept_by(name: bytes, table: Table) -> Kept:
    """Return what a running service knows of the target of a name."""
    now, wall = monotonic(), time()
    rows: dict[tuple[bytes, int], Row] = {}
    for _view, answer, _status in status.of_name(table, name, now):
        target = answer.target
        if target.resolution is not None:
            rows[target.name, target.rdtype] = Row.of(target, wall - (now - target.resolution.resolved_at))
    return Kept(rows=rows, lack="this process has not resolved it since it started")


async def explain_live(settings: Settings, name: bytes, table: Table) -> LiveExplanation:
    """Return what becomes of a flagged name; the resolvers are asked now."""
    return LiveExplanation(await explain(settings, name, kept=kept_by(name, table)))
