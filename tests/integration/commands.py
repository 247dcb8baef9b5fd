"""`check` and `explain` as a user runs them, and the internet that they look at."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Final

from attrs import frozen

from tests.support.internet import FakeInternet, Mood

NOWHERE: Final = ("127.0.0.1", 9)
WIDTH: Final = 100


@frozen
class Output:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def findings(self, *severities: str) -> list[tuple[str, str]]:
        """Severity and key of each finding of these severities, in the order that they were told in."""
        found = self.json["findings"]
        return [(each["severity"], each["key"]) for each in found if each["severity"] in severities]

    def what(self, key: str) -> str:
        """Value and text of the only finding at a key that is not "ok"; it must say what to do."""
        (found,) = [each for each in self.json["findings"] if each["key"] == key and each["severity"] != "ok"]
        assert found["do"]
        return f"{found['value']}: {found['what']}"


def run(*arguments: str) -> Output:
    done = subprocess.run(
        [sys.executable, "-m", "flatproxy", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Output(done.returncode, done.stdout, done.stderr)


def fill(net: FakeInternet) -> None:
    """A load balancer behind a chain, and several ways not to resolve."""
    net.cname("lb.cloud.test", "edge.cdn.test", 600)
    net.cname("edge.cdn.test", "pop.cdn.test", 60)
    net.set("pop.cdn.test", "A", ["198.51.100.7", "198.51.100.8"], 30)
    net.set("pop.cdn.test", "AAAA", ["2001:db8:7::7"], 20)
    net.set("long.cloud.test", "A", ["198.51.100.9"], 86400)
    net.set("short.cloud.test", "A", ["198.51.100.10"], 0)
    net.cname("loop1.cloud.test", "loop2.cloud.test")
    net.cname("loop2.cloud.test", "loop1.cloud.test")
    net.moods["broken.cloud.test"] = Mood.SERVFAIL
    net.moods["silent.cloud.test"] = Mood.SILENT
