from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure

from flatproxy.observe.logs import FRAMES, LENGTH_LIMIT, LineObserver, json_line, text_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent

DEADLINE_S = 30
NASTY = [chr(number) for number in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x202E, 0x2066, 0x200F, 0xD800)]


def emitted(render: Callable[[LogEvent], str], talk: Callable[[Logger], object]) -> str:
    stream = io.StringIO()
    talk(Logger(namespace="flatproxy.test", observer=LogPublisher(LineObserver(stream, render))))
    return stream.getvalue()


def as_json(talk: Callable[[Logger], object]) -> dict[str, Any]:
    text = emitted(json_line, talk)
    assert text.endswith("\n")
    assert text.count("\n") == 1
    record: dict[str, Any] = json.loads(text)
    return record


def failing(message: str) -> Failure:
    try:
        raise ValueError(message)  # noqa: TRY301 - raised for its traceback
    except ValueError:
        return Failure()  # type: ignore[no-untyped-call] # Twisted's


def test_a_readable_line() -> None:
    line = text_line(
        {"log_format": "{server} is up", "server": "192.0.2.53:53", "log_time": 0.25, "log_level": LogLevel.info}
    )
    assert line == "1970-01-01T00:00:00.250Z info     192.0.2.53:53 is up\n"


def test_a_json_line() -> None:
    record = as_json(lambda log: log.warn("{server} is down", event="upstream_down", server="192.0.2.53:53", tries=3))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.pop("time"))
    assert record == {
        "level": "warn",
        "event": "upstream_down",
        "message": "192.0.2.53:53 is down",
        "server": "192.0.2.53:53",
        "tries": 3,
    }


def test_time_level_event_and_message_come_first() -> None:
    record = as_json(lambda log: log.info("x", first=1, event="thing"))
    assert list(record) == ["time", "level", "event", "message", "first"]


def test_values_keep_their_kind_where_json_has_it() -> None:
    fields = {"text": "a", "number": 1, "ratio": 0.5, "yes": True, "nothing": None, "many": ["a", 1, None, ["b"]]}
    record = as_json(lambda log: log.info("x", event="thing", **fields))
    assert {key: record[key] for key in fields} == fields


def test_other_values_become_strings() -> None:
    record = as_json(
        lambda log: log.info(
            "x", event="thing", wire=b"ab", row=(1, "b"), kind=LogLevel, bad=float("nan"), inf=[float("inf")]
        )
    )
    assert record["row"] == [1, "b"]
    assert record["bad"] == "nan"
    assert record["inf"] == ["inf"]
    assert isinstance(record["wire"], str)
    assert isinstance(record["kind"], str)


def test_a_value_that_cannot_be_written_is_no_reason_to_fail() -> None:
    class Shy:
        def __str__(self) -> str:
            raise RuntimeError("no")

    record = as_json(lambda log: log.info("x", event="thing", shy=Shy()))
    assert "Shy" in record["shy"]


def test_fields_cannot_pose_as_ours_and_internals_stay_inside() -> None:
    record = as_json(lambda log: log.info("x", event="thing", time="never", message="forged", log_secret="s"))
    assert record["time"] != "never"
    assert record["message"] == "x"
    assert not [key for key in record if key.startswith("log_")]


@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: f"U+{ord(text):04X}")
def test_no_value_can_forge_a_line(nasty: str) -> None:
    evil = f"a{nasty}2026-01-01T00:00:00.000Z critical all is lost"
    line = emitted(text_line, lambda log: log.info("{name} changed", name=evil))
    assert len(line.splitlines()) == 1
    assert nasty not in line.removesuffix("\n")
    raw = emitted(json_line, lambda log: log.info("{name} changed", event="thing", name=evil))
    assert len(raw.splitlines()) == 1
    assert nasty not in raw.removesuffix("\n")
    assert json.loads(raw)["name"] == evil
    assert nasty not in json.loads(raw)["message"]


def test_a_format_that_does_not_fit_its_fields_is_still_one_line() -> None:
    record = as_json(lambda log: log.info("{nobody} knows", event="thing", name="a\nb"))
    assert "nobody" in record["message"]


def test_an_exception_is_one_line_with_its_origin() -> None:
    line = emitted(
        text_line, lambda log: log.failure("While probing {zone}", failing("bad\nthing"), zone="example.com")
    )
    assert len(line.splitlines()) == 1
    assert "critical While probing example.com: ValueError: bad\\nthing (at observe/test_logs.py:" in line


def test_an_exception_in_json_has_its_traceback() -> None:
    record = as_json(lambda log: log.failure("While probing", failing("bad\nthing"), event="probe_failed"))
    assert record["level"] == "critical"
    assert record["event"] == "probe_failed"
    assert record["message"] == "While probing: ValueError: bad\\nthing"
    assert record["exception"] == "ValueError: bad\nthing"
    assert record["traceback"].startswith("Traceback (most recent call last):\n")
    assert record["traceback"].rstrip().endswith("ValueError: bad\nthing")


