"""What is done to the process itself while clients ask: signals, the clock, too few descriptors."""

from __future__ import annotations

import contextlib
import signal
from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support import dnsio
from tests.support.configuration import configuration
from tests.support.load import Load
from tests.support.ports import free_port
from tests.support.waiting import until

from .losses import FLAGGED, FLATTEN, PLAIN, replies

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

    from .losses import Count, Start, Took

_CLOCK = """
import pathlib, time
real = time.time
shift = pathlib.Path({path!r})
time.time = lambda: real() + float(shift.read_text())
"""


def test_sighup_a_hundred_times(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    good = configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN)
    proxy = start(good)
    with Load(proxy.address, [FLAGGED, PLAIN], over_tcp=FLAGGED) as load:
        for number in range(100):
            if number % 2:
                proxy.reload("[listen\n", "reload_failed")
            else:
                proxy.reload(good)
        assert proxy.metrics().value("config_reload_success") == 0
        replies(load, 50)
    assert count("SIGHUP 100 times, every other file bad", load) == (0, 0)


def test_sigterm_under_load(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, note_took: Took) -> None:
    """What was taken is answered; later queries find a closed port, and the exit code is 0."""
    proxy = start(configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN))
    with Load(proxy.address, [FLAGGED, PLAIN, ("www.example.com", "A")]) as load:
        replies(load, 100)
        began = monotonic()
        proxy.stop()
        took_s = monotonic() - began
    note_took("SIGTERM to the end", took_s)
    assert took_s < 2, "a second to drain, and what a busy machine adds"
    lost, failed = count("SIGTERM", load)
    assert failed == 0
    assert lost <= 6, "at most two for each of three clients, all sent to a port that was closing"


@pytest.mark.parametrize("names", [1, 1_000_000])
def test_a_fault_in_the_packet_threads(
    nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, note_took: Took, tmp_path: Path, names: int
) -> None:
    """SIGSEGV ends the process; as its supervisor does, the test starts it again at once, on the same address."""
    more = tmp_path / "names.txt"
    more.write_text("".join(f"n{number}.example.com t{number % 1000}.test\n" for number in range(names - 1)))
    config = f'include = ["{more}"]\n' + configuration(
        upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN, dns=[f"127.0.0.1:{free_port()}"]
    )
    proxy = start(config, ready=False)
    until(lambda: proxy.ask(dns.message.make_query(*FLAGGED)).answer, "the flagged name is known", 60)
    with Load(proxy.address, [FLAGGED, PLAIN]) as load:
        replies(load, 50)
        proxy.expected_to_end = True
        proxy.send(signal.SIGSEGV)
        began = monotonic()
        assert proxy.wait() == -signal.SIGSEGV
        proxy.start(ready=False)
        assert proxy.ask(dns.message.make_query(*PLAIN)).answer
        took_s = monotonic() - began
        until(lambda: len(load.replies()) >= 150, "it answers again", 20)
    note_took(f"SIGSEGV to the first answer, {names:,} names", took_s)
    _lost, failed = count(f"SIGSEGV, and started again, {names:,} names", load)
    assert failed == 0
    ended = max(asked.at + asked.took_s for asked in load.lost)
    assert all(asked.reply is not None for asked in load.asked if asked.at > ended), "all is well afterwards"


@pytest.mark.parametrize("hours", [-5, 5])
def test_clock_set(
    nsd: Nsd,
    resolver: FakeInternet,
    start: Start,
    count: Count,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hours: int,
) -> None:
    """`time.time` is shifted inside the process: the clock of this machine stays as it is."""
    shift = tmp_path / "shift"
    shift.write_text("0")
    (tmp_path / "sitecustomize.py").write_text(_CLOCK.format(path=str(shift)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    proxy = start(
        configuration(
            upstream=[nsd.address],
            resolver=[resolver.address],
            flatten=FLATTEN,
            tables={"state": {"path": str(tmp_path / "answers.sqlite")}},
        )
    )
    with Load(proxy.address, [FLAGGED, PLAIN]) as load:
        replies(load, 50)
        shift.with_suffix(".new").write_text(str(hours * 3600))
        shift.with_suffix(".new").replace(shift)
        before = resolver.asked["lb.test", "A"]
        until(lambda: resolver.asked["lb.test", "A"] > before + 1, "refreshes go on")
        replies(load, 50)
    assert count(f"clock set by {hours:+} h", load) == (0, 0)
    assert not proxy.since(0, "rung_change", name="example.com", new="stale")


def test_descriptors_exhausted(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    config = configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN)
    proxy = start(config, descriptors=128)
    with contextlib.ExitStack() as stack, Load(proxy.address, [FLAGGED, PLAIN]) as load:
        for _ in range(200):
            with contextlib.suppress(OSError):
                stack.enter_context(dnsio.tcp_socket(proxy.address))
        replies(load, 150)
    assert count("200 TCP clients, 128 descriptors: UDP", load) == (0, 0)
    assert proxy.metrics().value("tcp_evicted_total") + proxy.metrics().value("tcp_refused_total") > 50
