from __future__ import annotations

from ipaddress import IPv4Network, ip_network

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.table.subnets import ENTRIES, KEPT_FAILURE_S, RESOLVING, TARGET_ENTRIES, Entry, Subnets, Tailored
from flatproxy.wire.client_subnet import Subnet

LB = b"\2lb\4test\0"


def net(text: str) -> Subnet:
    network = ip_network(text)
    return Subnet.of(network.network_address.packed, network.prefixlen)


def numbered(number: int, bits: int = 24) -> Subnet:
    return Subnet.of((number << 32 - bits).to_bytes(4, "big"), bits)


def put(
    subnets: Subnets[str],
    sent: Subnet,
    scope: int,
    value: str,
    ttl_s: float = 60.0,
    now: float = 0.0,
    target: bytes = LB,
) -> None:
    assert subnets.begin(target, sent)
    subnets.settle(target, sent, Tailored(scope=scope, value=value, ttl_s=ttl_s), now)


def value_of(entry: Entry[str] | None) -> str | None:
    return entry.value if entry else "nothing"


def test_an_answer_holds_for_its_scope_and_its_time() -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), 16, "branch")
    assert value_of(subnets.get(LB, net("10.1.9.0/24"), 59.9)) == "branch"
    assert subnets.get(LB, net("10.2.0.0/24"), 0.0) is None
    assert subnets.get(b"\0", net("10.1.2.0/24"), 0.0) is None
    assert subnets.get(LB, net("10.1.9.0/24"), 60.0) is None
    assert len(subnets) == 0


def test_the_longest_scope_wins_and_none_is_longer_than_what_was_asked() -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), 24, "desk")
    put(subnets, net("10.1.3.0/24"), 8, "all of ten")
    assert value_of(subnets.get(LB, net("10.1.2.0/24"), 0.0)) == "desk"
    assert value_of(subnets.get(LB, net("10.1.3.0/24"), 0.0)) == "all of ten"
    assert value_of(subnets.get(LB, net("10.1.0.0/16"), 0.0)) == "all of ten"
    assert subnets.get(LB, net("8.0.0.0/6"), 0.0) is None


def test_scope_0_is_the_shared_answer_for_all() -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), 0, "never given")
    assert value_of(subnets.get(LB, net("192.0.2.0/24"), 0.0)) is None
    assert subnets.get(LB, net("2001:db8::/56"), 0.0) is None
    assert subnets.hits == 0


def test_an_answer_is_resolved_again_in_its_last_tenth_if_it_is_asked_for() -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), 24, "old")
    entry = subnets.get(LB, net("10.1.2.0/24"), 50.0)
    assert entry is not None
    assert (entry.again_at, entry.until) == (54.0, 60.0)
    put(subnets, net("10.1.2.0/24"), 24, "new", now=55.0)
    assert value_of(subnets.get(LB, net("10.1.2.0/24"), 114.9)) == "new"
    assert subnets.count(LB) == 1


def test_a_failure_leaves_what_there_is_and_makes_the_next_one_wait() -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), 16, "branch")
    assert subnets.begin(LB, net("10.1.2.0/24"))
    subnets.fail(LB, net("10.1.2.0/24"), 55.0)
    entry = subnets.get(LB, net("10.1.2.0/24"), 55.0)
    assert entry is not None
    assert (entry.value, entry.again_at, entry.until) == ("branch", 60.0, 60.0)

    assert subnets.begin(LB, net("192.0.2.0/24"))
    subnets.fail(LB, net("192.0.2.0/24"), 0.0)
    assert value_of(subnets.get(LB, net("192.0.2.0/24"), KEPT_FAILURE_S - 0.1)) is None
    assert subnets.get(LB, net("192.0.2.0/24"), KEPT_FAILURE_S) is None


def test_one_resolution_for_a_network_and_32_for_a_target() -> None:
    subnets = Subnets[str]()
    assert subnets.begin(LB, numbered(0))
    assert not subnets.begin(LB, numbered(0))
    for number in range(1, RESOLVING):
        assert subnets.begin(LB, numbered(number))
    assert not subnets.begin(LB, numbered(RESOLVING))
    assert subnets.begin(b"\0", numbered(RESOLVING))
    subnets.fail(LB, numbered(0), 0.0)
    assert subnets.begin(LB, numbered(RESOLVING))


