"""What becomes of a flagged name whose quotes were forgotten: TOML reads a table in a table for each of its dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.several import HEALTH_TABLE
from flatproxy.config.tables import RULE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VIEWS = "views"
"""The table under a flagged name that has one for each view."""
_MOST_LABELS = 127  # 255 octets hold no more


def is_key(key: str, value: object) -> bool:
    """Tell whether a key, and no label, stands under a flagged name."""
    if key == HEALTH_TABLE and isinstance(value, dict) and value.keys() & {"target", "targets"}:
        return False
    return key in RULE.keys or key in (VIEWS, HEALTH_TABLE)


def divided_names(name: str, tables: Mapping[str, object]) -> Iterator[str]:
    """Yield the dotted names that were meant by tables in tables."""
    waiting = [(f"{name}.{key}", value, 2) for key, value in reversed(list(tables.items()))]
    while waiting:
        name, value, labels = waiting.pop()
        inner = value.items() if isinstance(value, dict) else ()
        deeper = [(key, item) for key, item in inner if key not in RULE.keys and isinstance(item, dict)]
        if labels == _MOST_LABELS or len(deeper) < len(inner) or not deeper:
            yield name
        if labels < _MOST_LABELS:
            waiting.extend((f"{name}.{key}", item, labels + 1) for key, item in reversed(deeper))