def test_what_has_no_word_of_its_own_says_whose_it_is() -> None:
    record = as_json(lambda log: log.failure("", failing("bad")))
    assert (record["event"], record["logger"], record["message"]) == ("exception", "flatproxy.test", "ValueError: bad")
    record = as_json(lambda log: log.info("hello"))
    assert (record["event"], record["logger"]) == ("note", "flatproxy.test")


def test_a_deep_traceback_shows_the_innermost_frames() -> None:
    def deep(level: int) -> None:
        if level == 0:
            raise ValueError("down here")
        deep(level - 1)

    def talk(log: Logger) -> None:
        try:
            deep(50)
        except ValueError:
            log.failure("Fell")

    line = emitted(text_line, talk)
    assert line.count(" < ") == FRAMES - 1
    assert "/test_logs.py:" in line


def test_long_values_are_cut() -> None:
    record = as_json(lambda log: log.info("{name}", event="thing", name="x" * 100_000))
    assert len(record["name"]) == LENGTH_LIMIT + 1
    assert len(record["message"]) == LENGTH_LIMIT + 1
    assert len(emitted(text_line, lambda log: log.info("{name}", name="x" * 100_000))) < LENGTH_LIMIT + 100


def test_levels_have_colours_on_request_only() -> None:
    event: LogEvent = {"log_format": "x", "log_level": LogLevel.error, "log_time": 0.0}
    assert "\x1b[31merror" in text_line(event, coloured=True)
    assert "\x1b" not in text_line(event)
    assert "\x1b" not in text_line({**event, "log_level": LogLevel.info}, coloured=True)


class Broken(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _text: str) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed file")]
)
def test_a_stream_that_takes_nothing_loses_the_line_alone(error: Exception) -> None:
    LineObserver(Broken(error), text_line)({"log_format": "x", "log_level": LogLevel.info, "log_time": 0.0})


def test_a_closed_stream_loses_the_line_alone() -> None:
    stream = io.StringIO()
    stream.close()
    LineObserver(stream, json_line)({"log_format": "x", "log_level": LogLevel.info, "log_time": 0.0})


def test_a_stream_that_knows_ascii_alone_gets_the_rest_escaped() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    LineObserver(stream, text_line)({"log_format": "für {x}", "x": "\u20ac", "log_time": 0.0})
    assert raw.getvalue().endswith(b"f\\xfcr \\u20ac\n")


TALK = """
import gc, logging, sys, threading, warnings
from twisted.internet import defer
from twisted.logger import Logger
from flatproxy.observe.logs import setup

log = Logger(namespace="flatproxy.test")
log.info("Before the log was set up", event="early")
setup(sys.argv[1], sys.stderr)
log.debug("Too much detail", event="debug")
log.info("Here", event="here")
Logger(namespace="twisted.internet").info("Chatter")
warnings.warn("mind the gap")
logging.getLogger("asyncio").info("more chatter")
logging.getLogger("asyncio").error("Task exception was never retrieved", exc_info=ValueError("in a task"))
defer.fail(ValueError("in a Deferred"))
gc.collect()
class Stray:
    def __del__(self):
        raise ValueError("in a finaliser")
Stray()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
print("went on to the end")
"""


def run(log_format: str, stderr: Any = subprocess.PIPE, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TALK, log_format]
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=stderr, timeout=DEADLINE_S, **more
    )


def test_everything_that_a_process_says_is_one_json_object_a_line() -> None:
    records = [json.loads(line) for line in run("json").stderr.splitlines()]
    assert [record["event"] for record in records[:2]] == ["early", "here"]
    messages = "\n".join(record["message"] for record in records)
    for said in ("mind the gap", "in a task", "in a Deferred", "in a finaliser", "ZeroDivisionError"):
        assert said in messages
    assert "hatter" not in messages
    assert "detail" not in messages
    assert all(list(record)[:4] == ["time", "level", "event", "message"] for record in records)


def test_everything_that_a_process_says_is_one_readable_line() -> None:
    lines = run("text").stderr.splitlines()
    shape = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warn|error|critical) +\S")
    assert all(shape.match(line) for line in lines), lines
    assert lines[1].endswith(" info     Here")


def test_a_terminal_gets_colours_unless_it_asks_for_none() -> None:
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        kept = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
        run("text", stderr=theirs, env={**kept, **environment})
        os.close(theirs)
        shown = os.read(ours, 65536)
        os.close(ours)
        assert (b"\x1b[33mwarn" in shown) is coloured


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_full_disk_stops_nothing(log_format: str) -> None:
    with Path("/dev/full").open("w") as full:
        assert run(log_format, stderr=full).stdout == "went on to the end\n"


def test_a_closed_stderr_stops_nothing() -> None:
    closing = f"import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, '-c', {TALK!r}, 'json'])"
    done = subprocess.run(
        [sys.executable, "-c", closing], check=True, text=True, stdout=subprocess.PIPE, timeout=DEADLINE_S
    )
    assert done.stdout == "went on to the end\n"


def test_a_reader_that_has_gone_stops_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert run("text", stderr=writing).stdout == "went on to the end\n"
    os.close(writing)
