"""HTTPS and SVCB records (RFC 9460) of one owner, rewritten so that they hold at another. Octets only.

A record's rdata is a priority, a TargetName and parameters in the order of their keys. What is not looked at stays as
it is, octet for octet: ECH, and every parameter that is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve, frozen

from flatproxy.errors import WireError
from flatproxy.wire.names import ROOT
from flatproxy.wire.peek import MAX_NAME, skip_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

MAX_ALIASES = 8
"""AliasMode records that may follow one another."""

_MANDATORY = 0
_IPV4HINT = 4
_IPV6HINT = 6
_ADDRESS_SIZES = {_IPV4HINT: 4, _IPV6HINT: 16}


@frozen
class Service:
    """One record's rdata. `priority` 0 is AliasMode; `target` is in wire form, the root standing for the owner."""

    priority: int
    target: bytes
    params: tuple[tuple[int, bytes], ...]

    def wire(self) -> bytes:
        """Return the rdata."""
        return (
            self.priority.to_bytes(2, "big")
            + self.target
            + b"".join(key.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for key, value in self.params)
        )


def parse_service(rdata: bytes) -> Service:
    """Return the record of an rdata; `WireError` where it is none (RFC 9460 section 2.2)."""
    if len(rdata) < 3:
        raise WireError("SVCB record cut")
    end = skip_name(rdata, 2)
    target = rdata[2:end]
    if len(target) > MAX_NAME or target[-1] != 0:
        raise WireError("a TargetName that is too long or compressed")
    params: list[tuple[int, bytes]] = []
    while end < len(rdata):
        key, size = int.from_bytes(rdata[end : end + 2], "big"), int.from_bytes(rdata[end + 2 : end + 4], "big")
        start, end = end + 4, end + 4 + size
        if end > len(rdata):
            raise WireError("SVCB parameter cut")
        if params and key <= params[-1][0]:
            raise WireError("SVCB parameters out of order")
        params.append((key, rdata[start:end]))
    return Service(int.from_bytes(rdata[:2], "big"), target, tuple(params))


def alias(rdatas: Iterable[bytes]) -> bytes | None:
    """Return where the RRset's AliasMode record leads, None where there is none: its records are the service's.

    The root says that there is no service (RFC 9460 section 2.5.1). An RRset with records of both modes is an alias
    (section 2.4.1); of several aliases, the first in the order of octets is taken each time.
    """
    targets = sorted(service.target for service in map(parse_service, rdatas) if service.priority == 0)
    return targets[0] if targets else None


def rewritten(
    rdatas: Iterable[bytes], found_at: bytes, addresses_at: bytes, addresses: Collection[bytes]
) -> tuple[bytes, ...]:
    """Return a target's ServiceMode records as they hold at a flagged name.

    `found_at` is the owner they were found at, `addresses_at` the name at which the target's addresses were found (both
    in wire form, compared without regard to case), `addresses` those that the flagged name has at this moment, of both
    families. A TargetName of `.` meant `found_at`: it stays where the flagged name has that name's addresses.
    """
    same = found_at.lower() == addresses_at.lower()
    made = []
    for rdata in rdatas:
        service = parse_service(rdata)
        if service.target != ROOT:
            made.append(rdata)
            continue
        kept = _without_wrong_hints(service, addresses)
        if kept is not None:
            made.append(kept.wire() if same else evolve(kept, target=found_at).wire())
    return tuple(dict.fromkeys(made))


def _without_wrong_hints(service: Service, addresses: Collection[bytes]) -> Service | None:
    """Return the record without hints at other addresses; None where nothing else was in it."""
    wrong = {key for key, value in service.params if key in _ADDRESS_SIZES and not _are_among(value, key, addresses)}
    if not wrong:
        return service
    params = []
    for key, value in service.params:
        if key == _MANDATORY:
            value = b"".join(part for part in _parts(value, 2) if int.from_bytes(part, "big") not in wrong)  # noqa: PLW2901
            if not value:
                continue
        if key not in wrong:
            params.append((key, value))
    return evolve(service, params=tuple(params)) if params else None


def _are_among(value: bytes, key: int, addresses: Collection[bytes]) -> bool:
    return all(part in addresses for part in _parts(value, _ADDRESS_SIZES[key]))


def _parts(value: bytes, size: int) -> list[bytes]:
    return [value[start : start + size] for start in range(0, len(value), size)]
