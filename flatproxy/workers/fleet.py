"""The packet half in processes of its own: starts the workers, tells them, counts them together, replaces who ends.

The listening sockets stay open here for as long as the service runs: what the kernel takes while a worker is being
replaced waits in them for its replacement.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from flatproxy.config.settings import Endpoint
from flatproxy.errors import FlatproxyError
from flatproxy.forward.limits import share_descriptors
from flatproxy.packets import DRAIN_S
from flatproxy.workers.channel import frame
from flatproxy.workers.messages import (
    Cover,
    Discard,
    Drain,
    Facts,
    Leaving,
    Prepare,
    Prepared,
    Report,
    Switch,
    Switched,
)
from flatproxy.workers.news import News, for_each, states
from flatproxy.workers.slots import EARLY_S, Slot
from flatproxy.workers.totals import ServerTotal, Totals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flatproxy.config.settings import Settings
    from flatproxy.counts import Traffic, Worker
    from flatproxy.flatten.answers import Target
    from flatproxy.flattening import Flattening
    from flatproxy.forward.listen import Sockets
    from flatproxy.workers.link import Link, Start
    from flatproxy.workers.messages import Message

log = Logger()

PATIENCE_S = 5.0
"""A worker that says nothing for this long is replaced; they say something four times a second."""
NAMES_A_SECOND = 20_000
"""Flagged names that a worker builds a table of in a second, at the least: for so long more it may be silent."""
REAP_S = 1.0


def patience_s(settings: Settings) -> float:
    """Return for how long a worker that builds a table of these settings may be silent."""
    return PATIENCE_S + len(settings.flatten) / NAMES_A_SECOND


class Fleet:
    """The workers from `bind` to `stop`. It is told of what `flattening` finds out, and hands it on."""

    def __init__(self, reactor: Any, count: int, flattening: Flattening, start: Start) -> None:  # noqa: ANN401
        self.listening: list[Endpoint] = []
        self.restarts = 0
        self._loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop  # noqa: SLF001 - there is no other way
        self._flattening = flattening
        self._start_worker = start
        self._totals = Totals()
        self._slots = [Slot(number) for number in range(1, count + 1)]
        self._links: set[Link] = set()
        self._settings: Settings = flattening.settings
        self._number = 0
        """Of the settings in force."""
        self._last_number = 0
        self._news = News(flattening, self._loop, self._tell)
        self._heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._patience_s = PATIENCE_S
        self._ticked_at = monotonic()

    # Who reads what was counted

    @property
    def traffic(self) -> Traffic:
        """Everything that all workers have counted."""
        return self._totals.traffic

    @property
    def servers(self) -> list[ServerTotal]:
        """The nameservers as all workers see them."""
        return self._totals.servers(self._settings.upstream.servers)

    @property
    def workers(self) -> list[Worker]:
        """What each worker has done."""
        return [self._totals.worker(slot.number, serving=slot.serving) for slot in self._slots]

    def missing(self) -> Iterator[str]:
        """Yield what is not ready yet."""
        if not self.listening:
            yield "not listening"
        for slot in self._slots:
            if not slot.serving:
                yield f"worker {slot.number} of {len(self._slots)}: not serving"
        if not any(server.up and server.answered for server in self.servers):
            yield "upstream: no server answers"

    # Start and end

    def bind(self, settings: Settings, listen_at: Callable[[Endpoint, int], Sequence[Sockets]]) -> None:
        """Bind the sockets of all workers; `FlatproxyError` where that cannot be."""
        taken = 2 * len(self._slots) * len(settings.listen.dns)  # by each worker, which inherits the limit
        share_descriptors(len(settings.upstream.servers), taken=taken)
        for endpoint in settings.listen.dns:
            pairs = listen_at(endpoint, len(self._slots))
            host, port = pairs[0].udp.getsockname()[:2]
            self.listening.append(Endpoint(host, port))
            for slot, pair in zip(self._slots, pairs, strict=True):
                slot.sockets.append(pair)

    def begin(self, settings: Settings) -> None:
        """Start the workers; `FlatproxyError` where no process is to be had."""
        self._settings, self._number, self._last_number = settings, 1, 1
        self._patience_s = patience_s(settings)
        first = self._first_words()
        for slot in self._slots:
            try:
                self._start(slot, first)
            except OSError as error:
                raise FlatproxyError(f"cannot start a worker: {error.strerror}") from None

    def _first_words(self) -> bytes:
        """Return what a new worker is told: the settings in force and all that is known."""
        settings = for_each(self._settings, len(self._slots))
        prepare = Prepare(number=self._number, settings=settings, facts=self._news.all())
        return frame(prepare) + frame(Switch(number=self._number))

    def _start(self, slot: Slot, first: bytes) -> None:
        worker = self._start_worker(
            slot.number, [each.sockets for each in self._slots], self._loop, self._told, self._lost
        )
        slot.fill(worker)
        self._links.add(worker)
        worker.channel.send(first)

    def _restart(self, slot: Slot) -> None:
        try:
            self._start(slot, self._first_words())
        except OSError as error:
            self._failed(slot.number, error.strerror or "OSError")
            slot.vacate(monotonic(), early=True)
        else:
            self.restarts += 1

    def _failed(self, number: int, reason: str) -> None:
        log.error("worker {worker} cannot start: {reason}", event="worker_failed", worker=number, reason=reason)

    def _replace(self, worker: Link) -> None:
        """Have another worker take this one's place with the next tick or after a pause, unless that has happened.

        Not at once: a service manager that ends the service tells every process of it, the workers perhaps first.
        """
        slot, now = self._slots[worker.number - 1], monotonic()
        if slot.link is worker:
            slot.vacate(now, early=now - worker.started_at < EARLY_S)

    async def stop(self) -> None:
        """Have all workers drain, end who does not within a second, and close the sockets."""
        self._stopping = True
        self._tell(Drain())
        await self._until(lambda: not self._links, DRAIN_S + 0.5)
        for each in list(self._links):
            each.process.kill()
        await self._until(lambda: not self._links, REAP_S)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=REAP_S)
        for slot in self._slots:
            for pair in slot.sockets:
                pair.udp.close()
                pair.tcp.close()

    async def _until(self, done: Callable[[], bool], patience_s: float) -> bool:
        """Wait for that to be true after something was heard of a worker; tell whether it is."""
        deadline = monotonic() + patience_s
        while not done():
            self._heard.clear()
            try:
                async with asyncio.timeout(deadline - monotonic()):
                    await self._heard.wait()
            except TimeoutError:
                return done()
        return True

    # What workers say

    def _told(self, worker: Link, message: Message) -> None:
        worker.heard_at = monotonic()
        match message:
            case Report():
                self._totals.take(worker, worker.number, message)
                return
            case Prepared():
                worker.prepared, worker.refusal = message.number, message.refusal
                if message.refusal and message.number == self._number:  # nobody waits for this one but it itself
                    self._failed(worker.number, message.refusal)
                    worker.process.kill()
            case Switched():
                self._switched(worker, message.number)
            case Leaving():
                worker.leaving = True
                self._replace(worker)
        self._heard.set()

    def _switched(self, worker: Link, number: int) -> None:
        if not worker.switched:
            log.info(
                "worker {worker} of {workers} serves",
                event="worker_started",
                worker=worker.number,
                workers=len(self._slots),
                pid=worker.process.pid,
            )
        worker.switched = number

    def _lost(self, worker: Link) -> None:
        """Take note that a worker ended, or speaks no more."""
        worker.gone = True
        if not worker.leaving and not self._stopping:
            worker.process.kill()  # it is dead, or as good as that
        task = self._loop.create_task(self._bury(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _bury(self, worker: Link) -> None:
        deadline = monotonic() + REAP_S
        while worker.process.poll() is None and monotonic() < deadline:  # noqa: ASYNC110 - some milliseconds at most
            await asyncio.sleep(0.001)
        worker.process.kill()
        self._links.discard(worker)
        self._totals.ended(worker)
        self._heard.set()
        if self._stopping:
            return
        log.warn(
            "worker {worker} ended: {status}",
            event="worker_died",
            worker=worker.number,
            pid=worker.process.pid,
            status=worker.status(),
        )
        self._replace(worker)

    # What workers are told

    def target_settled(self, target: Target) -> None:
        """Hand it on."""
        self._news.target_settled(target)

    def zone_learned(self) -> None:
        """Hand it on."""
        self._news.zone_learned()

    def signed_changed(self) -> None:
        """Do nothing: `zone_learned` comes as well."""

    def _tell(self, message: Message) -> None:
        octets = frame(message)
        for each in self._links:
            each.channel.send(octets)

    async def apply(self, settings: Settings, go_over: Callable[[], None]) -> None:
        """Have every worker make ready, then `go_over` here, then have all switch at once.

        `FlatproxyError` where one cannot, and nothing has changed then. Who does not answer is replaced.
        """
        self._last_number = number = self._last_number + 1
        patient = self._patience_s = max(self._patience_s, patience_s(settings))
        prepare = frame(Prepare(number=number, settings=for_each(settings, len(self._slots))))
        asked = [each for each in self._links if not each.leaving]
        for each in asked:
            each.channel.send(prepare)
        await self._until(lambda: all(each.gone or each.prepared >= number for each in asked), patient)
        refusal = next((each.refusal for each in asked if each.prepared == number and each.refusal), "")
        if refusal:
            self._tell(Discard())
            raise FlatproxyError(refusal)
        known = set(self._flattening.targets)
        go_over()
        self._settings, self._number = settings, number
        new = [target for target in self._flattening.targets if target not in known]
        switch = frame(Switch(number=number, facts=Facts(targets=states(new))))
        for each in self._links:
            # One that took a dead one's place meanwhile has not been asked yet.
            each.channel.send(switch if each in asked else prepare + switch)
        await self._until(
            lambda: all(each.gone or each.leaving or each.switched >= number for each in self._links), patient
        )
        for each in self._links:
            if each.switched < number and not each.leaving and each in asked:
                self._give_up(each, "does not follow a reload")
        self._patience_s = patience_s(settings)

    def _give_up(self, worker: Link, reason: str) -> None:
        log.error(
            "worker {worker} {reason}: it is replaced",
            event="worker_stuck",
            worker=worker.number,
            pid=worker.process.pid,
            reason=reason,
        )
        worker.process.kill()

    def parts(self, now: float) -> Iterator[Callable[[], None]]:
        """Yield what is to be done many times a second."""
        yield lambda: self._tick(now)

    def _tick(self, now: float) -> None:
        self._news.tick(now)
        asleep, self._ticked_at = now - self._ticked_at > 1.0, now
        for each in list(self._links):
            if asleep:  # then it was this process that heard nothing
                each.heard_at = now
            elif not each.gone and each.silent_s(now) > self._patience_s:
                self._give_up(each, "says nothing")
                each.heard_at = now
        for slot in self._slots:
            if slot.is_due(now) and not self._stopping:
                self._restart(slot)
        self._cover(now)

    def _cover(self, now: float) -> None:
        """Have those who take packets take those of who does not."""
        idle = [slot.number for slot in self._slots if slot.is_idle(now)]
        able = [slot.link for slot in self._slots if slot.number not in idle and slot.link is not None and slot.serving]
        for place, worker in enumerate(able):
            covers = frozenset(idle[place :: len(able)])
            if worker.covers != covers:
                worker.covers = covers
                worker.channel.send(frame(Cover(covers)))
