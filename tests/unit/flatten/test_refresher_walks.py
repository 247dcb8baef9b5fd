"""The refresher with a client: resolutions without tasks, bounded, packets between their pieces, hot names first."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import dns.message
import dns.rrset
import pytest
from attrs import define, evolve, field

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError, UpstreamTimeout
from flatproxy.flatten.refresher import (
    PARSE_RATE,
    SLICE_S,
    WALK_RATE,
    WALKS_AT_ONCE,
    Refresher,
)
from flatproxy.flatten.resolvers.servers import Servers
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.timing import MAX_ASKED_FAILURE_S, MAX_FAILURE_S
from flatproxy.table.answers import TargetAnswer
from flatproxy.table.changes import Failed
from flatproxy.table.ladder import Rung
from flatproxy.table.table import Table, question
from tests.unit.flatten.walking import response

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    import dns.edns
    import dns.name
    import dns.rdatatype

    from flatproxy.flatten.resolvers.datagrams import Inquiry
    from flatproxy.table.changes import Change
    from flatproxy.table.target import Target

SERVER = Endpoint("192.0.2.53", 53)
RULE = Rule(target=b"", types=frozenset({"A"}), any="forward", special="allow")


@define(eq=False)
class Client:
    """Says to each query at once what it was told to say; silent where that is None, until `expire`."""

    says: Callable[[dns.message.Message], bytes | FlatproxyError | None]
    arrived: deque[tuple[Inquiry, bytes | FlatproxyError]] = field(factory=deque)
    silent: list[Inquiry] = field(factory=list)
    asked: list[str] = field(factory=list)
    closed: bool = False

    def send(self, query: Inquiry, now: float) -> None:  # noqa: ARG002 - as the real one
        message = dns.message.from_wire(b"\0\7" + query.message)
        self.asked.append(message.question[0].name.to_text(omit_final_dot=True))
        said = self.says(message)
        if said is None:
            self.silent.append(query)
        else:
            self.arrived.append((query, said))

    def put_back(self, query: Inquiry) -> None:
        self.silent.append(query)

    def expire(self, now: float) -> None:
        """Time is the test's."""

    def give_up(self) -> None:
        """End what is silent."""
        silent, self.silent = self.silent, []
        self.arrived.extend((query, UpstreamTimeout("no answer")) for query in silent)

    def close(self) -> None:
        self.closed = True


@define
class OverTcp(Servers):
    """Servers whose `ask` is answered by the test."""

    asked_again: list[str] = field(factory=list)

    async def ask(
        self,
        name: dns.name.Name,
        rdtype: dns.rdatatype.RdataType,
        *,
        dnssec: bool = False,  # noqa: ARG002 - as the real one
        options: Sequence[dns.edns.Option] = (),  # noqa: ARG002 - likewise
    ) -> dns.message.Message:
        text = name.to_text(omit_final_dot=True)
        self.asked_again.append(f"{text} {rdtype.name}")
        return response(text, [f"{text}. 60 IN A 192.0.2.7"])


def good(message: dns.message.Message, ttl: int = 60, *addresses: str) -> bytes:
    made = dns.message.make_response(message)
    made.answer.append(dns.rrset.from_text(message.question[0].name, ttl, "IN", "A", *(addresses or ["192.0.2.1"])))
    return made.to_wire()


def both(message: dns.message.Message, *records: str) -> bytes:
    made = dns.message.make_response(message)
    for rdtype, address in map(str.split, records):
        if rdtype == message.question[0].rdtype.name:
            made.answer.append(dns.rrset.from_text(message.question[0].name, 60, "IN", rdtype, address))
    return made.to_wire()


def host(number: int) -> bytes:
    return b"\5t" + f"{number:04}".encode() + b"\0"


