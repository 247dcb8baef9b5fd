"""A worker as the control process has it: a child process, and the channel to it. It decides nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from flatproxy.workers.channel import Channel

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from flatproxy.forward.listen import Sockets
    from flatproxy.workers.messages import Message

_HELD_BACK = [getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)]


@define(eq=False)
class Link:
    """One worker. `number` is its place among the workers, from 1 on; times are monotonic seconds."""

    number: int
    process: subprocess.Popen[bytes]
    started_at: float = field(factory=monotonic)
    heard_at: float = field(factory=monotonic)
    prepared: int = 0
    """The number of the settings that it is ready for, or has refused."""
    refusal: str = ""
    switched: int = 0
    """The number of the settings that it follows; 0: it does not serve yet."""
    covers: frozenset[int] = frozenset()
    """The workers whose sockets it reads as well."""
    leaving: bool = False
    gone: bool = False
    channel: Channel = field(init=False)

    @property
    def serving(self) -> bool:
        """Whether it takes packets, as far as is known."""
        return bool(self.switched) and not self.leaving and not self.gone

    def silent_s(self, now: float) -> float:
        """Return for how many seconds it has said nothing, or not read what waits for it."""
        unsent_since = self.channel.unsent_since
        return max(now - self.heard_at, 0.0 if unsent_since is None else now - unsent_since)

    def status(self) -> str:
        """Say how the process ended."""
        code = self.process.returncode
        if code is None:
            return "still ending"
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:  # most of the real-time ones have no name
            return f"signal {-code}"


class Start(Protocol):
    """Starts a worker. `told` is called with what it says, `lost` once it is gone."""

    def __call__(
        self,
        number: int,
        sockets: Sequence[Sequence[Sockets]],
        loop: asyncio.AbstractEventLoop,
        told: Callable[[Link, Message], None],
        lost: Callable[[Link], None],
        /,
    ) -> Link:
        """Start the worker of this number; `OSError` where no process is to be had. `sockets` are those of all."""


def start(
    log_format: str,
    number: int,
    sockets: Sequence[Sequence[Sockets]],
    loop: asyncio.AbstractEventLoop,
    told: Callable[[Link, Message], None],
    lost: Callable[[Link], None],
) -> Link:
    """Start a worker that logs in this format, see `Start`."""
    ours, theirs = socket.socketpair()
    descriptors = [each.fileno() for slot in sockets for pair in slot for each in (pair.udp, pair.tcp)]
    slots = [",".join(f"{pair.udp.fileno()}:{pair.tcp.fileno()}" for pair in slot) for slot in sockets]
    with theirs:
        try:
            process = _popen([str(theirs.fileno()), log_format, str(number), *slots], [theirs.fileno(), *descriptors])
        except BaseException:
            ours.close()
            raise
    link = Link(number, process)
    link.channel = Channel(loop, ours, lambda message: told(link, message), lambda: lost(link))
    return link


def _popen(arguments: Sequence[str], descriptors: Sequence[int]) -> subprocess.Popen[bytes]:
    # The signals stay held back in the child until it knows what to do with them.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
    try:
        return subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
            # -P: the directory that it happens to run in is no place for modules; the path is this process's.
            [sys.executable, "-P", "-m", "flatproxy.workers", *arguments],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)},
            pass_fds=descriptors,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
