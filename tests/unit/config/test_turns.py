from __future__ import annotations

import sys
import threading
from time import perf_counter

from flatproxy.config.turns import REST_S, RESTS, TURN_S, giving_way, rest_at


def beside(seen: list[float]) -> None:
    """Note the length of a turn, before, within and after; then how long a hundred rests take."""
    seen.append(sys.getswitchinterval())
    with giving_way():
        seen.append(sys.getswitchinterval())
    seen.append(sys.getswitchinterval())
    began = perf_counter()
    for number in range(100 * RESTS):
        rest_at(number)
    seen.append(perf_counter() - began)


def test_beside_the_main_thread_turns_are_short_and_there_are_rests() -> None:
    seen: list[float] = []
    thread = threading.Thread(target=beside, args=(seen,))
    thread.start()
    thread.join(10)
    usual, within, after, rests_s = seen
    assert within < 2 * TURN_S < usual == after
    assert rests_s > 100 * REST_S


def test_in_the_main_thread_nothing_changes() -> None:
    seen: list[float] = []
    beside(seen)
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] < 100 * REST_S