@define(repr=False)
class World:
    """A refresher of many targets, the time it is told, and the pieces of work between which packets are served."""

    count: int = 1
    piece_s: float = 0.0
    now: float = 1000.0
    table: Table = field(factory=Table)
    client: Client = field(factory=lambda: Client(good))
    servers: OverTcp = field(factory=lambda: OverTcp((SERVER,), 1.8, recursion=True))
    pieces: int = 0
    refresher: Refresher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.refresher = Refresher(
            table=self.table,
            resolvers=self.servers,
            upstream=Servers((), 1.8, recursion=False),
            scope=ConfiguredScope({}, frozenset()),
            clock=lambda: self.now,
            serve_packets=self.serve,
            client=self.client,  # type: ignore[arg-type] # it has what is used
        )
        self.configure(self.count)

    def configure(self, count: int, rule: Rule = RULE) -> None:
        rules = {b"\1n" + each: evolve(rule, target=each) for each in map(host, range(count))}
        self.refresher.follow(self.table.adopt(rules, self.now, 1.8), self.now)

    def serve(self) -> None:
        self.pieces += 1
        self.now += self.piece_s

    def answer(self, number: int = 0) -> TargetAnswer:
        answer = self.table.get(question(b"\1n" + host(number), 1))
        assert isinstance(answer, TargetAnswer)
        return answer

    def target(self, number: int = 0) -> Target:
        return self.answer(number).target

    def tick(self, now: float) -> None:
        """Let it be this late, and do all that can be done then."""
        self.now = now
        before = -1
        while self.pieces > before:
            before = self.pieces
            self.refresher._go_on(self.now)

    def until_resolved(self) -> None:
        while self.table.tally.cold:
            self.tick(self.now + 0.05)


def run(script: Callable[[World], Coroutine[Any, Any, None]], count: int = 1) -> World:
    world = World(count)

    async def whole() -> None:
        await script(world)
        await world.refresher.stop()

    asyncio.run(whole())
    assert world.client.closed
    return world


def test_a_target_is_resolved_without_a_task_and_again_in_time() -> None:
    async def script(world: World) -> None:
        world.tick(1000.0)
        assert world.refresher._running == {}
        world.tick(1048.0)
        assert world.client.asked == ["t0000"]
        world.client.says = lambda message: good(message, ttl=30)
        world.tick(1059.0)
        assert world.client.asked == ["t0000"] * 2

    world = run(script)
    resolution = world.target().resolution
    assert resolution is not None
    assert (resolution.rdatas, resolution.ttl_s, resolution.resolved_at) == ((b"\xc0\0\2\1",), 30, 1059.0)
    assert world.target().outcomes == {"addresses": 2}
    assert sum(world.refresher.latency.counts) == 2


def test_a_cut_reply_goes_on_over_tcp() -> None:
    def cut(message: dns.message.Message) -> bytes:
        octets = bytearray(good(message))
        octets[2] |= 0x02
        return bytes(octets)

    async def script(world: World) -> None:
        world.client.says = cut
        world.tick(1000.0)
        await asyncio.gather(*world.refresher._running.values())
        assert world.servers.asked_again == ["t0000 A"]

    world = run(script)
    assert world.answer().rrset(1000.0) == (60, (b"\xc0\0\2\7",))
    assert world.refresher._walks == 0


def test_failures_are_put_down_with_their_reason() -> None:
    async def script(world: World) -> None:
        seen: list[Change] = []
        world.table.feed.subscribe(seen.append)
        world.client.says = lambda _message: UpstreamTimeout("no answer")
        world.tick(1000.0)
        assert Failed(world.target(), "t0000 A: no answer within 1.8 s") in seen

    assert run(script).target().outcomes == {"timeout": 1}


def test_an_oddity_ends_one_resolution_only() -> None:
    async def script(world: World) -> None:
        world.client.says = lambda message: 7 if message.question[0].name.to_text() == "t0000." else good(message)  # type: ignore[assignment, return-value]
        world.tick(1000.0)

    world = run(script, count=2)
    assert world.target(0).outcomes == {"broken": 1}
    assert world.target(1).outcomes == {"addresses": 1}
    assert world.refresher._walks == 0


