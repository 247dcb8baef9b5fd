"""Which of a name's targets is answered, and with which of its addresses: by what each has, and what health says.

Pure: what is fresh, held or stale is the ladder's to say, what is sick the probes'.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


class Have(IntEnum):
    """What a target has for one type, best first."""

    FRESH = 0
    HELD = 1
    STALE = 2


@frozen
class Addresses:
    """What a target has for one type: at least one address."""

    have: Have
    rdatas: tuple[bytes, ...]


Offer = Mapping[int, Addresses]
"""What a target has, by type; a type without addresses is not in it."""


@frozen(kw_only=True)
class Pick:
    """What is answered. `targets` are the places, in the list of targets, of those that the addresses come from.

    `rdatas` are by type: a type that is left out is NODATA. `left_out`: health kept something back, so that the answer
    must not outlive the next probe. `failing_open`: too little is well, so health keeps nothing back.
    """

    targets: tuple[int, ...]
    rdatas: Mapping[int, tuple[bytes, ...]]
    left_out: bool = False
    failing_open: bool = False


def pick(offers: Sequence[Offer], use: Literal["first", "all"], sick: Collection[bytes], minimum: float) -> Pick | None:
    """Return what to answer, None where no target has any address.

    `sick` are the addresses that fail their checks; `minimum` is the share of all addresses, over all types, that must
    be well.
    """
    resolving = [place for place, offer in enumerate(offers) if _has(offer, Have.FRESH)]
    if not resolving:
        for have in (Have.HELD, Have.STALE):
            for place, offer in enumerate(offers):
                if _has(offer, have):
                    return _judge(offers, (place,), sick, minimum)
        return None
    if use == "all":
        return _judge(offers, tuple(resolving), sick, minimum)
    choices = [_judge(offers, (place,), sick, minimum) for place in resolving]
    for choice in choices:
        if not choice.failing_open:
            passed_over = choice is not choices[0]
            return Pick(targets=choice.targets, rdatas=choice.rdatas, left_out=choice.left_out or passed_over)
    return choices[0]


def _has(offer: Offer, have: Have) -> bool:
    return any(addresses.have is have for addresses in offer.values())


def _judge(offers: Sequence[Offer], places: tuple[int, ...], sick: Collection[bytes], minimum: float) -> Pick:
    """Return the well addresses of these targets, or all where too few are well."""
    merged: dict[int, dict[bytes, None]] = {}
    for place in places:
        for rdtype, addresses in offers[place].items():
            merged.setdefault(rdtype, {}).update(dict.fromkeys(addresses.rdatas))
    well = {rdtype: tuple(rdata for rdata in rdatas if rdata not in sick) for rdtype, rdatas in merged.items()}
    total, left = _count(merged.values()), _count(well.values())
    if not left or left / total < minimum:
        return Pick(
            targets=places, rdatas={rdtype: tuple(rdatas) for rdtype, rdatas in merged.items()}, failing_open=True
        )
    return Pick(
        targets=places, rdatas={rdtype: rdatas for rdtype, rdatas in well.items() if rdatas}, left_out=left < total
    )


def _count(sets: Iterable[Collection[bytes]]) -> int:
    return sum(map(len, sets))
