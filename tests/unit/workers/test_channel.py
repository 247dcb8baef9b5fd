from __future__ import annotations

import asyncio
import pickle
import socket
from typing import TYPE_CHECKING, cast

import pytest
from attrs import define, field
from twisted.logger import globalLogPublisher

from flatproxy.config.settings import Access, Endpoint, Listen, Rule, Settings, Upstream
from flatproxy.workers.channel import Channel, frame
from flatproxy.workers.messages import Drain, Facts, Message, Prepare, Prepared, Switched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.logger import ILogObserver, LogEvent

SETTINGS = Settings(
    listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
    upstream=Upstream(servers=(Endpoint("192.0.2.53", 53),)),
    access=Access(zones=(b"\7example\3com\0",)),
)


@define(eq=False)
class End:
    """One end of a channel, and what it heard."""

    loop: asyncio.AbstractEventLoop
    sock: socket.socket
    on_message: Callable[[Message], None] | None = None
    heard: list[Message] = field(factory=list)
    lost: int = 0
    channel: Channel = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.channel = Channel(self.loop, self.sock, self._told, self._lose)

    def _told(self, message: Message) -> None:
        self.heard.append(message)
        if self.on_message is not None:
            self.on_message(message)

    def _lose(self) -> None:
        self.lost += 1


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def pair(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[End, End]]:
    one, other = socket.socketpair()
    ends = End(loop, one), End(loop, other)
    yield ends
    for end in ends:
        end.channel.close()


def turn(loop: asyncio.AbstractEventLoop, done: Callable[[], bool]) -> None:
    async def until() -> None:
        async with asyncio.timeout(5):
            while not done():  # noqa: ASYNC110 - a turn of the loop is what it waits for
                await asyncio.sleep(0)

    loop.run_until_complete(until())


def test_messages_come_whole_and_in_order(loop: asyncio.AbstractEventLoop, pair: tuple[End, End]) -> None:
    one, other = pair
    sent: list[Message] = [
        Prepare(number=1, settings=SETTINGS),
        Prepared(number=1, refusal="no"),
        Switched(number=1),
        Drain(),
    ]
    one.channel.send(b"".join(map(frame, sent)))
    for message in reversed(sent):
        other.channel.send(frame(message))
    turn(loop, lambda: len(other.heard) == 4 and len(one.heard) == 4)
    assert other.heard == sent
    assert one.heard == sent[::-1]


def test_what_does_not_fit_is_sent_when_there_is_room(loop: asyncio.AbstractEventLoop, pair: tuple[End, End]) -> None:
    """Many times what a socket holds, both ways at once."""
    facts = Facts(zones={number.to_bytes(4, "big"): (bytes(500), False) for number in range(10_000)})
    large = Prepare(number=1, settings=SETTINGS, facts=facts)
    one, other = pair
    for end in pair:
        assert end.channel.unsent_since is None
        end.channel.send(frame(large))
        end.channel.send(frame(Drain()))
        assert end.channel.unsent_since is not None, "nobody has read any of it"
    turn(loop, lambda: len(other.heard) == 2 and len(one.heard) == 2)
    assert one.heard == other.heard == [large, Drain()]
    assert one.channel.unsent_since is other.channel.unsent_since is None


def test_a_frame_in_pieces(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    end = End(loop, ours)
    octets = frame(Switched(number=7)) * 2
    with theirs:
        for number in range(len(octets)):
            theirs.send(octets[number : number + 1])
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
        turn(loop, lambda: len(end.heard) == 2)
    assert end.heard == [Switched(number=7)] * 2
    turn(loop, lambda: end.lost == 1)


def test_the_other_end_going_is_told_once(loop: asyncio.AbstractEventLoop, pair: tuple[End, End]) -> None:
    one, other = pair
    one.channel.send(frame(Drain()))
    one.channel.close()
    one.channel.send(frame(Drain()))
    turn(loop, lambda: other.lost == 1)
    assert other.heard == [Drain()], "what was sent before it comes before it"
    other.channel.send(frame(Drain()))
    loop.run_until_complete(asyncio.sleep(0))
    assert (one.lost, other.lost) == (0, 1)


def test_sending_to_nobody_is_told_later_not_at_once(loop: asyncio.AbstractEventLoop) -> None:
    ours, theirs = socket.socketpair()
    end = End(loop, ours)
    theirs.close()
    for _ in range(2):
        end.channel.send(frame(Drain()))
    assert end.lost == 0, "whoever sends to many must be able to finish that"
    turn(loop, lambda: end.lost == 1)
    for _ in range(5):
        loop.run_until_complete(asyncio.sleep(0))
    assert end.lost == 1


@pytest.fixture
def events() -> Iterator[list[LogEvent]]:
    seen: list[LogEvent] = []
    observer = cast("ILogObserver", seen.append)
    globalLogPublisher.addObserver(observer)
    yield seen
    globalLogPublisher.removeObserver(observer)


@pytest.mark.parametrize("octets", [b"\0" * 7 + b"\5junk!", frame(Drain())[:-1] + b"!", b"\0" * 7 + b"\1" + b"\x80"])
def test_what_cannot_be_understood_ends_it(
    loop: asyncio.AbstractEventLoop, events: list[LogEvent], octets: bytes
) -> None:
    ours, theirs = socket.socketpair()
    end = End(loop, ours)
    with theirs:
        theirs.sendall(octets + frame(Drain()))
        turn(loop, lambda: end.lost == 1)
        assert end.heard == []
        assert theirs.recv(1) == b"", "it is closed"
    assert [event["event"] for event in events] == ["channel_failed"]


def test_who_fails_at_a_message_hears_no_more(loop: asyncio.AbstractEventLoop, events: list[LogEvent]) -> None:
    def fail(_message: Message) -> None:
        raise ValueError

    ours, theirs = socket.socketpair()
    end = End(loop, ours, fail)
    with theirs:
        theirs.sendall(frame(Drain()) * 2)
        turn(loop, lambda: end.lost == 1)
    assert end.heard == [Drain()]
    assert [event["event"] for event in events] == ["channel_failed"]


def test_equal_rules_stay_one_object() -> None:
    """A table is built by rules, not by names: a million names with one rule must not become a million rules."""
    rule = Rule(target=b"\2lb\4test\0")
    settings = Settings(
        listen=SETTINGS.listen,
        upstream=SETTINGS.upstream,
        access=SETTINGS.access,
        flatten={bytes([1, 97 + number]) + b"\7example\3com\0": rule for number in range(20)},
    )
    (body,) = [frame(Prepare(number=1, settings=settings))[8:]]
    came = pickle.loads(body).settings
    assert came == settings
    assert len({id(each) for each in came.flatten.values()}) == 1
