"""What is known of the zones around flagged names, once for each zone: its SOA record, whether it is signed, and how.

What is known of a name is found by walking up from it: nothing is kept for each name, and a change holds at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.table.changes import SignedChanged, ZoneChanged
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView, Mapping

    from flatproxy.signing.zone import ZoneSigning
    from flatproxy.table.changes import Feed


@define(eq=False)
class Zones:
    """The known zones by apex (wire form, lower case)."""

    _feed: Feed
    version: int = 0
    """Grows whenever `is_signed` or `can_sign` may have changed for any name."""
    signings: Mapping[bytes, ZoneSigning] = field(factory=dict)
    """What signs, by the apex of a zone with keys of ours."""
    controllers: dict[bytes, int] = field(factory=dict)
    """Active Directory's domain controllers, where an apex is a flagged name and has some."""
    _soas: dict[bytes, bytes] = field(factory=dict)
    """Their SOA records without the owner, which is the key: with many zones it counts."""
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
        if self.signings and (signing := self.signing_of(name)) is not None:
            # With a key of ours it passes for signed until the nameserver has said otherwise.
            return apex is None or len(apex) < len(signing.zone) or self._signed[apex]
        return apex is not None and self._signed[apex]

    def sign_with(self, signings: Mapping[bytes, ZoneSigning]) -> None:
        """Have these zones' answers signed from now on."""
        self.signings = signings
        self.version += 1

    def signing_of(self, name: bytes) -> ZoneSigning | None:
        """Return what signs the answers of a name, None where it is in no zone with keys of ours."""
        apex = names.enclosing(name, self.signings) if self.signings else None
        known = self.apex(name) if apex is not None else None
        if apex is None or (known is not None and len(known) > len(apex)):  # a zone of its own below that one
            return None
        return self.signings[apex]

    def can_sign(self, name: bytes, rdtype: int) -> bool:
        """Tell whether the answer of a flagged name for a type can be signed now."""
        signing = self.signing_of(name)
        return signing is not None and signing.can_sign(name, rdtype)

    def soa(self, name: bytes) -> bytes | None:
        """Return the SOA record of a name's zone as a denial carries it, None where it is not known."""
        apex = self.apex(name)
        return apex + self._soas[apex] if apex is not None else None

    def found(self, apex: bytes, soa: bytes) -> bool:
        """Keep a zone's SOA record (owner uncompressed); tell whether the zone is new."""
        before, record = self._soas.get(apex), soa[len(apex) :]
        self._soas[apex] = record
        if before != record:
            self._feed.publish(ZoneChanged(apex))
        return before is None

    def judged(self, apex: bytes, *, signed: bool) -> None:
        """Keep whether a known zone is signed."""
        if apex in self._soas:
            self._change(apex, signed)

    def gone(self, apex: bytes) -> None:
        """Forget a zone: its names are in the zone around it."""
        known = self._soas.pop(apex, None) is not None
        self.controllers.pop(apex, None)
        self._change(apex, None)
        if known:
            self._feed.publish(ZoneChanged(apex))

    def _change(self, apex: bytes, signed: bool | None) -> None:  # noqa: FBT001 - three states
        before, passed = self._signed.get(apex), self.is_signed(apex)
        if signed is None:
            self._signed.pop(apex, None)
        else:
            self._signed[apex] = signed
        self.version += self.is_signed(apex) != passed
        if bool(before) != bool(signed):
            self._feed.publish(SignedChanged(apex, bool(signed)))
