"""The fleet with workers that are no processes: in which order they are told what, and who is replaced when."""

from __future__ import annotations

import asyncio
import pickle
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import pytest
from attrs import define, evolve, field

from flatproxy.config.settings import Limits, Settings
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.answers import Target
from flatproxy.workers.fleet import PATIENCE_S, Fleet, patience_s
from flatproxy.workers.link import Link
from flatproxy.workers.messages import (
    Changed,
    Cover,
    Discard,
    Drain,
    Leaving,
    Message,
    Prepare,
    Prepared,
    Switch,
    Switched,
)
from flatproxy.workers.slots import COVER_S, EARLY_S
from tests.unit.workers.test_channel import SETTINGS
from tests.unit.workers.test_news import Flattening
from tests.unit.workers.test_totals import report, seen

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

OTHER = evolve(SETTINGS, limits=Limits(queries_per_second=10))
TARGET = Target(b"\3new\0", 1, cold_until=5.0)


@define(eq=False)
class Process:
    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            self.returncode = -9


@define(eq=False)
class Wire:
    """A channel that keeps what is sent."""

    sent: list[Message] = field(factory=list)
    unsent_since: float | None = None

    def send(self, octets: bytes) -> None:
        while octets:
            end = 8 + int.from_bytes(octets[:8], "big")
            self.sent.append(pickle.loads(octets[8:end]))
            octets = octets[end:]


@define(eq=False)
class World:
    """Two workers that say what a test has them say."""

    loop: asyncio.AbstractEventLoop
    flattening: Flattening = field(factory=Flattening)
    links: list[Link] = field(factory=list)
    refuses: bool = False
    fleet: Fleet = field(init=False)
    told: Callable[[Link, Message], None] = field(init=False)
    lost: Callable[[Link], None] = field(init=False)

    def __attrs_post_init__(self) -> None:
        reactor: Any = type("Reactor", (), {"_asyncioEventloop": self.loop})
        self.fleet = Fleet(reactor, 2, cast("Any", self.flattening), self._start)

    def _start(self, number: int, _sockets: Any, _loop: Any, told: Any, lost: Any) -> Link:
        if self.refuses:
            raise OSError(11, "no more")
        link = Link(number, cast("Any", Process(1000 + len(self.links))))
        link.channel = cast("Any", Wire())
        self.told, self.lost = told, lost
        self.links.append(link)
        return link

    def sent(self, link: Link) -> list[Message]:
        """Take what was sent to a worker."""
        wire = cast("Wire", link.channel)
        sent, wire.sent = wire.sent, []
        return sent

    def begin(self) -> None:
        self.fleet.begin(SETTINGS)
        for link in self.links:
            self.follow(link, 1)
            self.sent(link)

    def follow(self, link: Link, number: int) -> None:
        self.told(link, Prepared(number=number))
        self.told(link, Switched(number=number))

    def end(self, link: Link, code: int = -9) -> None:
        """Have a worker end."""
        cast("Process", link.process).returncode = code
        self.lost(link)
        self.turn()
        self.tick(0.0)

    def tick(self, later_s: float = 0.0) -> None:
        """Let the fleet look around, and this much later."""
        self.fleet._tick(monotonic() + later_s)

    def turn(self) -> None:
        async def some() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self.loop.run_until_complete(some())

    def task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self.turn()
        return task

    def reload(self, settings: Settings = OTHER, went: list[str] | None = None) -> asyncio.Task[None]:
        def go_over() -> None:
            (went if went is not None else []).append("over")
            self.flattening.targets.append(TARGET)

        return self.task(self.fleet.apply(settings, go_over))


@pytest.fixture
def world() -> Iterator[World]:
    loop = asyncio.new_event_loop()
    yield World(loop)
    loop.close()


def test_a_start_is_told_everything_before_it_may_read(world: World) -> None:
    world.flattening.targets.append(TARGET)
    world.fleet.begin(SETTINGS)
    for link in world.links:
        prepare, switch = world.sent(link)
        assert isinstance(prepare, Prepare)
        assert [target[0] for target in prepare.facts.targets] == [TARGET.name]
        assert switch == Switch(number=1)
        assert not link.serving
    assert list(world.fleet.missing())[1:3] == ["worker 1 of 2: not serving", "worker 2 of 2: not serving"]
    world.follow(world.links[1], 1)
    assert [worker.serving for worker in world.fleet.workers] == [False, True]


