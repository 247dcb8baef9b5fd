"""The one feed of changes: whoever wants to know of them subscribes. Each change is published once, after it was made.

A subscriber is called at once, so it must be quick and must change nothing in the table. Its faults stop nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from attrs import define, field, frozen
from twisted.logger import Logger

if TYPE_CHECKING:
    from flatproxy.config.rules import Check
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.choice import Pick
    from flatproxy.table.ladder import Resolution, Rung
    from flatproxy.table.selection import Selection
    from flatproxy.table.target import Target

log = Logger()


@frozen
class Settled:
    """A target was resolved; `before` is what it was found to be the last time, None at first."""

    target: Target
    before: Resolution | None

    @property
    def is_new(self) -> bool:
        """Tell whether it was found to be something else than before."""
        known = self.before.rdatas if self.before is not None else ()
        return self.target.resolution is not None and self.target.resolution.rdatas != known


@frozen
class Failed:
    """A target could not be resolved, for a reason in plain text; `target.failures` counts them in a row."""

    target: Target
    reason: str


@frozen
class RungChanged:
    """An answer comes from another rung; `before` is None for the first one."""

    answer: TargetAnswer
    before: Rung | None
    after: Rung


@frozen
class SignedChanged:
    """A zone, by its apex, was found to be signed with DNSSEC, or not any more."""

    apex: bytes
    signed: bool


@frozen
class ZoneChanged:
    """A zone, by its apex, was found, has another SOA record, or is gone."""

    apex: bytes


@frozen
class KeyChanged:
    """A key of ours, of a zone by its apex, has another state; waiting, it has `left_s` seconds to go.

    `off` is why the zone is not signed although a key is active, empty where nothing is in the way.
    """

    apex: bytes
    tag: int
    before: str
    after: str
    left_s: float = 0.0
    off: str = ""


@frozen
class PlaceholderMissed:
    """A signed zone was found to have no record of a type at a name that is flattened for it."""

    name: bytes
    rdtype: int


@frozen
class Refused:
    """Addresses of a target are left out, each for a reason in plain text."""

    target: Target
    reasons: Mapping[bytes, str]


@frozen
class OffersChanged:
    """The addresses of a selection's targets are others, whether or not they are answered."""

    selection: Selection


@frozen
class ChoiceChanged:
    """Others of a selection's targets or addresses are answered; `before` is None for the first choice."""

    selection: Selection
    before: Pick | None
    after: Pick


@frozen
class HealthChanged:
    """An address fell sick, for a reason in plain text, or got well; it is one of these selections' targets'."""

    check: Check
    address: bytes
    is_well: bool
    reason: str
    selections: tuple[Selection, ...]


Change = (
    HealthChanged
    | ChoiceChanged
    | OffersChanged
    | KeyChanged
    | PlaceholderMissed
    | Settled
    | Failed
    | Refused
    | RungChanged
    | SignedChanged
    | ZoneChanged
)
Subscriber = Callable[[Change], None]


@define(eq=False)
class Feed:
    """Who wants to know."""

    _subscribers: list[Subscriber] = field(factory=list)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Have `subscriber` called with each change from now on."""
        self._subscribers.append(subscriber)

    def publish(self, change: Change) -> None:
        """Tell every subscriber."""
        for subscriber in self._subscribers:
            try:
                subscriber(change)
            except Exception:  # noqa: BLE001 - one subscriber's fault must not stop the others
                log.failure("a subscriber to changes went wrong", event="subscriber_failed")
