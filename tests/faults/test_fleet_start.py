"""A node that starts when the fleet knows 100,000 targets, and no resolver answers: it knows them before it answers."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

import pytest

from flatproxy.flatten.fleet.entry import Seal, TargetEntry
from flatproxy.flatten.fleet.operations import StoreKeys
from tests.support.configuration import configuration
from tests.support.fleet import PREFIX, addresses
from tests.support.internet import FakeInternet, Mood
from tests.support.proxy import Proxy
from tests.support.redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

    from .losses import Took

TARGETS: Final = 100_000
STALE_EVERY: Final = 10
"""One in so many has run out."""
TTL_S: Final = 300
WITHIN_S: Final = 5.0
SECRET: Final = b"0123456789abcdef0123456789abcdef"
KEYS: Final = StoreKeys(PREFIX)


def address(number: int) -> bytes:
    return bytes([10, *number.to_bytes(3, "big")])


def fill(store: Redis) -> None:
    """Put in what another node would have published: some of it a while ago."""
    seal = Seal(SECRET, PREFIX)
    with store.client() as client:
        for start in range(0, TARGETS, 1_000):
            pipeline = client.pipeline(transaction=False)
            for number in range(start, start + 1_000):
                at = time() - (TTL_S + 60 if number % STALE_EVERY == 0 else 1)
                names = (f"t{number}.lb.test",)
                entry = TargetEntry(
                    rdatas=(address(number),), ttl_s=TTL_S, names=names, outcome="addresses", resolved_at=at
                )
                place = f"t{number}.lb.test/A"
                pipeline.set(KEYS.entry(place), seal.seal(place, int(at * 1000), entry.content()))
            pipeline.execute()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Redis]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with Redis(folder) as server:
        fill(server)
        yield server


@pytest.fixture
def node(tmp_path: Path, store: Redis, resolver: FakeInternet, nsd: Nsd) -> Iterator[Proxy]:
    """One that has not begun yet."""
    resolver.mood = Mood.SILENT
    secret = tmp_path / "fleet.secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    (tmp_path / "names.txt").write_text(
        "".join(f"n{number}.example.com t{number}.lb.test\n" for number in range(TARGETS))
    )
    fleet = {"store": store.url, "secret_file": str(secret), "prefix": PREFIX, "node": "ns1"}
    config = configuration(
        upstream=[nsd.address],
        resolver=[resolver.address],
        defaults={"types": ["A"]},
        fleet=fleet,
    )
    proxy = Proxy(tmp_path, f'include = ["names.txt"]\n{config}')
    yield proxy
    if proxy.alive:
        proxy.stop()


def test_it_knows_all_within_seconds(node: Proxy, note_took: Took) -> None:
    node.launch()
    warm = node.wait_event("fleet_warm")
    note_took("a start with 100,000 entries: all read", warm["seconds"])
    node.attach()
    assert warm["entries"] == TARGETS
    assert warm["seconds"] < WITHIN_S
    for number in range(0, TARGETS, 97):
        expected = ".".join(map(str, address(number)))
        assert addresses(node, f"n{number}.example.com") == {expected}
    stale = TARGETS // STALE_EVERY
    names = node.metrics()
    assert names.value("names", rung="stale") == stale
    assert names.value("names", rung="fresh") == TARGETS - stale
