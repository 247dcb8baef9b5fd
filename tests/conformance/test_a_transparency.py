"""Section A: ordinary queries come back as the nameserver answered them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import dnsio, packets, zones

if TYPE_CHECKING:
    from .backend import RealBackend
    from .subject import Subject


@pytest.mark.must
def test_001_ordinary_grid(proxy: Subject, nsd: RealBackend) -> None:
    messages = [
        packets.query(zones.full(name), rdtype, ident=index)
        for index, (name, rdtype) in enumerate((name, rdtype) for name in zones.NAMES for rdtype in zones.TYPES)
    ]
    direct = dnsio.udp_many(nsd.where, messages)
    assert None not in direct
    assert dnsio.udp_many(proxy.where, messages) == direct
