"""Keeps what rehearsals have shown over a restart: written now and then, nothing waits for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.config.rules import Rule
    from flatproxy.flatten.stores.store import Store
    from flatproxy.table.shadows import Shadows

KEEP_S: Final = 5.0


@define(eq=False)
class Shadowing:
    """What is kept of the rehearsals of one table."""

    shadows: Shadows
    _due: float = float("-inf")

    def restore(self, store: Store, rules: Mapping[bytes, Rule]) -> None:
        """Take what a store knows of names that are still rehearsed."""
        if self.shadows.any:
            for name, (since, comparisons) in store.load_shadows().items():
                if name in rules and rules[name].is_rehearsed:
                    self.shadows.restore(name, since, comparisons)

    def tick(self, store: Store, now: float) -> None:
        """Keep what has changed, where that is due."""
        if self.shadows.changed and now >= self._due:
            self._due = now + KEEP_S
            self.keep(store)

    def keep(self, store: Store) -> None:
        """Keep what has changed."""
        changed, self.shadows.changed = self.shadows.changed, {}
        known = {name: self.shadows.rehearsals.get(name) for name in changed}
        store.save_shadows(
            {name: (mine.since, mine.comparisons) if mine is not None else None for name, mine in known.items()}
        )
