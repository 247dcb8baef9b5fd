"""What is gathered for whoever looks: troubles with their times, the last minutes of servers, the last changes.

Where nobody can look, nothing is gathered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import define, field

from flatproxy.observe.history import LastChanges
from flatproxy.observe.recent import Recent
from flatproxy.observe.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.observe.running import Running
    from flatproxy.observe.troubles import Trouble

LOOK_S: Final = 1.0


@define(eq=False)
class Watch:
    """Everything that the pages read. `tick` is to be called several times a second."""

    running: Running
    history: LastChanges = field(init=False)
    recent: Recent = field(factory=Recent)
    troubles: Troubles = field(init=False)
    _is_on: bool = False
    _due: float = float("-inf")

    def __attrs_post_init__(self) -> None:
        self.history = LastChanges(self.running.wall)
        self.troubles = Troubles(self.running, self.history)

    def begin(self) -> None:
        """Gather from now on."""
        if not self._is_on:
            self._is_on = True
            self.running.table.feed.subscribe(self.history)

    def tick(self, now: float) -> None:
        """Look where that is due. `now` is monotonic seconds."""
        if self._is_on and now >= self._due:
            self._due = now + LOOK_S
            self.look()

    def look(self) -> list[Trouble]:
        """Look now; return what is wrong."""
        running = self.running
        self.recent.look((*running.servers(), *running.resolvers()), running.now(), running.wall())
        return self.troubles.look()

    def is_alive(self) -> bool:
        """Tell whether packets are taken by anybody."""
        return self.running.listening()

    def missing(self) -> Iterable[str]:
        """Yield what is not ready yet; nothing when all is."""
        return (trouble.what for trouble in self.troubles.blocking())
