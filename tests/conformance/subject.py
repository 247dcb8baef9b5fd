"""What is tested: a proxy process in front of given backends, or the backend itself, or a proxy run by others.

`Options` says what a requirement needs; each kind of subject writes that down in its own language.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import field, frozen

from tests.support import dnsio, packets
from tests.support.waiting import let_pass, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.ports import Address


@frozen(kw_only=True)
class Flatten:
    """One flagged name's rule. `stand_in` is what a proxy without flattening answers in its closest equivalent."""

    target: str
    fallback: tuple[str, ...] = ()
    any: str = "hinfo"
    max_ttl: str = "300s"
    stand_in: tuple[str, ...] = ()
    stand_in_ttl: int = 60


@frozen(kw_only=True)
class Options:
    """What a subject is started with. `tables` are further TOML tables, `dnsdist` further Lua lines.

    `wrapper` is put in front of the command (`("prlimit", "--nofile=64")`), `probe` is a name that the backend is
    known to answer: the subject counts as ready once it answers it; None where no answer can be expected.
    """

    backends: tuple[Address, ...]
    listen: tuple[str, ...] = ("127.0.0.1",)
    port: int = 0
    zones: tuple[str, ...] = (".",)
    query: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    transfer: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    update: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    notify: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    upstream_timeout: str = "2s"
    resolvers: tuple[Address, ...] = ()
    resolver_timeout: str = "1.8s"
    flatten: Mapping[str, Flatten] = field(factory=dict)
    state: Path | None = None
    tables: Mapping[str, Mapping[str, object]] = field(factory=dict)
    dnsdist: tuple[str, ...] = ()
    wrapper: tuple[str, ...] = ()
    env: Mapping[str, str] = field(factory=dict)
    probe: str | None = None


class StartFailure(Exception):
    """The subject ended, or was not ready in time; the text is its log's end."""


class Subject:
    """One running subject. `host` and `port` are DNS over UDP and TCP; `http_port` is None without metrics."""

    kind = ""
    has_reload = False
    can_flatten = False

    def __init__(self, options: Options, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.host = options.listen[0] if options.listen[0] != "0.0.0.0" else "127.0.0.1"
        self.port = options.port
        self.http_port: int | None = None
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def pid(self) -> int:
        assert self.process is not None, "this subject is not a process of ours"
        return self.process.pid

    @property
    def pids(self) -> list[int]:
        """Return the process and all that it started; empty where it is not ours."""
        return _family(self.process.pid) if self.process is not None else []

    def start(self, wait_s: float = 60.0) -> None:
        raise NotImplementedError

    def log(self) -> str:
        """Return everything that it has written so far."""
        found = [self.folder / "stderr.log", self.folder / "stdout.log"]
        return "".join(path.read_text("utf-8", "backslashreplace") for path in found if path.exists())

    def alive(self) -> bool:
        """Tell whether it has not ended by itself."""
        return self.process is None or self.process.poll() is None

    def serves(self, qname: str, wait_s: float = 2.0) -> bool:
        """Tell whether both transports answer NOERROR or NXDOMAIN for a name within `wait_s` each."""
        message = packets.query(qname)
        found = [dnsio.udp(self.address, message, wait_s), dnsio.tcp(self.address, message, wait_s)]
        return all(one is not None and packets.rcode_of(one) in {0, 3} and one[:2] == message[:2] for one in found)

    def rss(self) -> int:
        """Return the octets of memory that are resident, over all its processes."""
        return sum(_status_kib(pid, "VmRSS:") for pid in self.pids) * 1024

    def fds(self) -> int:
        """Return the number of open descriptors, over all its processes."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in self.pids)

    def cpu_s(self) -> float:
        """Return the seconds of processor time used so far, over all its processes."""
        ticks = 0
        for pid in self.pids:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / 100

    def stop(self, wait_s: float = 5.0) -> int | None:
        """Send SIGTERM, SIGKILL after `wait_s`; return the exit code (negative: the signal), None if not ours."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def launch(self, command: Sequence[str]) -> None:
        """Start the command with its output in files."""
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **self.options.env}
        if "PYTHONPATH" in os.environ:  # another copy of the subject than the installed one
            env["PYTHONPATH"] = os.environ["PYTHONPATH"]
        with (self.folder / "stderr.log").open("ab") as err, (self.folder / "stdout.log").open("ab") as out:
            self.process = subprocess.Popen(
                [*self.options.wrapper, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, cwd=self.folder,
            )  # fmt: skip

    def wait_ready(self, true: object, wait_s: float) -> None:
        """Wait until the callable holds; raise StartFailure where the process ends first or time runs out."""
        assert callable(true)
        if not wait_until(lambda: not self.alive() or true(), wait_s) or not self.alive():
            code = self.process.poll() if self.process else None
            self.stop()
            raise StartFailure(f"{self.kind} is not ready (exit code {code}); its log ends:\n{self.log()[-3000:]}")

    def wait_probe(self, wait_s: float) -> None:
        """Wait until it answers for `options.probe`, where there is one."""
        if self.options.probe is not None:
            probe = self.options.probe
            self.wait_ready(lambda: self.serves(probe, 0.5), wait_s)


class Direct(Subject):
    """The backend itself: what every ordinary requirement is measured against, useful for writing tests."""

    kind = "direct"

    def start(self, wait_s: float = 60.0) -> None:
        self.host, self.port = self.options.backends[0]
        self.wait_probe(wait_s)


class External(Subject):
    """A proxy that others run; its backend address is the fixed one that it was told about."""

    kind = "external"

    def start(self, wait_s: float = 60.0) -> None:
        self.host = self.options.env["host"]
        self.port = int(self.options.env["port"])
        self.http_port = int(self.options.env["http_port"]) or None
        self.wait_probe(wait_s)


def program(name: str) -> str:
    """Return the path of a program that the suite needs."""
    found = shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin")
    if found is None:
        raise FileNotFoundError(f"{name} is not installed")
    return found


def _family(pid: int) -> list[int]:
    out = [pid]
    for pid_now in out:
        try:
            for children in Path(f"/proc/{pid_now}/task").glob("*/children"):
                out.extend(int(child) for child in children.read_text().split())
        except (OSError, ValueError):
            continue
    return [one for one in out if Path(f"/proc/{one}").exists()]


def _status_kib(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


def cpu_share(subject: Subject, during_s: float) -> float:
    """Return the share of one processor that the subject uses over the next `during_s` seconds."""
    before, at = subject.cpu_s(), time.monotonic()
    let_pass(during_s)
    return (subject.cpu_s() - before) / (time.monotonic() - at)


def process_of(subject: Subject) -> int:
    """Return the subject's process ID; skip where it is not ours to signal."""
    if subject.process is None:
        pytest.skip("the subject's process is not ours")
    return subject.pid