def test_nobody_switches_before_all_are_ready(world: World) -> None:
    world.begin()
    one, two = world.links
    went: list[str] = []
    task = world.reload(went=went)
    for link in (one, two):
        (prepare,) = world.sent(link)
        assert isinstance(prepare, Prepare)
        assert (prepare.number, prepare.settings.limits.queries_per_second) == (2, 5), "half of the rate"
    world.told(one, Prepared(number=2))
    world.turn()
    assert not went
    assert not world.sent(one)
    world.told(two, Prepared(number=2))
    world.turn()
    assert went == ["over"]
    for link in (one, two):
        (switch,) = world.sent(link)
        assert isinstance(switch, Switch)
        assert [target[0] for target in switch.facts.targets] == [TARGET.name], "the new target's state"
    world.told(one, Switched(number=2))
    world.turn()
    assert not task.done(), "it is not reloaded until all have switched"
    world.told(two, Switched(number=2))
    world.turn()
    assert task.done()


def test_one_refusal_changes_nothing_anywhere(world: World) -> None:
    world.begin()
    one, two = world.links
    went: list[str] = []
    task = world.reload(went=went)
    world.told(one, Prepared(number=2))
    world.told(two, Prepared(number=2, refusal="no descriptors"))
    world.turn()
    assert isinstance(task.exception(), FlatproxyError)
    assert str(task.exception()) == "no descriptors"
    assert not went
    for link in (one, two):
        assert world.sent(link)[-1] == Discard()
        assert link.process.poll() is None
    assert world.fleet.servers[0].endpoint == SETTINGS.upstream.servers[0]


def test_who_dies_in_the_middle_of_a_reload_is_waited_for_no_more(world: World) -> None:
    """Its replacement begins with the settings in force, and is told of the new ones with the others."""
    world.begin()
    one, two = world.links
    task = world.reload()
    world.end(two)
    three = world.links[2]
    world.told(one, Prepared(number=2))
    world.turn()
    told = [message for message in world.sent(three) if isinstance(message, Prepare | Switch)]
    assert [(type(message), message.number) for message in told] == [
        (Prepare, 1),
        (Switch, 1),
        (Prepare, 2),
        (Switch, 2),
    ]
    world.follow(one, 2)
    world.told(three, Switched(number=1))
    world.turn()
    assert not task.done()
    world.told(three, Switched(number=2))
    world.turn()
    assert task.done()


def test_a_change_reaches_all_at_the_end_of_the_turn(world: World) -> None:
    world.begin()
    world.fleet.target_settled(TARGET)
    world.turn()
    for link in world.links:
        (message,) = world.sent(link)
        assert isinstance(message, Changed)


def test_who_ended_is_replaced_at_once_and_after_the_third_time_not(world: World) -> None:
    world.begin()
    for count in (1, 2):
        world.end(world.links[-1])
        assert len(world.links) == 2 + count
    world.end(world.links[-1])
    assert len(world.links) == 4
    assert world.fleet.restarts == 2
    now = monotonic()
    world.fleet._tick(now)
    assert len(world.links) == 4
    world.fleet._tick(now + 0.6)
    assert len(world.links) == 5


def test_who_worked_for_a_while_is_replaced_at_once_however_often(world: World) -> None:
    world.begin()
    for count in range(6):
        world.links[-1].started_at -= EARLY_S
        world.end(world.links[-1])
        assert len(world.links) == 3 + count


def test_who_cannot_be_understood_is_ended(world: World) -> None:
    world.begin()
    one = world.links[0]
    world.lost(one)
    world.turn()
    world.tick()
    assert one.process.poll() == -9
    assert [link.number for link in world.links] == [1, 2, 1]


def test_what_only_a_dead_worker_had_open_is_no_more(world: World) -> None:
    world.begin()
    server = seen(SETTINGS.upstream.servers[0], scale=3)
    for link in world.links:
        world.told(link, report(2, server))
    assert (world.fleet.servers[0].pending, world.fleet.traffic.tcp_connections) == (6, 44)
    world.end(world.links[0])
    assert (world.fleet.servers[0].pending, world.fleet.traffic.tcp_connections) == (3, 22)
    assert world.fleet.servers[0].sent == 12
    assert [worker.queries for worker in world.fleet.workers] == [72, 72]


