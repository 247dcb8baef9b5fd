"""What starts flatproxy as a service: a stand-in for systemd that passes sockets and hears notes, root that lends its
rights for a while, and a place that other users can read.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dns
import dns.message
import dns.rcode
import pytest
from attrs import define, field

from .internet import FakeInternet
from .ports import Address, bind_pair
from .proxy import Proxy
from .scripted import Scripted, noerror

if TYPE_CHECKING:
    from collections.abc import Iterator

Prepare = Callable[..., "Service"]

MX: Final = dns.message.make_query("example.com", "MX")
FLATTENED: Final = {"example.com": {"target": "lb.test", "types": ["A"]}}
ROOT: Final = Path(__file__).parents[2]
NOBODY: Final = "nobody"

# Puts descriptors at 3 and up and becomes the service, as systemd does; LISTEN_PID is the service's own ID.
_BECOME: Final = """
import os, sys
count = int(sys.argv[1])
moved = [os.dup(int(number)) for number in sys.argv[2 : 2 + count]]
high = [os.dup2(number, 100 + index) for index, number in enumerate(moved)]
for index, number in enumerate(high):
    os.dup2(number, 3 + index)
    os.close(number)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""


@define(eq=False)
class Service(Proxy):
    """One run with descriptors from 3 on, variables, arguments, another Python or another user."""

    passed: tuple[socket.socket, ...] = field(default=(), kw_only=True)
    environ: dict[str, str] = field(factory=dict, kw_only=True)
    arguments: tuple[str, ...] = field(default=(), kw_only=True)
    python: str = field(default=sys.executable, kw_only=True)
    options: dict[str, Any] = field(factory=dict, kw_only=True)
    """For `Popen`."""

    def write_configuration(self) -> None:
        """Leave the file alone where it is right, with whose it is and who may read it."""
        if not self.path.exists() or self.path.read_text() != self.config:
            super().write_configuration()

    def command(self) -> list[str]:
        command = [self.python, *super().command()[1:], *self.arguments]
        numbers = [str(sock.fileno()) for sock in self.passed]
        return [self.python, "-c", _BECOME, str(len(numbers)), *numbers, *command] if numbers else command

    def popen_options(self) -> dict[str, Any]:
        numbers = [sock.fileno() for sock in self.passed]
        environ = {**super().popen_options()["env"], **self.environ}
        return {"env": environ, "pass_fds": numbers, **self.options}

    def refused(self) -> tuple[int, str]:
        """Start it where it must not run; return the exit code and what it said."""
        self.launch()
        self.expected_to_end = True
        code = self.wait()
        said = "\n".join(event["message"] for event in self.events)
        assert "Traceback" not in said
        return code, said


@contextmanager
def bound_pair(host: str = "127.0.0.1") -> Iterator[tuple[Address, tuple[socket.socket, socket.socket]]]:
    """Bind UDP and TCP on one free port, as a socket unit does."""
    udp, tcp = bind_pair(host)
    with udp, tcp:
        tcp.listen()
        yield (host, udp.getsockname()[1]), (udp, tcp)


@define(eq=False)
class Notes:
    """systemd's end of NOTIFY_SOCKET."""

    path: Path
    heard: list[str] = field(factory=list)
    """Each datagram, its lines in one string."""
    _socket: socket.socket = field(factory=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))

    def __attrs_post_init__(self) -> None:
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        self.path.chmod(0o666)

    def hear(self) -> list[str]:
        """Take what has come, and return all there ever was."""
        while True:
            try:
                self.heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def count(self, note: str) -> int:
        return sum(each.split("\n")[0] == note for each in self.hear())

    def states(self) -> list[str]:
        """The first line of each note, the signs of life left out."""
        firsts = [each.split("\n")[0] for each in self.hear()]
        return [first for first in firsts if first != "WATCHDOG=1"]

    def close(self) -> None:
        self._socket.close()


def need_root() -> None:
    """Skip where this is not root, who alone can lend its rights."""
    if os.geteuid() != 0:
        pytest.skip("not root: cannot become another user")


@functools.cache
def readable_python() -> tuple[str, dict[str, str]]:
    """Return a Python that NOBODY can run flatproxy with, and what it needs in its environment; skip without one."""
    need_root()
    site = Path(dns.__file__).parents[1]
    environ = {"PYTHONPATH": os.pathsep.join((str(ROOT), str(site))), "PYTHONDONTWRITEBYTECODE": "1"}
    version = f"python3.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if shutil.which(candidate) is None:
            continue
        try:
            done = subprocess.run(
                [candidate, "-c", "import base64, sqlite3, flatproxy.process.run, dns.rdtypes.IN.A"],
                user=NOBODY,
                group=pwd.getpwnam(NOBODY).pw_gid,
                extra_groups=[],
                env={**os.environ, **environ},
                cwd="/",
                capture_output=True,
                check=False,
                timeout=30,
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return candidate, environ
    pytest.skip(f"no {version} here that the user {NOBODY} can read")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can look into; pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="flatproxy-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="module")
def no_error() -> Iterator[Scripted]:
    """A nameserver that says NOERROR to everything, and nothing else."""
    with Scripted(noerror) as server:
        yield server


@pytest.fixture(scope="module")
def lb() -> Iterator[FakeInternet]:
    resolver = FakeInternet()
    resolver.start()
    resolver.set("lb.test", "A", ["203.0.113.1"])
    yield resolver
    resolver.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Prepare]:
    """Prepare a service, in a folder of its own unless told otherwise; it ends with the test, well if it still runs."""
    made: list[Service] = []

    def prepare(config: str, folder: Path = tmp_path, **more: Any) -> Service:
        made.append(Service(folder, config, **more))
        return made[-1]

    yield prepare
    for each in made:
        if each.alive:
            each.stop()


def assert_answers(proxy: Service) -> None:
    """Ask over UDP and TCP."""
    for tcp in (False, True):
        assert proxy.ask(MX, tcp=tcp).rcode() == dns.rcode.NOERROR
