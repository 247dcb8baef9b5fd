from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.logger import globalLogPublisher

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.logger import LogEvent


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)  # type: ignore[arg-type] # any callable will do
    yield events
    globalLogPublisher.removeObserver(events.append)  # type: ignore[arg-type]
