"""The log: Twisted's events as readable lines or as one JSON object a line.

A module logs with `log.info("{server} is up", event="upstream_up", server=...)`: the sentence, a snake_case word for
machines, and fields. Whatever a value holds, an event is exactly one line. It must never raise into the service, and
nothing is ever logged per query.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.logger import LogEvent

LENGTH_LIMIT: Final = 8192
"""Characters of one value; what is longer ends in an ellipsis. A traceback loses its beginning instead."""
FRAMES: Final = 8
"""Frames of a traceback in a readable line, the innermost first."""

log = Logger()

_OURS: Final = frozenset({"time", "level", "event", "message"})
_LEGACY: Final = frozenset({"system", "format", "isError", "why", "failure", "logLevel"})  # of twisted.python.log
_COLOURS: Final = {"warn": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN: Final = "\x1b[0m"
# What could end a line, move the cursor, or turn the reading direction: C0, DEL, C1, the line and paragraph
# separators, the bidirectional controls, and the surrogates that no encoding takes.
_UNPRINTABLE: Final = {
    number: f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
    for numbers in (
        range(0x20),
        range(0x7F, 0xA0),
        range(0x200E, 0x2010),
        range(0x2028, 0x202F),
        range(0x2066, 0x206A),
        range(0xD800, 0xE000),
    )
    for number in numbers
} | {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}


def _escaped(text: str) -> str:
    shown = text if len(text) <= LENGTH_LIMIT else text[:LENGTH_LIMIT] + "…"
    return shown.translate(_UNPRINTABLE)


def _time(event: LogEvent) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(event.get("log_time") or 0.0, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return "info" if level is None else str(level.name)


def _exception(failure: Failure) -> str:
    kind = failure.type.__name__ if failure.type is not None else "Exception"
    said = safe_str(failure.value)
    return f"{kind}: {said}" if said else kind


def _sentence(event: LogEvent) -> str:
    """Give the event's sentence on one line, with the exception where it has one."""
    parts = [formatEvent(event).rstrip(" :.\n")] if "log_failure" in event else [formatEvent(event)]
    if "log_failure" in event:
        parts.append(_exception(event["log_failure"]))
    return _escaped(": ".join(part for part in parts if part))


def _frames(failure: Failure) -> str:
    """Where it was raised and by whom that was called, on one line."""
    shown = (
        f"{'/'.join(Path(path).parts[-2:])}:{line} {function}"
        for function, path, line, *_ in list(reversed(failure.frames))[:FRAMES]
    )
    return _escaped(" < ".join(shown))


def text_line(event: LogEvent, *, coloured: bool = False) -> str:
    """Render an event for people: time, level, sentence; for an exception also where it came from."""
    level = _level(event)
    shown = f"{level:<8}"
    if coloured and level in _COLOURS:
        shown = _COLOURS[level] + shown + _PLAIN
    line = f"{_time(event)} {shown} {_sentence(event)}"
    if "log_failure" in event and event["log_failure"].frames:
        line += f" (at {_frames(event['log_failure'])})"
    return line + "\n"


def _plain(value: object) -> object:
    """Give what JSON can hold: a number that JSON has no word for, and every other object, becomes a string."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    text = value if isinstance(value, str) else safe_str(value)
    return text if len(text) <= LENGTH_LIMIT else text[:LENGTH_LIMIT] + "…"


def json_line(event: LogEvent) -> str:
    """Render an event for machines: `time`, `level`, `event`, `message`, then the fields in the order given.

    An event of somebody else's has no word of its own: it is called `exception` or `note`, and `logger` says whose.
    """
    failure = event.get("log_failure")
    named = "event" in event
    record: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "event": safe_str(event["event"]) if named else "exception" if failure is not None else "note",
        "message": _sentence(event),
    }
    if not named:
        record["logger"] = event.get("log_namespace", "")
    for key, value in event.items():
        if not key.startswith("log_") and key not in _OURS and not ("log_text" in event and key in _LEGACY):
            record[key] = _plain(value)
    if failure is not None:
        record["exception"] = _plain(_exception(failure))
        record["traceback"] = failure.getTraceback()[-LENGTH_LIMIT:]
    return json.dumps(record, allow_nan=False) + "\n"  # printable ASCII alone, everything else is escaped


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line to a stream. A stream that takes nothing loses the line, never the service."""

    def __init__(self, stream: TextIO, render: Callable[[LogEvent], str]) -> None:
        self._stream = stream
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        """Write one event."""
        line = self._render(event)
        try:
            encoding = self._stream.encoding or "utf-8"
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # a full disk, a reader that has gone, a closed stream
            pass


class _FromLogging(logging.Handler):
    """Takes what asyncio and other libraries say through the standard library's `logging`."""

    def emit(self, record: logging.LogRecord) -> None:
        level = LogLevel.warn if record.levelno < logging.ERROR else LogLevel.error
        fields: dict[str, Any] = {"log_sentence": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["log_failure"] = _failure(record.exc_info[1])
        Logger(namespace=record.name).emit(level, "{log_sentence}", **fields)


def _failure(exception: BaseException) -> Failure:
    return Failure(exception, type(exception), exception.__traceback__)  # type: ignore[no-untyped-call] # Twisted's


def _unraisable(stray: sys.UnraisableHookArgs) -> None:
    log.failure("Ignored where it could not be raised", _failure(stray.exc_value or stray.exc_type()))


def _in_thread(stray: threading.ExceptHookArgs) -> None:
    log.failure("A thread ended early", _failure(stray.exc_value or stray.exc_type()))


def setup(log_format: Literal["text", "json"], stream: TextIO | None) -> None:
    """Send every event from now on to `stream`. Call once a process; None (a closed stderr) means no log.

    Of flatproxy's own events those of level info and above are written, of everybody else's those of level warn and
    above. Warnings, the standard library's `logging` and exceptions that nothing can catch go the same way, so that
    nothing else is printed. Lines have colours where `stream` is a terminal and NO_COLOR is not set.
    """
    observers: list[ILogObserver] = []
    if stream is not None:
        coloured = stream.isatty() and "NO_COLOR" not in os.environ
        render = json_line if log_format == "json" else partial(text_line, coloured=coloured)
        wanted = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
        wanted.setLogLevelForNamespace("flatproxy", LogLevel.info)
        observers.append(FilteringLogObserver(LineObserver(stream, render), [wanted]))
    globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False)
    logging.getLogger().addHandler(_FromLogging())
    sys.unraisablehook = _unraisable
    threading.excepthook = _in_thread
