"""`flatproxy run` as a child process: its configuration, its log as events, its metrics, its signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import dns.message
import dns.query
from attrs import define, field

from .child import program
from .lifetime import Startable
from .metrics import Metrics
from .ports import Address, parse
from .waiting import until

if TYPE_CHECKING:
    from pathlib import Path

Event = dict[str, Any]


@define(eq=False)
class Proxy(Startable):
    """One run. Its log is read as it comes; `mark` and `since` split it into before and after."""

    folder: Path
    config: str
    descriptors: int | None = None
    """How many files it may open; None: as many as the tests themselves."""
    process: subprocess.Popen[str] | None = field(default=None, init=False)
    events: list[Event] = field(factory=list, init=False)
    listening: list[Address] = field(factory=list, init=False)
    http: Address | None = field(default=None, init=False)
    expected_to_end: bool = field(default=False, init=False)
    """Whether a test has ended it on purpose."""
    _reader: threading.Thread | None = field(default=None, init=False)

    @property
    def path(self) -> Path:
        return self.folder / "flatproxy.toml"

    @property
    def address(self) -> Address:
        """Where to ask it: the first address it listens on, the loopback's where that is every address."""
        host, port = self.listening[0]
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port

    def start(self, *, ready: bool = True) -> None:
        """Start it and return when it listens and, where asked for, says that it is ready."""
        self.launch()
        self.attach()
        if ready:
            self.wait_event("ready")

    def attach(self) -> None:
        """Return when it listens."""
        listening = self.wait_event("listening")
        self.listening = [parse(written) for written in listening["dns"]]
        self.http = parse(listening["http"]) if listening["http"] else None

    def write_configuration(self) -> None:
        self.path.write_text(self.config)

    def command(self) -> list[str]:
        limit = f"--nofile={self.descriptors}:{self.descriptors}"
        prefix = [program("prlimit"), limit] if self.descriptors is not None else []  # becomes what it starts
        run = [sys.executable, "-m", "flatproxy", "run", "--config", str(self.path), "--log-format", "json"]
        return [*prefix, *run]

    def popen_options(self) -> dict[str, Any]:
        return {"env": {**os.environ, "PYTHONDEVMODE": "", "PYTHONWARNINGS": ""}}

    def launch(self) -> None:
        self.write_configuration()
        self.events.clear()
        self.expected_to_end = False
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            **self.popen_options(),
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        for line in process.stderr:
            event: Event
            try:
                event = json.loads(line)
            except ValueError:
                event = {"event": "not_json", "message": line.rstrip("\n")}
            self.events.append(event)

    @property
    def mark(self) -> int:
        return len(self.events)

    def since(self, mark: int, event: str, **fields: object) -> list[Event]:
        return [
            found
            for found in self.events[mark:]
            if found["event"] == event and all(found.get(key) == value for key, value in fields.items())
        ]

    def wait_event(self, event: str, *, mark: int = 0, deadline_s: float = 60, **fields: object) -> Event:
        """Return the first such event since the mark."""

        def probe() -> Event | None:
            found = self.since(mark, event, **fields)
            if not found and not self.alive:
                raise AssertionError(f"flatproxy ended before {event}:\n{self.log}")
            return found[0] if found else None

        return until(probe, lambda: f"{event} {fields} in\n{self.log}", deadline_s)

    @property
    def log(self) -> str:
        return "\n".join(json.dumps(event) for event in self.events[-40:])

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ask(self, query: dns.message.Message, *, tcp: bool = False, timeout: float = 10) -> dns.message.Message:
        """Ask over UDP or TCP; the reply is checked against the query by dnspython."""
        host, port = self.address
        if tcp:
            return dns.query.tcp(query, host, timeout=timeout, port=port)
        return dns.query.udp(query, host, timeout=timeout, port=port)

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of its HTTP side."""
        assert self.http is not None
        host, port = self.http
        try:
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metrics(self) -> Metrics:
        status, body = self.get("/metrics")
        assert status == 200
        return Metrics(body)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def reload(self, config: str, expect: str = "reloaded") -> Event:
        """Change the file, send SIGHUP, and return the log's word on it."""
        mark = self.mark
        self.path.write_text(config)
        self.send(signal.SIGHUP)
        return self.wait_event(expect, mark=mark)

    def wait(self, deadline_s: float = 60) -> int:
        """Wait for its end and return the exit code; its whole log has been read then."""
        assert self.process is not None
        assert self._reader is not None
        code = self.process.wait(deadline_s)
        self._reader.join(5)
        return code

    def stop(self) -> None:
        """End it with SIGTERM, which must give 0, with nothing but JSON in the log and no traceback in it."""
        self.expected_to_end = True
        self.send(signal.SIGTERM)
        try:
            code = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it:\n{self.log}") from None
        assert code == 0, (code, self.log)
        strange = [event for event in self.events if "Traceback" in json.dumps(event) or event["event"] == "not_json"]
        assert not strange, "\n".join(event["message"] for event in strange)

    def kill(self) -> None:
        assert self.process is not None
        self.expected_to_end = True
        self.process.kill()
        self.wait()
