from __future__ import annotations

import asyncio

import pytest

from flatproxy.diagnose.asking import QUESTIONS_AT_ONCE, Patience, each


def test_each_is_done_once_and_no_more_than_so_many_at_a_time() -> None:
    done: list[int] = []
    running: list[int] = []
    most = 0

    async def work(item: int) -> None:
        nonlocal most
        running.append(item)
        most = max(most, len(running))
        for _ in range(3):
            await asyncio.sleep(0)
        running.remove(item)
        done.append(item)

    asyncio.run(each(range(500), work))
    assert sorted(done) == list(range(500))
    assert most == QUESTIONS_AT_ONCE


def test_what_goes_wrong_is_not_lost() -> None:
    async def work(item: int) -> None:
        raise ValueError(item)

    with pytest.raises(ExceptionGroup):
        asyncio.run(each([1], work))


def test_patience_ends_after_silence_in_a_row_and_counts_what_is_skipped() -> None:
    patience = Patience(limit=2)
    for answered in (False, True, False):
        assert not patience.is_over()
        patience.note(answered=answered)
    assert not patience.is_over()
    patience.note(answered=False)
    assert patience.is_over()
    assert patience.is_over()
    assert patience.skipped == 2