def test_who_leaves_is_replaced_before_it_is_gone_and_only_once(world: World) -> None:
    world.begin()
    two = world.links[1]
    world.told(two, Leaving())
    world.tick()
    assert [link.number for link in world.links] == [1, 2, 2]
    world.end(two, 0)
    assert len(world.links) == 3


def test_who_is_silent_is_ended_unless_this_process_slept(world: World) -> None:
    world.begin()
    one, two = world.links
    now = monotonic()
    one.heard_at = two.heard_at = now - 100
    world.fleet._ticked_at = now - 50
    world.fleet._tick(now)
    assert one.process.poll() is None
    for step in range(1, int(PATIENCE_S * 2)):
        two.heard_at = now + step / 2
        world.fleet._tick(now + step / 2)
    assert one.process.poll() is None
    world.fleet._tick(now + PATIENCE_S + 0.1)
    assert one.process.poll() == -9
    assert two.process.poll() is None


def test_who_does_not_read_is_ended(world: World) -> None:
    world.begin()
    one = world.links[0]
    now = monotonic()
    world.fleet._ticked_at = one.heard_at = now
    cast("Wire", one.channel).unsent_since = now - PATIENCE_S - 0.1
    world.fleet._tick(now)
    assert one.process.poll() == -9


def covers(world: World, link: Link) -> list[set[int]]:
    return [set(message.numbers) for message in world.sent(link) if isinstance(message, Cover)]


def test_sockets_that_nobody_reads_are_read_by_another(world: World) -> None:
    world.begin()
    one, two = world.links
    now = monotonic()
    for link, heard_at in ((one, now), (two, now - COVER_S - 0.1)):
        link.heard_at = heard_at
    world.fleet._tick(now)
    world.fleet._tick(now)
    assert (covers(world, one), covers(world, two)) == ([{2}], [])
    two.heard_at = now
    world.fleet._tick(now)
    assert (covers(world, one), covers(world, two)) == ([set()], []), "and no more once it is heard of"
    world.refuses = True
    world.end(two)
    world.fleet._tick(now + 0.1)
    assert covers(world, one) == [], "not at once"
    one.heard_at = now + 2
    world.fleet._tick(now + 2)
    assert covers(world, one) == [{2}]
    world.refuses = False
    world.fleet._tick(now + 3)
    assert covers(world, one) == [], "a process is not a worker yet"
    one.heard_at = now + 3
    world.follow(world.links[-1], 1)
    world.fleet._tick(monotonic())
    assert covers(world, one) == [set()]


def test_a_large_table_is_waited_for(world: World) -> None:
    rules: Any = dict.fromkeys(range(200_000))
    assert patience_s(SETTINGS) == PATIENCE_S
    assert patience_s(evolve(SETTINGS, flatten=rules)) == PATIENCE_S + 10


def test_a_start_that_the_kernel_refuses_is_tried_again(world: World) -> None:
    world.begin()
    world.refuses = True
    world.end(world.links[1])
    now = monotonic()
    world.fleet._tick(now + 0.1)
    for _ in range(5):
        world.fleet._tick(now + 0.2)
    slot = world.fleet._slots[1]
    assert slot.early == 3, "as often as that, and then a pause"
    assert world.fleet.restarts == 0
    world.refuses = False
    world.fleet._tick(monotonic() + 1)
    assert len(world.links) == 3
    assert world.fleet.restarts == 1


def test_the_first_start_that_the_kernel_refuses_is_an_error(world: World) -> None:
    world.refuses = True
    with pytest.raises(FlatproxyError, match="cannot start a worker: no more"):
        world.fleet.begin(SETTINGS)


def test_workers_that_are_told_to_end_just_before_this_process_are_not_replaced(world: World) -> None:
    world.begin()
    for link in list(world.links):
        world.told(link, Leaving())
    task = world.task(world.fleet.stop())
    world.tick()
    for link in list(world.links):
        world.end(link, 0)
    assert task.done()
    assert len(world.links) == 2


def test_the_end_is_waited_for_and_nobody_is_replaced(world: World) -> None:
    world.begin()
    one, two = world.links
    task = world.task(world.fleet.stop())
    assert world.sent(one) == world.sent(two) == [Drain()]
    world.told(one, Leaving())  # a service manager tells every process of a service to end
    world.tick()
    world.end(one, 0)
    assert not task.done()
    world.end(two, 0)
    assert task.done()
    assert len(world.links) == 2
