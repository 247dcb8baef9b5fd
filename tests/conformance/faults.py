"""What goes wrong around a proxy: datagrams lost, late, twice or damaged; a clock that jumps; a full file system.

What needs root or a tool that is not there skips the test and says so. Nothing here touches the machine's own clock,
network or file systems: a library in front of the C library, network and mount namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import os
import random
import selectors
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import pytest
from attrs import define, field, frozen

from . import packets
from .ports import bind_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dnsio import Address

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


@frozen(kw_only=True)
class Weather:
    """What becomes of datagrams, the same in each direction. Shares are between 0 and 1, delays in seconds."""

    loss: float = 0.0
    twice: float = 0.0
    reorder: float = 0.0
    flip: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0


FAIR = Weather()


@define(order=True)
class _Due:
    at: float
    order: int
    sock: socket.socket = field(order=False)
    data: bytes = field(order=False)
    peer: Address | None = field(order=False)


class Relay:
    """A UDP relay to one address, in a thread of its own. Set `weather` to change what becomes of datagrams.

    A datagram's fate follows from the seed, its direction, its question and how many of these came before, not from
    when it comes: the same run loses the same ones. There is no TCP here.
    """

    def __init__(self, target: Address, seed: int, weather: Weather = FAIR, *, port: int = 0) -> None:
        self.weather = weather
        self._target = target
        self._seed = seed
        self._front, tcp = bind_pair("127.0.0.1", port)
        tcp.close()
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._front.setblocking(False)
        self.where: Address = self._front.getsockname()
        self._backs: dict[Address, socket.socket] = {}
        self._seen: Counter[tuple[str, bytes]] = Counter()
        self._due: list[_Due] = []
        self._order = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._front, selectors.EVENT_READ, None)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._selector.close()
        for sock in (self._front, *self._backs.values()):
            sock.close()

    def _run(self) -> None:
        while not self._over.is_set():
            wait_s = min(0.05, max(0.0, self._due[0].at - time.monotonic())) if self._due else 0.05
            for key, _ in self._selector.select(wait_s):
                assert isinstance(key.fileobj, socket.socket)
                self._read(key.fileobj, key.data)
            while self._due and self._due[0].at <= time.monotonic():
                due = heapq.heappop(self._due)
                with contextlib.suppress(OSError):
                    due.sock.sendto(due.data, due.peer) if due.peer else due.sock.send(due.data)

    def _read(self, sock: socket.socket, client: Address | None) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = sock.recvfrom(65535)
                if client is None:
                    self._pass_on("to", data, self._back(peer), None)
                else:
                    self._pass_on("from", data, self._front, client)

    def _back(self, client: Address) -> socket.socket:
        if client not in self._backs:
            back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            back.setblocking(False)
            back.connect(self._target)
            self._selector.register(back, selectors.EVENT_READ, client)
            self._backs[client] = back
        return self._backs[client]

    def _pass_on(self, direction: str, data: bytes, sock: socket.socket, peer: Address | None) -> None:
        weather, key = self.weather, (direction, packets.question_of(data))
        self._seen[key] += 1
        rng = random.Random(f"{self._seed} {direction} {key[1].hex()} {self._seen[key]}")
        lost, twice, late, flipped = (rng.random() for _ in range(4))
        if lost < weather.loss:
            return
        if flipped < weather.flip and data:
            at = rng.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
        for _ in range(2 if twice < weather.twice else 1):
            delay_s = weather.delay_s + rng.uniform(-1, 1) * weather.jitter_s
            if late < weather.reorder:
                delay_s += 3 * weather.jitter_s
            self._order += 1
            heapq.heappush(self._due, _Due(time.monotonic() + delay_s, self._order, sock, data, peer))


class Clock:
    """The time of day as a subject sees it, shifted by `offset_s`; `env` makes a process see it so.

    The C library's clock functions are put in front of by a small library that is built here. The monotonic clock
    goes on, as it does when an administrator sets the time.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler here to build the library that shifts the clock")
        self.library = folder / "clock.so"
        source = Path(__file__).with_name("clock.c")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(self.library), str(source)]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        if built.returncode:
            pytest.skip(f"the library that shifts the clock cannot be built: {built.stderr[-300:]}")
        self._offset = folder / "offset"
        self.shift(0)
        self.env = {"LD_PRELOAD": str(self.library), "CLOCK_OFFSET_FILE": str(self._offset)}
        self._verify()

    def shift(self, offset_s: int) -> None:
        """Set how far the clock is off, in place: the file stays mapped."""
        with self._offset.open("r+b" if self._offset.exists() else "w+b") as file:
            file.write(struct.pack("=q", offset_s))

    def _verify(self) -> None:
        self.shift(-86400)
        said = subprocess.run(["date", "+%s"], env={**os.environ, **self.env}, capture_output=True, check=False)
        self.shift(0)
        if not said.stdout or abs(int(said.stdout) + 86400 - time.time()) > 60:
            pytest.skip("the library that shifts the clock has no effect here")

    def is_seen_by(self, pids: list[int]) -> bool:
        """Tell whether every process has the library."""
        return bool(pids) and all(str(self.library) in Path(f"/proc/{pid}/maps").read_text() for pid in pids)


def full_folder(folder: Path) -> tuple[str, ...]:
    """Return what to put in front of a command so that `folder` is a full file system of 16 KiB to it alone."""
    folder.mkdir(parents=True)
    script = (
        f'mount -t tmpfs -o size=16k tmpfs "{folder}" || exit 97; '
        f'dd if=/dev/zero of="{folder}/full" bs=1k 2>/dev/null; exec "$@"'
    )
    wrapper = ("unshare", "--mount", "sh", "-c", script, "sh")
    tried = subprocess.run([*wrapper, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system of one's own can be mounted here: {tried.stderr.strip()[-200:]}")
    return wrapper


def in_own_network(work: Callable[[], T]) -> T:
    """Run `work` in a thread with a loopback interface of its own; what it starts is in there with it."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.unshare(_CLONE_NEWNET):
                pytest.skip(f"no network namespace here: {os.strerror(ctypes.get_errno())}")
            _run_or_skip("ip", "link", "set", "lo", "up")
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - pytest's outcomes, too, are raised again where pytest sees them
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def lose_packets(percent: int) -> None:
    """Have the kernel drop that share of the UDP packets of this thread's network, at random."""
    _run_or_skip("nft", "add table inet weather")
    _run_or_skip("nft", "add chain inet weather in { type filter hook input priority 0 ; }")
    _run_or_skip("nft", f"add rule inet weather in meta l4proto udp numgen random mod 100 < {percent} counter drop")


def packets_lost() -> int:
    """Return how many packets the kernel has dropped so."""
    said = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    return int(said.split("counter packets ")[1].split()[0])


def _run_or_skip(*command: str) -> None:
    name = shutil.which(command[0], path="/usr/sbin:/usr/bin:/sbin:/bin")
    if name is None:
        pytest.skip(f"{command[0]} is not installed")
    tried = subprocess.run([name, *command[1:]], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"{' '.join(command)}: {tried.stderr.strip()[-200:]}")
