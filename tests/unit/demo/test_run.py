from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from flatproxy.config.settings import Endpoint
from flatproxy.demo.run import Notes, introduction, settings_for
from flatproxy.wire import names

if TYPE_CHECKING:
    import pytest

PROXY, BEHIND, RESOLVER = (Endpoint("127.0.0.1", port) for port in (65_533, 65_534, 65_535))


def test_the_settings_stay_on_loopback_and_choose_no_port() -> None:
    settings = settings_for(BEHIND, RESOLVER)
    assert settings.listen.dns == (Endpoint("127.0.0.1", 0),)
    assert settings.listen.http == Endpoint("127.0.0.1", 0)
    assert settings.upstream.servers == (BEHIND,)
    assert settings.resolver.servers == (RESOLVER,)
    assert settings.state is None
    assert [names.to_text(zone) for zone in settings.access.zones] == ["example.com"]
    ((name, rule),) = settings.flatten.items()
    assert names.to_text(name) == "example.com"
    assert names.to_text(rule.target) == "shop-lb.cdn.example.net"


def test_the_introduction_can_be_read_and_pasted() -> None:
    lines = introduction(PROXY, BEHIND, "127.0.0.1:65535")
    assert max(map(len, lines)) <= 80
    commands = [shlex.split(line) for line in lines if line.startswith("  ")]
    through, direct = ["dig", "@127.0.0.1", "-p", "65533"], ["dig", "@127.0.0.1", "-p", "65534"]
    assert commands == [
        [*through, "example.com", "A"],
        [*through, "example.com", "AAAA"],
        [*through, "www.example.com", "A"],
        [*through, "example.com", "MX"],
        [*through, "+tcp", "mail._domainkey.example.com", "TXT"],
        ["curl", "-s", "http://127.0.0.1:65535/metrics"],
        [*direct, "example.com", "A"],
    ]


def _event(level: str, event: str = "upstream_down") -> str:
    return json.dumps({"time": "", "level": level, "event": event, "message": f"the {level}"}) + "\n"


def test_notes_keep_what_is_more_than_news(capsys: pytest.CaptureFixture[str]) -> None:
    notes = Notes(aloud=False)
    for line in (_event("info"), _event("warn"), _event("error")):
        notes.write(line)
    assert list(notes.kept) == ["warn: the warn", "error: the error"]
    assert capsys.readouterr().err == ""


def test_notes_said_aloud_go_to_stderr_and_few_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    notes = Notes(aloud=True)
    for _ in range(5):
        notes.write(_event("warn"))
    assert len(notes.kept) == 3
    captured = capsys.readouterr()
    assert captured.err == "warn: the warn\n" * 5
    assert captured.out == ""
