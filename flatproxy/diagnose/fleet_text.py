"""What `flatproxy fleet` found, as text for people. It asks nobody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from flatproxy.diagnose.text import count, some, table, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.diagnose.fleet import FleetReport

LEASES_SHOWN: Final = 8
DIFFERING_SHOWN: Final = 100


def render(report: FleetReport) -> Iterator[str]:
    """Yield the lines."""
    here = sum(record.state(report.now) == "here" for record in report.nodes.values())
    yield f"{count(here, 'node')} here, {len(report.missing)} missing"
    yield ""
    yield from table([("node", "state", "last seen", "since (UTC)", "version", "configuration"), *_rows(report)])
    if report.refused:
        yield ""
        for name, reason in sorted(report.refused.items()):
            yield from wrapped(f"{name}: its record is not believed ({reason}): another secret or schema", "  ", 4)
    if any(report.leases.values()):
        yield ""
        yield "leases"
        yield from table([(name, some(places, LEASES_SHOWN)) for name, places in sorted(report.leases.items())])
    yield ""
    if not report.differing:
        yield "all nodes have the same answers"
        return
    yield f"{count(len(report.differing), 'target')} on which nodes differ"
    for place, answers in list(report.differing.items())[:DIFFERING_SHOWN]:
        yield f"  {place}"
        yield from table(sorted(answers.items()), indent=4)


def _rows(report: FleetReport) -> Iterator[tuple[str, ...]]:
    for name, record in sorted(report.nodes.items()):
        yield (
            name,
            record.state(report.now).upper() if name in report.missing else record.state(report.now),
            f"{max(report.now - record.seen, 0):.0f} s ago",
            datetime.fromtimestamp(record.since, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            record.version,
            record.digest[:12],
        )
