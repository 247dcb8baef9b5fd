"""What somebody writes into a fleet's store who should not: two nodes never answer it, count it, and say it once."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import pytest
from attrs import define, field

from flatproxy.flatten.fleet.entry import MAX_ENTRY, SCHEMA, Seal
from flatproxy.flatten.fleet.operations import BUCKETS, StoreKeys
from tests.support.fleet import PREFIX, Fleet, addresses
from tests.support.internet import FakeInternet
from tests.support.redis import Redis
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.nsd import Nsd

KEYS: Final = StoreKeys(PREFIX)
TRUE: Final = frozenset({"203.0.113.2"})
BEFORE: Final = "203.0.113.1"
FORGED: Final = bytes([192, 0, 2, 66]).hex()
LATER: Final = 10**15
"""A version above all that nodes write."""


def place(case: str, rdtype: str = "A") -> str:
    return f"{case}.lb.test/{rdtype}"


@define(eq=False)
class Forger:
    """Who writes into the store; `old` is what stood there before the last change."""

    store: Redis
    seal: Seal
    old: dict[bytes, bytes]

    def now(self) -> dict[bytes, bytes]:
        return self.store.entries()

    def content(self, **more: Any) -> dict[str, Any]:
        seconds = int(self.store.do("TIME")[0])
        known = {"rdatas": [FORGED], "ttl": 60, "names": ["lb.test."], "outcome": "addresses", "at": seconds}
        return known | more

    def sealed(self, case: str, **more: Any) -> bytes:
        return self.seal.seal(place(case), LATER, self.content(**more))


def wrong_hmac(forger: Forger, case: str) -> bytes:
    return Seal(b"another secret..", PREFIX).seal(place(case), LATER, forger.content())


def other_prefix(forger: Forger, case: str) -> bytes:
    return Seal(b"0123456789abcdef0123456789abcdef", "flatproxy:other").seal(place(case), LATER, forger.content())


def raised_version(forger: Forger, case: str) -> bytes:
    """The entry of before with a version that was written over."""
    raw = forger.old[KEYS.entry(place(case)).encode()]
    return raw[:1] + b"%016d" % LATER + raw[17:]


def old_version(forger: Forger, case: str) -> bytes:
    return forger.old[KEYS.entry(place(case)).encode()]


def other_target(forger: Forger, case: str) -> bytes:
    del case
    return forger.seal.seal(place("elsewhere"), LATER, forger.content())


def other_type(forger: Forger, case: str) -> bytes:
    return forger.seal.seal(place(case, "AAAA"), LATER, forger.content())


def other_schema(forger: Forger, case: str) -> bytes:
    return b"2" + forger.sealed(case)[1:]


def oversized(forger: Forger, case: str) -> bytes:
    return forger.sealed(case, more="x" * MAX_ENTRY)


def too_short(_forger: Forger, _case: str) -> bytes:
    return SCHEMA + b"%016d" % LATER


def nothing(_forger: Forger, _case: str) -> bytes:
    return b""


def garbage(_forger: Forger, _case: str) -> bytes:
    return SCHEMA + b"%016d" % LATER + bytes(range(256)) * 4


def cut_short(forger: Forger, case: str) -> bytes:
    return forger.sealed(case)[:-1]


def of_the_future(forger: Forger, case: str) -> bytes:
    return forger.sealed(case, at=int(forger.store.do("TIME")[0]) + 3_600)


def no_address(forger: Forger, case: str) -> bytes:
    return forger.sealed(case, rdatas=["c0000242ff"])


CASES: Final[dict[str, tuple[Callable[[Forger, str], bytes], str]]] = {
    make.__name__.replace("_", "-"): (make, reason)
    for make, reason in (
        (wrong_hmac, "hmac"),
        (other_prefix, "hmac"),
        (raised_version, "hmac"),
        (old_version, "old"),
        (other_target, "hmac"),
        (other_type, "hmac"),
        (other_schema, "schema"),
        (oversized, "size"),
        (too_short, "size"),
        (nothing, "size"),
        (garbage, "hmac"),
        (cut_short, "hmac"),
        (of_the_future, "time"),
        (no_address, "content"),
    )
}
LIST: Final = "a-list"
"""Where something stands that is no string at all."""


@define(eq=False)
class Outcome:
    """What both nodes have answered since, by case, and what they have logged and counted."""

    fleet: Fleet
    store: Redis
    answered: dict[str, set[frozenset[str]]] = field(factory=dict)
    own: dict[str, bytes] = field(factory=dict)
    """What stood in the store in the end."""

    def told(self, case: str, reason: str) -> list[int]:
        """Return how often each node has said that it does not believe the entry of a case."""
        return [
            len(node.since(0, "fleet_entry_refused", place=place(case), reason=reason)) for node in self.fleet.nodes
        ]


def forge(forger: Forger) -> dict[str, bytes]:
    written = {}
    with forger.store.client() as client:
        for case, (make, _) in CASES.items():
            written[case] = make(forger, case)
            client.set(KEYS.entry(place(case)), written[case])
            client.publish(KEYS.channel, f"{LATER} {place(case)}")
            client.set(KEYS.lease(place(case)), "nobody")  # a lease without an end
        for hint in (b"9" * 5_000 + b" x", b"? " + b"a" * 5_000 + b" 1", b"? a " + b"9" * 5_000, b"\xff\xfe", b""):
            client.publish(KEYS.channel, hint)
        for bucket in range(BUCKETS):
            client.zadd(KEYS.changes(bucket), {b"\xff": inf, place(LIST): 1e300})
        client.delete(KEYS.entry(place(LIST)))
        client.rpush(KEYS.entry(place(LIST)), "192.0.2.66")
    return written


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, nsd: Nsd) -> Iterator[Outcome]:
    """Two nodes, with a target for each case, all forged at once; asked until each entry is good again."""
    folder = tmp_path_factory.mktemp("forged")
    (folder / "redis").mkdir()
    cases = [*CASES, LIST]
    flatten = {f"{case}.example.com": {"target": f"{case}.lb.test", "types": ["A"]} for case in cases}
    with Redis(folder / "redis") as store, FakeInternet() as resolver:
        fleet = Fleet(folder, store.url, resolver, nsd.address, flatten)

        def move(address: str) -> None:
            for case in cases:
                resolver.set(f"{case}.lb.test", "A", [address], 2)
            for case in cases:
                fleet.all_answer(address, f"{case}.example.com")

        try:
            for case in cases:
                resolver.set(f"{case}.lb.test", "A", [BEFORE], 2)
            fleet.begin(2)
            move(BEFORE)
            until(lambda: len(store.entries()) == len(cases), "all entries")
            old = store.entries()
            move(*TRUE)
            forger = Forger(store, Seal(fleet.secret.read_bytes(), PREFIX), old)
            yield watch(Outcome(fleet, store), forge(forger))
        finally:
            fleet.stop()


def watch(seen: Outcome, written: dict[str, bytes]) -> Outcome:
    end = monotonic() + 30
    left = set(written) | {LIST}
    while left and monotonic() < end:
        for case in (*CASES, LIST):
            for node in seen.fleet.nodes:
                seen.answered.setdefault(case, set()).add(addresses(node, f"{case}.example.com"))
        with seen.store.client() as client:
            for case in list(left):
                key = KEYS.entry(place(case))
                raw = client.get(key) if client.type(key) == b"string" else None
                if raw is not None and raw != written.get(case, b""):
                    left.discard(case)
                    seen.own[case] = raw
    until(lambda: not lasting(seen.store), "leases have an end")
    return seen


def lasting(store: Redis) -> list[str]:
    """Return the cases whose lease has no end."""
    with store.client() as client:
        return [case for case in CASES if client.ttl(KEYS.lease(place(case))) == -1]


@pytest.mark.parametrize("case", CASES)
def test_it_is_never_answered_and_said_once(outcome: Outcome, case: str) -> None:
    assert outcome.answered[case] == {TRUE}
    assert sum(outcome.told(case, CASES[case][1])) >= 1
    assert max(outcome.told(case, CASES[case][1])) == 1
    assert case in outcome.own, "it was written over"


def test_what_is_no_string_is_written_over(outcome: Outcome) -> None:
    assert outcome.answered[LIST] == {TRUE}
    assert LIST in outcome.own
    assert not any(node.since(0, "fleet_alone") for node in outcome.fleet.nodes)


def test_it_is_counted(outcome: Outcome) -> None:
    for node in outcome.fleet.nodes:
        told = [event["reason"] for event in node.since(0, "fleet_entry_refused")]
        for reason in set(told):
            assert node.metrics().value("fleet_entries_refused_total", reason=reason) >= told.count(reason)
