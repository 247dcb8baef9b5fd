"""The log: Twisted's events as readable lines or as one JSON object a line.

A module logs with `log.info("{server} is up", event="upstream_up", server=...)`: the sentence, a snake_case word for
machines, and fields. Whatever a value holds, an event is exactly one line. It must never raise into the service, and
nothing is ever logged per query.
"""

from __future__ import annotations

from typing import Literal, TextIO


def setup(log_format: Literal["text", "json"], stream: TextIO | None) -> None:
    """Send every event from now on to `stream`. Call once a process; None (a closed stderr) means no log."""
    raise NotImplementedError
