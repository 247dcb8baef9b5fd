"""Views of many networks, in which everybody is answered as the name answers."""

from __future__ import annotations

from bench.servers import ZONE

VIEWS = 4


def in_views(count: int) -> str:
    """Return tables of `VIEWS` views with so many networks, and what each is answered; the bench's client is in one."""
    networks: list[list[str]] = [[] for _ in range(VIEWS)]
    networks[0].append("127.0.0.0/8")
    for number in range(count - 1):
        networks[number % VIEWS].append(f"10.{number >> 8}.{number & 255}.0/24")
    return "".join(
        f'[views.v{place}]\nclients = {each}\n[flatten."{ZONE}".views.v{place}]\nstale_for = "{24 + place}h"\n'
        for place, each in enumerate(networks)
    )
