"""The demo as people run it: the tour, the lines it prints to a file, the picture it draws on a terminal."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import urllib.request
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import pytest
from attrs import define, field

from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = [sys.executable, "-m", "flatproxy", "demo"]
FIRST = "198.51.100.1"
SECOND = "198.51.100.2"
MOVES_WITHIN_S = 60.0


@define(eq=False)
class Demo:
    """A running demo, and what it has written so far to the descriptor that is its terminal or pipe."""

    process: subprocess.Popen[bytes]
    descriptor: int
    written: bytes = b""
    _reader: threading.Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.descriptor, 65_536):
                self.written += data
        except OSError:  # how the end of a terminal reads
            pass

    @property
    def text(self) -> str:
        return self.written.decode(errors="replace")

    def wait_for(self, words: str, deadline_s: float = 30.0) -> None:
        def probe() -> bool:
            assert words in self.text or self.process.poll() is None, f"ended before {words!r}:\n{self.text}"
            return words in self.text

        until(probe, lambda: f"{words!r} in\n{self.text}", deadline_s)

    def command(self, *words: str) -> list[str]:
        """Return the one pasteable line with all these words."""
        lines = [line.split() for line in self.text.splitlines() if line.startswith("  ")]
        (found,) = [line for line in lines if set(words) <= set(line)]
        return found

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join(5)
        return code


@pytest.fixture
def start() -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def begin(*, terminal: bool) -> Demo:
        ours, theirs = os.openpty() if terminal else os.pipe()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24", "PYTHONWARNINGS": "error"}
        process = subprocess.Popen(
            COMMAND, stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.STDOUT, env=environment
        )
        os.close(theirs)
        demo = Demo(process, ours)
        started.append(demo)
        return demo

    yield begin
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait(10)
        os.close(demo.descriptor)


def _dig(words: list[str]) -> dns.message.Message:
    """Ask what a printed `dig` line asks."""
    assert words[0] == "dig"
    host, port = words[1].removeprefix("@"), int(words[3])
    query = dns.message.make_query(words[-2], words[-1])
    send = dns.query.tcp if "+tcp" in words else dns.query.udp
    return send(query, host, timeout=5, port=port)


def _addresses(words: list[str]) -> set[str]:
    return {rdata.to_text() for rdata in _dig(words).answer[-1]}


def test_the_tour_sees_both_promises_kept() -> None:
    done = subprocess.run([*COMMAND, "--once"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert done.stdout.endswith("Both promises kept.\n")
    assert "FAILED" not in done.stdout
    before, after = done.stdout.split("The load balancer moves.")
    assert re.search(rf"example\.com +A +{re.escape(FIRST)} ", before)
    assert re.search(rf"example\.com +A +{re.escape(SECOND)} ", after)
    assert done.stdout.count("identical") == 5


def test_without_a_terminal_it_prints_a_line_a_change_until_interrupted(start: Callable[..., Demo]) -> None:
    demo = start(terminal=False)
    demo.wait_for("example.com AAAA 2001:db8:1::80")
    assert re.search(rf"^\d\d:\d\d:\d\d  example\.com A +{re.escape(FIRST)} .*→.*→ lb-1\.", demo.text, re.MULTILINE)
    demo.wait_for(SECOND, MOVES_WITHIN_S)
    assert demo.end(signal.SIGINT) == 0
    assert "\x1b" not in demo.text
    assert "Traceback" not in demo.text
    changes = [line for line in demo.text.splitlines() if re.match(r"\d\d:\d\d:\d\d  ", line)]
    assert sum(FIRST in line for line in changes) == 1, changes


def test_what_it_prints_can_be_pasted(start: Callable[..., Demo]) -> None:
    demo = start(terminal=False)
    demo.wait_for("example.com AAAA 2001:db8")
    direct = [line.split() for line in demo.text.splitlines() if line.startswith("  dig")][-1]
    assert _addresses(direct) == {"192.0.2.1"}
    through = [shlex.split(line) for line in demo.text.splitlines() if line.startswith("  dig")][:-1]
    apex, apex_v6, www, mail, key = through
    assert all(address.startswith(("198.51.100.", "203.0.113.")) for address in _addresses(apex))
    assert all(address.startswith("2001:db8:") for address in _addresses(apex_v6))
    assert all(address.startswith(("198.51.100.", "203.0.113.")) for address in _addresses(www))
    assert len(_addresses(mail)) == 2
    assert len(_dig(key).to_wire()) > 1232
    assert _dig([word for word in key if word != "+tcp"]).flags & dns.flags.TC
    url = demo.command("curl")[-1]
    with urllib.request.urlopen(url, timeout=5) as response:
        assert b"flatproxy_" in response.read()
    assert demo.end(signal.SIGTERM) == 0


def test_on_a_terminal_it_redraws_and_gives_the_cursor_back(start: Callable[..., Demo]) -> None:
    demo = start(terminal=True)
    demo.wait_for("\x1b[J")
    demo.wait_for("A\r\x1b[J")  # the second picture, drawn over the first
    assert "\x1b[?25l" in demo.text
    assert "\x1b[1mexample.com\x1b[0m" in demo.text
    assert "\x1b[32mfresh\x1b[0m" in demo.text
    assert "\x1b[?25h" not in demo.text
    assert demo.end(signal.SIGINT) == 0
    assert demo.text.endswith("\x1b[?25h")
    assert "Traceback" not in demo.text


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    with subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
        assert process.stderr.read() == b""
