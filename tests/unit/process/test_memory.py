from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from flatproxy.config.rules import Rule, Rules
from flatproxy.config.settings import Access, Listen, Settings, Upstream
from flatproxy.process import memory

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = 3 * memory.DISCARDED + 1


def _settings(flatten: Rules) -> Settings:
    return Settings(listen=Listen(dns=()), upstream=Upstream(servers=()), access=Access(zones=()), flatten=flatten)


def _many() -> Iterator[tuple[bytes, Rule]]:
    rule = Rule(target=b"\2lb\0")
    return ((number.to_bytes(4, "big"), rule) for number in range(NAMES))


def test_what_nobody_holds_is_taken_apart() -> None:
    left: list[int] = []

    class Watched(Rules):
        def __del__(self) -> None:
            left.append(len(self))

    memory.discard([_settings(Watched(_many()))])
    assert left == [0], "it is freed once it is empty"


def test_what_somebody_holds_stays_as_it_is() -> None:
    settings = _settings(Rules(_many()))
    memory.discard([settings])
    assert len(settings.flatten) == NAMES

    rules, unused = settings.flatten, [settings]
    gone = weakref.ref(rules)
    del settings
    memory.discard(unused)
    assert len(rules) == NAMES
    del rules
    assert gone() is None