def test_a_target_keeps_256_the_least_recently_used_goes() -> None:
    subnets = Subnets[str]()
    for number in range(TARGET_ENTRIES):
        put(subnets, numbered(number), 24, "x")
    assert subnets.get(LB, numbered(0), 0.0)
    put(subnets, numbered(TARGET_ENTRIES), 24, "x")
    assert subnets.get(LB, numbered(0), 0.0)
    assert subnets.get(LB, numbered(1), 0.0) is None
    assert (subnets.count(LB), subnets.evictions) == (TARGET_ENTRIES, 1)


def test_all_targets_keep_16384_the_least_recently_used_goes() -> None:
    subnets = Subnets[str]()
    full = ENTRIES // TARGET_ENTRIES
    for target in range(full):
        for number in range(TARGET_ENTRIES):
            put(subnets, numbered(number), 24, "x", target=bytes([target]))
    assert subnets.get(b"\0", numbered(0), 0.0)
    put(subnets, numbered(0), 24, "x", target=b"one more")
    assert len(subnets) == ENTRIES
    assert subnets.get(b"\0", numbered(0), 0.0)
    assert subnets.get(b"\0", numbered(1), 0.0) is None
    assert subnets.evictions == 1
    subnets.forget(b"\1")
    assert (len(subnets), subnets.count(b"\1")) == (ENTRIES - TARGET_ENTRIES, 0)


def test_what_comes_for_a_forgotten_target_is_dropped() -> None:
    subnets = Subnets[str]()
    assert subnets.begin(LB, numbered(0))
    subnets.forget(LB)
    subnets.settle(LB, numbered(0), Tailored(scope=24, value="late", ttl_s=60.0), 0.0)
    subnets.fail(LB, numbered(0), 0.0)
    assert (len(subnets), subnets.count(LB)) == (0, 0)
    assert subnets.begin(LB, numbered(1))
    subnets.settle(LB, numbered(0), Tailored(scope=24, value="late", ttl_s=60.0), 0.0)
    assert (len(subnets), subnets.count(LB)) == (0, 0)


@frozen
class Step:
    now: float
    sent: IPv4Network
    scope: int
    ttl_s: float


def _step(now: int, number: int, bits: int, scope: int, ttl_s: int) -> Step:
    sent = IPv4Network((number >> 24 - bits << 32 - bits, bits))
    return Step(now, sent, min(scope, bits), ttl_s)


STEPS = st.lists(
    st.builds(
        _step,
        st.integers(0, 30),
        st.sampled_from([0x0A0000, 0x0A0001, 0x0A0100, 0x0A8000, 0x0B0000, 0xC00002]),
        st.integers(1, 24),
        st.integers(0, 24),
        st.integers(1, 20),
    ),
    max_size=40,
)


@given(STEPS)
def test_no_answer_is_given_outside_its_scope_nor_one_of_less(steps: list[Step]) -> None:
    """Against a list of all that was ever put: the youngest of each network counts, the longest around wins."""
    subnets = Subnets[str]()
    model: dict[IPv4Network, tuple[str | None, float]] = {}
    for number, step in enumerate(sorted(steps, key=lambda step: step.now)):
        sent = net(str(step.sent))
        around = [network for network, (_, until) in model.items() if step.sent.subnet_of(network) and step.now < until]
        longest = max(around, key=lambda network: network.prefixlen, default=None)
        wanted = model[longest][0] if longest else "nothing"
        assert value_of(subnets.get(LB, sent, step.now)) == wanted
        put(subnets, sent, step.scope, str(number), step.ttl_s, step.now)
        scope = step.sent.supernet(new_prefix=step.scope)
        model[scope] = (str(number) if step.scope else None, step.now + step.ttl_s)


@pytest.mark.parametrize("scope", [0, 24])
def test_the_counts_of_lengths_end_at_nothing(scope: int) -> None:
    subnets = Subnets[str]()
    put(subnets, net("10.1.2.0/24"), scope, "x", ttl_s=1.0)
    assert subnets.get(LB, net("10.1.2.0/24"), 1.0) is None
    assert subnets._targets[LB].lengths == {1: {}}
