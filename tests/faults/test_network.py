"""Datagrams lost, doubled and out of order, on either side of flatproxy, while stub resolvers ask until they are told.

A relay in the way does it: this needs no right, and works where the kernel has no netem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import packets
from tests.support.clients import insist
from tests.support.configuration import configuration
from tests.support.relay import FAIR, Relay, Weather

from .losses import FLATTEN

if TYPE_CHECKING:
    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

    from .losses import Share, Start

STORM = Weather(loss=0.3, twice=0.1, reorder=0.25, delay_s=0.02, jitter_s=0.01)
TRIES = 5
TRY_S = 1.5


def _is_its_own(message: bytes, reply: bytes) -> bool:
    return packets.question_of(message) == packets.question_of(reply) and packets.rcode_of(reply) in (0, 3)


@pytest.mark.parametrize(
    ("where", "before", "behind", "least"),
    [
        ("to the nameserver", FAIR, STORM, 0.98),  # asked twice each time: 1 of 4 tries fails, all five of 1,000
        ("to the client", STORM, FAIR, 0.92),  # half of the tries fail whoever answers, all five of 30
    ],
)
def test_a_storm(
    nsd: Nsd,
    resolver: FakeInternet,
    start: Start,
    note_share: Share,
    where: str,
    before: Weather,
    behind: Weather,
    least: float,
) -> None:
    forwarded = [packets.query(f"storm{number}.example.com") for number in range(200)]
    with Relay(nsd.address, 1, behind) as far:
        config = configuration(upstream=[far.address], resolver=[resolver.address], flatten=FLATTEN)
        proxy = start(config)
        with Relay(proxy.address, 2, before) as near:
            made = insist(near.address, forwarded, _is_its_own, tries=TRIES, try_s=TRY_S)
    assert not made.wrong
    note_share(f"30 % loss {where}, {TRIES} tries", made.asked, made.right)
    assert made.share >= least
