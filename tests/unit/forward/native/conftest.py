from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

try:
    from flatproxy.forward.native import _core
except ImportError:
    if os.environ.get("FLATPROXY_NATIVE") == "1":
        raise
    pytest.skip("the packet path in C was not built", allow_module_level=True)

from tests.unit.forward.native.standing import Standing


@pytest.fixture
def stand() -> Iterator[Callable[..., Standing]]:
    """Make a path with a nameserver that the test itself plays."""
    made: list[Standing] = []

    def make(**more: object) -> Standing:
        made.append(Standing(**more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for standing in made:
        standing.close()
    assert _core.Path(1).reclaim() == 0, "what was replaced is freed once the threads have ended"