def test_an_equal_reply_passes_the_guards_as_the_first_one_did() -> None:
    async def script(world: World) -> None:
        world.configure(1, evolve(RULE, special="refuse"))
        world.client.says = lambda message: good(message, 60, "192.0.2.1", "9.9.9.9")
        for now in (1000.0, 1060.0):
            world.tick(now)
            assert world.answer().rrset(now) == (60, (bytes([9] * 4),))
        assert len(world.refresher._memos) == 1
        world.client.says = good
        for now, failures in ((1120.0, 1), (1125.0, 2)):
            world.tick(now)
            assert world.target().failures == failures
        assert world.answer().rrset(1125.0) == (RULE.stale_ttl_s, (bytes([9] * 4),))

    assert run(script).target().outcomes == {"addresses": 2, "refused": 2}


def test_a_wholly_different_set_must_last_whether_or_not_its_replies_are_equal() -> None:
    async def script(world: World) -> None:
        def first() -> bytes:
            return (world.answer().rrset(world.now) or (0, [b""]))[1][0][:1]

        world.configure(1, evolve(RULE, hold_change_s=100))
        world.client.says = lambda message: good(message, 60, "8.8.8.8")
        world.tick(1000.0)
        world.client.says = lambda message: good(message, 60, "9.9.9.9")
        world.tick(1060.0)
        world.client.says = lambda message: good(message, 60, "8.8.8.8")
        world.tick(1120.0)
        world.client.says = lambda message: good(message, 60, "9.9.9.9")
        for now in (1180.0, 1240.0):
            world.tick(now)
            assert first() == b"\x08", "the old set in between starts the count again"
        world.tick(1300.0)
        assert first() == b"\x09"

    run(script)


def test_a_target_without_addresses_has_its_other_family_asked_at_once() -> None:
    async def script(world: World) -> None:
        world.configure(1, evolve(RULE, types=frozenset({"A", "AAAA"})))
        world.client.says = lambda message: both(message, "A 192.0.2.1", "AAAA 2001:db8::1")
        world.tick(1000.0)
        world.client.says = both
        world.client.asked.clear()
        world.tick(1057.0)
        assert len(world.client.asked) == 2
        assert (world.answer().rung, world.answer().rrset(1057.0)) == (Rung.HELD, (30, (b"\xc0\0\2\1",)))
        world.tick(1057.0 + RULE.hold_absent_s)
        assert (world.answer().rrset(world.now) or (0, "?"))[1] == ()

    run(script)


def test_a_target_that_a_reload_drops_is_forgotten_even_while_it_is_resolved() -> None:
    async def script(world: World) -> None:
        world.client.says = lambda _message: None
        world.tick(1000.0)
        world.configure(0)
        world.client.give_up()
        world.tick(1002.0)

    world = run(script)
    assert (world.table.targets, world.refresher._memos, world.refresher._walks) == ({}, {}, 0)


def test_what_was_learned_of_dropped_targets_is_forgotten() -> None:
    async def script(world: World) -> None:
        world.tick(1000.0)
        assert len(world.refresher._memos) == 2
        world.configure(1)
        assert list(world.refresher._memos) == [world.target(0)]

    run(script, count=2)


def test_packets_come_between_pieces_of_work() -> None:
    """A resolution of a known target is two pieces, to ask and to take the reply, of which one each goes together."""

    async def script(world: World) -> None:
        world.until_resolved()
        world.pieces = 0
        world.piece_s = SLICE_S / 10
        world.now = 1100.0
        world.refresher.tick(world.now)
        assert world.pieces == pytest.approx(10, abs=3), "a slice is not longer, whatever is due"
        assert world.refresher._going_on is not None
        world.piece_s = 0.0
        before = world.pieces, len(world.client.asked)
        world.tick(1100.0)
        assert world.pieces - before[0] >= len(world.client.asked) - before[1]

    run(script, count=300)


def test_what_is_under_way_is_bounded() -> None:
    async def script(world: World) -> None:
        world.until_resolved()
        world.client.says = lambda _message: None
        for tenth in range(30):
            world.tick(1200.0 + tenth / 10)
        assert world.refresher._walks == len(world.client.silent) == WALKS_AT_ONCE
        world.client.give_up()
        world.tick(1204.0)
        assert world.refresher._walks <= WALKS_AT_ONCE

    run(script, count=WALKS_AT_ONCE + 500)


