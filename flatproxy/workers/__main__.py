"""A worker: takes packets from its sockets, and from those of others while they cannot, and answers as it is told.

It reads no file and resolves nothing. It ends with the control process, whatever ends that one.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from itertools import chain
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from flatproxy.errors import FlatproxyError
from flatproxy.forward.listen import Sockets
from flatproxy.observe import logs
from flatproxy.packets import TICK_S, Listener, Packets
from flatproxy.reactor import install_reactor, settle_memory
from flatproxy.workers.channel import Channel, frame
from flatproxy.workers.messages import (
    Changed,
    Cover,
    Discard,
    Drain,
    Leaving,
    Prepare,
    Prepared,
    Report,
    ServerReport,
    Switch,
    Switched,
)
from flatproxy.workers.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flatproxy.workers.messages import Message

log = Logger()

REPORT_S = 0.25
_FLUSH_S = 0.5


class Worker:
    """One packet process, from the first message to its end."""

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - many interfaces
        channel: socket.socket,
        number: int,
        sockets: Sequence[Sequence[Sockets]],
    ) -> None:
        """Speak to the control process. `sockets` are those of all workers; it is the `number`-th from 1 on."""
        self._reactor = reactor
        self._loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop  # noqa: SLF001 - there is no other way
        self._number = number
        self._sockets = dict(enumerate(sockets, 1))
        self._read: dict[int, list[Listener]] = {}
        """What it reads from, by the number of the worker whose sockets these are."""
        self._mirror = Mirror()
        self._packets = Packets(reactor, self._mirror, taken=2 * sum(map(len, sockets)))
        self._prepared = 0
        self._end: asyncio.Task[None] | None = None
        self._channel = Channel(self._loop, channel, self._told, self.end)
        self._tasks = [self._repeat(self._tick, TICK_S), self._repeat(self._report, REPORT_S)]

    def _repeat(self, task: Callable[[], None], interval_s: float) -> LoopingCall:
        call = LoopingCall(task)
        call.clock = self._reactor
        call.start(interval_s, now=False)
        return call

    def _told(self, message: Message) -> None:
        if self._end is not None:
            return  # whatever it is, it comes too late
        match message:
            case Changed():
                if self._mirror.take(message.facts):
                    self._packets.signed_changed()
            case Prepare():
                self._prepare(message)
            case Switch():
                self._switch(message)
            case Discard():
                self._packets.discard()
                self._mirror.discard()
            case Cover():
                self._cover(message.numbers)
            case Drain():
                self.end()

    def _prepare(self, message: Prepare) -> None:
        try:
            self._packets.open(message.settings)
        except FlatproxyError as error:
            self._channel.send(frame(Prepared(number=message.number, refusal=str(error))))
            return
        self._mirror.prepare(message.settings, message.facts)
        self._prepared = message.number
        self._channel.send(frame(Prepared(number=message.number)))

    def _switch(self, message: Switch) -> None:
        if message.number != self._prepared:
            return  # it was refused, and the control process has been told
        self._mirror.switch(message.facts)
        self._packets.adopt()
        if not self._read:
            self._cover(frozenset())
            settle_memory()
        self._channel.send(frame(Switched(number=message.number)))
        self._report()

    def _cover(self, others: frozenset[int]) -> None:
        """Read from its own sockets and from these."""
        wanted = others | {self._number}
        for number in self._read.keys() - wanted:
            self._packets.leave(self._read.pop(number))
        for number in wanted - self._read.keys():
            duplicates = [Sockets(pair.udp.dup(), pair.tcp.dup()) for pair in self._sockets[number]]
            self._read[number] = self._packets.listen(duplicates)

    def _tick(self) -> None:
        now = monotonic()
        self._mirror.tick(now)
        for part in self._packets.parts(now):
            try:
                part()
            except Exception:  # noqa: BLE001 - one part's fault must not stop the others
                log.failure("a periodic task went wrong", event="tick_failed")

    def _report(self) -> None:
        """Say what was counted, unless what was said before has not been heard yet."""
        if self._channel.unsent_since is None:
            servers = tuple(
                ServerReport(
                    endpoint=server.endpoint,
                    up=server.up,
                    answered=bool(server.health.answered_at),
                    pending=server.pending,
                    sent=server.sent,
                    timeouts=server.timeouts,
                    mismatched=server.mismatched,
                )
                for server in self._packets.servers
            )
            packets = self._packets
            self._channel.send(
                frame(
                    Report(
                        traffic=packets.traffic, generation=packets.generation, servers=servers, cpu_s=process_time()
                    )
                )
            )

    def leave(self) -> None:
        """End because a signal says so, which the control process is to know: another one can begin at once."""
        if self._end is None:
            self._channel.send(frame(Leaving()))
            self.end()

    def end(self) -> None:
        """Begin to end."""
        if self._end is None:
            self._end = self._loop.create_task(self._stop())

    async def _stop(self) -> None:
        for pair in chain.from_iterable(self._sockets.values()):
            pair.udp.close()
            pair.tcp.close()
        await self._packets.stop()
        for task in self._tasks:
            task.stop()
        self._report()
        deadline = monotonic() + _FLUSH_S
        while self._channel.unsent_since is not None and monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(TICK_S / 5)
        self._channel.close()
        self._reactor.stop()


def main(arguments: Sequence[str]) -> None:
    """Run a worker: channel, format of the log, its number, then for each worker UDP:TCP,UDP:TCP… (descriptors)."""
    channel, log_format, number, *slots = arguments
    # A terminal's Ctrl-C and hangup go to every process; what they mean is the control process's to decide.
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    logs.setup("json" if log_format == "json" else "text", sys.stderr)
    reactor = install_reactor()
    sockets = [[_pair(descriptors) for descriptors in slot.split(",")] for slot in slots]
    worker: list[Worker] = []

    def start() -> None:
        worker.append(Worker(reactor, socket.socket(fileno=int(channel)), int(number), sockets))
        reactor._asyncioEventloop.add_signal_handler(signal.SIGTERM, worker[0].leave)  # noqa: SLF001 - as above
        # They were held back since before this process began, so that none could end it half way.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))

    reactor.callLater(0, start)
    reactor.run(installSignalHandlers=False)


def _pair(descriptors: str) -> Sockets:
    udp, tcp = (socket.socket(fileno=int(number)) for number in descriptors.split(":"))
    for sock in (udp, tcp):
        sock.setblocking(False)  # noqa: FBT003 - it is so already, but the object would tell its duplicates otherwise
    return Sockets(udp, tcp)


if __name__ == "__main__":
    main(sys.argv[1:])
