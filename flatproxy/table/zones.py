"""What is known of the zones around flagged names, once for each zone: its SOA record, and whether it is signed.

What is known of a name is found by walking up from it: nothing is kept for each name, and a change holds at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.table.changes import SignedChanged
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView

    from flatproxy.table.changes import Feed


@define(eq=False)
class Zones:
    """The known zones by apex (wire form, lower case)."""

    _feed: Feed
    version: int = 0
    """Grows whenever `is_signed` may have changed for any name."""
    controllers: dict[bytes, int] = field(factory=dict)
    """Active Directory's domain controllers, where an apex is a flagged name and has some."""
    _soas: dict[bytes, bytes] = field(factory=dict)
    _signed: dict[bytes, bool] = field(factory=dict)
    """Zones of which is known whether they are signed."""

    @property
    def apexes(self) -> KeysView[bytes]:
        """The known zones."""
        return self._soas.keys()

    @property
    def signed(self) -> Iterator[bytes]:
        """The zones that are signed."""
        return (apex for apex, signed in self._signed.items() if signed)

    def apex(self, name: bytes) -> bytes | None:
        """Return the deepest known zone that a name is in, None where none is known."""
        return names.enclosing(name, self._soas)

    def is_signed(self, name: bytes) -> bool:
        """Tell whether a name is in a signed zone. One of which that is not known yet passes for the zone around it."""
        apex = names.enclosing(name, self._signed)
        return apex is not None and self._signed[apex]

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of a name's zone as a denial carries it, None where it is not known."""
        apex = self.apex(name)
        return self._soas[apex] if apex is not None else None

    def found(self, apex: bytes, soa: bytes) -> bool:
        """Keep a zone's SOA record; tell whether the zone is new."""
        is_new = apex not in self._soas
        self._soas[apex] = soa
        return is_new

    def judged(self, apex: bytes, *, signed: bool) -> None:
        """Keep whether a known zone is signed."""
        if apex in self._soas:
            self._change(apex, signed)

    def gone(self, apex: bytes) -> None:
        """Forget a zone: its names are in the zone around it."""
        self._soas.pop(apex, None)
        self.controllers.pop(apex, None)
        self._change(apex, None)

    def _change(self, apex: bytes, signed: bool | None) -> None:  # noqa: FBT001 - three states
        before, passed = self._signed.get(apex), self.is_signed(apex)
        if signed is None:
            self._signed.pop(apex, None)
        else:
            self._signed[apex] = signed
        self.version += self.is_signed(apex) != passed
        if bool(before) != bool(signed):
            self._feed.publish(SignedChanged(apex, bool(signed)))
