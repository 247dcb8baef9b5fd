"""Answers by client subnet: each for whom it was resolved, the shared one for the rest, and nobody waits for ever."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_address
from typing import TYPE_CHECKING

import dns.edns
import dns.message
import pytest
from attrs import define, evolve, field
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Rule
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table, question
from flatproxy.table.tailored import AT_ONCE, BRIEF_TTL_S, WAITING_AT_ONCE
from flatproxy.wire.types import TYPE_A
from tests.unit.wire.messages import end_of, query

if TYPE_CHECKING:
    from flatproxy.config.rules import ClientSubnet
    from flatproxy.table.target import Target
    from flatproxy.wire.client_subnet import Subnet

NAME, LB = b"\7example\3com\0", b"\2lb\4test\0"
RULE = Rule(target=LB, client_subnet="forward")
SHARED = bytes([203, 0, 113, 1])
HOST = ip_address("9.9.9.9").packed
NET = "198.51.100.0/24"


@define(eq=False)
class World:
    """A table with one name, its target resolved at 100.0 with a TTL of 300 s; what is asked for is written down."""

    rule: Rule = RULE
    table: Table = field(factory=Table)
    wanted: list[tuple[Target, Subnet]] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.table.tailoring.resolve = lambda target, sent: self.wanted.append((target, sent))
        self.adopt(self.rule)
        self.target.settle(Resolution(rdatas=(SHARED,), ttl_s=300, names=("lb.test",), resolved_at=100.0), "x", 0.0)

    def adopt(self, rule: Rule) -> None:
        self.table.adopt({NAME: rule}, 100.0, 1.8)

    @property
    def target(self) -> Target:
        return self.table.targets[LB, TYPE_A, Guarding()]

    def settle(self, scope: int, last: int, *, ttl_s: int = 60, at: float = 100.0) -> None:
        """End what was wanted first."""
        target, sent = self.wanted.pop(0)
        found = Resolution(rdatas=(bytes([192, 0, 2, last]),), ttl_s=ttl_s, names=("lb.test",), resolved_at=at)
        self.table.tailoring.settle(target, sent, scope, found)

    def fail(self, now: float = 100.0) -> None:
        self.table.tailoring.fail(*self.wanted.pop(0), now)

    def ask(self, network: str | None, now: float = 100.0, *, host: bytes = HOST, late: bool = True) -> str | None:
        """Return last octet, TTL and scope of an answer, None where the query waits; `late`: it waited already."""
        options = [_option(network)] if network else []
        asked = query(options=options, use_edns=0)
        answer = self.table.get(question(NAME, TYPE_A))
        assert isinstance(answer, TargetAnswer)
        made = answer.of_client(asked, end_of(asked), host)
        wire = made.reply(asked, end_of(asked), now, udp=True)
        if wire is None and late:
            made.wait(now, lambda: None)
            wire = made.reply(asked, end_of(asked), now, udp=True)
        return None if wire is None else _said(dns.message.from_wire(wire))


def _option(network: str) -> dns.edns.Option:
    address, _, bits = network.partition("/")
    return dns.edns.ECSOption(address, int(bits))


def _said(reply: dns.message.Message) -> str:
    scope = next((f" /{each.scopelen}" for each in reply.options if isinstance(each, dns.edns.ECSOption)), "")
    return f"{reply.answer[0][0].to_text()} {reply.answer[0].ttl}{scope}"


def test_the_first_query_waits_and_the_others_have_it() -> None:
    world = World()
    assert world.ask(NET, late=False) is None
    assert [str(sent) for _, sent in world.wanted] == [NET]
    world.settle(24, 7)
    assert world.ask(NET) == "192.0.2.7 60 /24"
    assert world.ask("198.51.100.9/32", 110.0) == "192.0.2.7 50 /24"
    assert world.ask(None) == "203.0.113.1 300"
    assert world.wanted == []


def test_without_an_answer_in_time_the_shared_one_is_brief() -> None:
    world = World()
    assert world.ask(NET) == f"203.0.113.1 {BRIEF_TTL_S} /0"
    assert world.ask(NET) == f"203.0.113.1 {BRIEF_TTL_S} /0"
    assert len(world.wanted) == 1, "one at a time"
    world.fail()
    assert world.ask(NET, late=False) == f"203.0.113.1 {BRIEF_TTL_S} /0", "nobody waits for what has just failed"
    assert world.ask(NET, 390.0) == "203.0.113.1 10 /0", "never longer than it holds"


def test_who_waits_is_called_back_when_it_is_known_or_too_late() -> None:
    world = World()
    asked = query(options=[_option(NET)], use_edns=0)
    answer = world.table.get(question(NAME, TYPE_A))
    assert answer is not None
    called: list[str] = []
    tailoring = world.table.tailoring
    for what in ("first", "second"):
        made = answer.of_client(asked, end_of(asked), HOST)
        assert made.reply(asked, end_of(asked), 100.0, udp=True) is None
        assert made.wait(100.0, lambda what=what: called.append(what))  # type: ignore[misc]
    tailoring.expire(100.0 + tailoring.wait_s / 2)
    assert called == []
    tailoring.expire(100.0 + tailoring.wait_s)
    assert called == ["first", "second"]
    world.settle(24, 7)
    assert called == ["first", "second"]
    assert world.ask(NET) == "192.0.2.7 60 /24"


def test_an_answer_is_resolved_again_near_its_end_where_it_is_asked_for() -> None:
    world = World()
    world.ask(NET)
    world.settle(24, 7)
    assert world.ask(NET, 153.0) == "192.0.2.7 7 /24"
    assert world.wanted == []
    assert world.ask(NET, 155.0) == "192.0.2.7 5 /24"
    assert len(world.wanted) == 1
    world.settle(24, 8, at=156.0)
    assert world.ask(NET, 156.0) == "192.0.2.8 60 /24"


def test_scope_0_is_the_shared_answer_with_its_own_ttl() -> None:
    world = World()
    world.ask(NET)
    world.settle(0, 7)
    assert world.ask(NET) == "203.0.113.1 300 /0"
    assert world.ask("192.0.2.0/24") == "203.0.113.1 300 /0"
    assert world.wanted == []


@pytest.mark.parametrize(
    ("mode", "host", "sent"),
    [
        ("forward", "9.9.9.9", None),
        ("synthesize", "9.9.9.9", "9.9.9.0/24"),
        ("synthesize", "2620:fe::fe:9", "2620:fe::/56"),
        ("synthesize", "10.0.0.1", None),
        ("synthesize", "fe80::1", None),
    ],
)
def test_the_client_stands_in_where_that_is_asked_for(mode: ClientSubnet, host: str, sent: str | None) -> None:
    world = World(evolve(RULE, client_subnet=mode))
    world.ask(None, host=ip_address(host).packed)
    assert [str(sent) for _, sent in world.wanted] == ([sent] if sent else [])


def test_what_is_pinned_checked_or_chosen_is_the_same_for_all() -> None:
    for rule in (evolve(RULE, pin=(ip_address("192.0.2.99"),)), evolve(RULE, targets=(LB, b"\2us\4test\0"))):
        world = World()
        world.adopt(rule)
        said = world.ask(NET)
        assert said is not None
        assert "/" not in said
        assert world.wanted == []


def test_a_reload_forgets_targets_that_are_gone() -> None:
    world = World()
    world.ask(NET)
    world.settle(24, 7)
    world.ask("192.0.2.0/24")
    world.adopt(evolve(RULE, target=b"\2us\4test\0"))
    assert world.table.tailoring.by_target() == {}
    world.settle(24, 8)
    assert world.table.tailoring.by_target() == {}


def test_what_is_under_way_and_who_waits_is_bounded() -> None:
    world = World()
    tailoring = world.table.tailoring
    tailoring._under_way = AT_ONCE
    assert world.ask(NET, late=False) == f"203.0.113.1 {BRIEF_TTL_S} /0"
    tailoring._under_way = 0
    assert world.ask(NET, late=False) is None
    tailoring._waiting = WAITING_AT_ONCE
    assert world.ask(NET, late=False) == f"203.0.113.1 {BRIEF_TTL_S} /0"


QUERIES = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(["10.0.0.0", "10.0.1.0", "10.1.0.0", "10.128.0.0", "11.0.0.0", "192.0.2.0"]),
        st.integers(0, 32),
        st.integers(0, 32),
    ),
    max_size=30,
)


@given(QUERIES)
def test_no_reply_says_more_than_a_resolver_has_said(queries: list[tuple[int, str, int, int]]) -> None:
    """An answer and its scope are those of a resolution that holds for the whole network of the scope, or shared."""
    world = World()
    resolved: list[tuple[IPv4Network, float]] = []
    """By last octet: for which network, until when."""
    for passed, address, bits, scope in sorted(queries, key=lambda each: each[0]):
        now = 100.0 + passed
        network = IPv4Network((address, bits), strict=False)
        while True:
            said = world.ask(str(network), now, late=False)
            if said is not None:
                break
            sent = IPv4Network(str(world.wanted[0][1]))
            assert sent.prefixlen == min(bits, 24)
            resolved.append((sent.supernet(new_prefix=min(scope, sent.prefixlen)), now + 10))
            world.settle(min(scope, sent.prefixlen), len(resolved) - 1, ttl_s=10, at=now)
        while world.wanted:  # what is asked again before its end
            world.fail(now)
        addresses, ttl, echoed = said.split()
        if addresses == "203.0.113.1":
            assert echoed == "/0"
            continue
        around, until = resolved[int(addresses.rpartition(".")[2])]
        assert echoed == f"/{around.prefixlen}"
        assert network.subnet_of(around)
        assert int(ttl) <= until - now