def through_an_alias(message: dns.message.Message) -> bytes:
    """Return a reply that must be parsed."""
    made = dns.message.make_response(message)
    for rdtype, rdata, owner in (("CNAME", "b.test.", message.question[0].name), ("A", "192.0.2.1", "b.test.")):
        made.answer.append(dns.rrset.from_text(owner, 60, "IN", rdtype, rdata))
    return made.to_wire()


def test_walks_keep_to_their_rate_and_new_ones_whose_replies_must_be_parsed_to_a_smaller_one() -> None:
    async def script(world: World) -> None:
        world.client.says = through_an_alias
        for hundredth in range(100):
            world.tick(1000.0 + hundredth / 100)
        assert len(world.client.asked) == pytest.approx(PARSE_RATE, rel=0.15)
        world.until_resolved()
        world.client.asked.clear()
        for hundredth in range(100):
            world.tick(2000.0 + hundredth / 100)
        assert len(world.client.asked) <= 1.15 * WALK_RATE

    run(script, count=3_000)


def test_new_ones_whose_replies_are_plain_need_not_wait() -> None:
    async def script(world: World) -> None:
        for hundredth in range(100):
            world.tick(1000.0 + hundredth / 100)
        assert len(world.client.asked) == 3_000

    run(script, count=3_000)


def test_after_an_outage_who_is_asked_for_comes_first() -> None:
    async def script(world: World) -> None:
        world.until_resolved()
        hot = {290, 299}
        for number in hot:
            world.answer(number).rrset(world.now)
        world.tick(1060.0)  # all are resolved again, and who was asked for is known
        world.client.asked.clear()
        world.tick(1130.0)
        assert {int(text[1:]) for text in world.client.asked[:2]} == hot
        assert len(world.client.asked) == 300

    run(script, count=300)


def test_who_is_asked_for_is_tried_again_sooner_and_all_are_spread() -> None:
    async def script(world: World) -> None:
        world.until_resolved()
        world.client.says = lambda _message: UpstreamTimeout("no answer")
        for second in range(1050, 3050, 5):
            world.answer(0).rrset(float(second))
            world.tick(float(second))
        due = [world.refresher._due._places[world.target(number)]._due[world.target(number)] for number in range(300)]
        assert due[0] - world.now <= MAX_ASKED_FAILURE_S
        rest = due[1:]
        assert max(rest) - world.now <= MAX_FAILURE_S
        fullest = max(sum(begin <= each < begin + 10 for each in rest) for begin in range(3045, 3350, 10))
        assert fullest < len(rest) / 4, "no herd"

    run(script, count=300)


def test_a_query_that_waits_has_its_target_resolved_first() -> None:
    async def script(world: World) -> None:
        called: list[float] = []
        assert world.answer(4_999).wait(1000.0, lambda: called.append(world.now))
        world.tick(1000.0)
        assert called == [1000.0]
        assert world.client.asked[0] == "t4999"

    run(script, count=5_000)


def test_being_woken_often_is_being_woken_once() -> None:
    async def script(world: World) -> None:
        world.client.says = lambda _message: None
        world.tick(1000.0)
        failed = asyncio.Event()
        world.table.feed.subscribe(lambda _change: failed.set())
        world.client.give_up()
        world.refresher.wake()
        first = world.refresher._going_on
        world.refresher.wake()
        assert world.refresher._going_on is first
        await failed.wait()
        assert world.target().failures == 1

    run(script)


def test_a_resolution_asks_for_no_more_than_one_time_in_its_lifetime() -> None:
    """Single flight: a target that is under way is not due."""

    async def script(world: World) -> None:
        world.client.says = lambda _message: None
        for second in range(1000, 1100):
            world.tick(float(second))
        assert world.client.asked == ["t0000"]

    run(script)
