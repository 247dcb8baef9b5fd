"""Breaks messages: each call makes a few random changes of the kinds that have broken DNS software before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_LENGTHS = (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF)


def mutated(message: bytes, rng: random.Random) -> bytes:
    """Return the message with one to four changes."""
    octets = bytearray(message)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(octets)) if octets else 0
        match rng.randrange(8):
            case 0 if octets:
                octets[place] ^= 1 << rng.randrange(8)
            case 1 if octets:
                octets[place] = rng.choice(_LENGTHS)
            case 2:
                octets[place:place] = rng.randbytes(rng.randint(1, 12))
            case 3:
                del octets[place : place + rng.randint(1, 12)]
            case 4:
                del octets[place:]
            case 5 if len(octets) >= 12:  # section counts that lie
                octets[rng.randrange(4, 12)] = rng.choice((0, 1, 2, 255))
            case 6 if len(octets) > 14:  # a pointer, to anywhere
                at = rng.randrange(12, len(octets) - 1)
                octets[at : at + 2] = (0xC000 | rng.randrange(0x100)).to_bytes(2, "big")
            case _:
                octets += octets[rng.randrange(len(octets) + 1) :][:600]
    return bytes(octets)
