"""Nameservers and resolvers that die, dawdle or lie while clients ask: how many of them notice."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import pytest

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.load import Load
from tests.support.waiting import until

from .losses import FLAGGED, FLATTEN, PLAIN, replies, saved

if TYPE_CHECKING:
    from tests.support.nsd import Nsd

    from .losses import Count, Start, Took


def test_upstream_killed_and_restarted(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    proxy = start(configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN))
    with Load(proxy.address, [FLAGGED]) as flagged, Load(proxy.address, [PLAIN]) as plain:
        replies(plain, 20)
        mark = proxy.mark
        nsd.kill()
        try:
            proxy.wait_event("upstream_down", mark=mark, deadline_s=20)
        finally:
            nsd.restart()
        proxy.wait_event("upstream_up", mark=mark)
        replies(plain, 20)
    assert count("upstream killed and restarted: flattened", flagged) == (0, 0)
    assert count("upstream killed and restarted: forwarded", plain)[0] == 0
    assert plain.replies()[-1].answer


FAULTS = [
    ("dead", Mood.SILENT, 0.0),
    ("slow", Mood.HONEST, 3.0),
    ("lying: other IDs", Mood.WRONG_ID, 0.0),
    ("lying: other questions", Mood.WRONG_QUESTION, 0.0),
    ("lying: garbage", Mood.GARBAGE, 0.0),
]


@pytest.mark.parametrize(("how", "mood", "late_s"), FAULTS)
@pytest.mark.parametrize("place", ["first", "second"])
def test_one_of_two_upstreams(
    nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, place: str, how: str, mood: Mood, late_s: float
) -> None:
    """The other one takes over: at most the queries of the first second fail, and few wait for the timeout."""
    with FakeInternet(mood=mood, late_s=late_s) as bad:
        servers = [bad.address, nsd.address] if place == "first" else [nsd.address, bad.address]
        config = configuration(upstream=servers, resolver=[resolver.address], flatten=FLATTEN)
        proxy = start(config, ready=False)
        with Load(proxy.address, [FLAGGED, PLAIN, ("mail.example.com", "A")]) as load:
            replies(load, 300)
        lost, failed = count(f"{place} of two upstreams {how}", load)
        assert lost == 0
        assert failed <= (4 if place == "first" else 0)
        assert sum(asked.took_s > 0.5 for asked in load.asked) <= (6 if place == "first" else 0)


@pytest.mark.parametrize(
    ("how", "mood", "late_s"),
    [
        ("dead", Mood.SILENT, 0.0),
        ("SERVFAIL", Mood.SERVFAIL, 0.0),
        ("slow", Mood.HONEST, 0.3),
        ("later than the timeout", Mood.HONEST, 0.8),
    ],
)
def test_resolver(
    nsd: Nsd, resolver: FakeInternet, start: Start, count: Count, how: str, mood: Mood, late_s: float
) -> None:
    proxy = start(configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN))
    with Load(proxy.address, [FLAGGED, PLAIN]) as load:
        resolver.mood, resolver.late_s = mood, late_s
        before = resolver.asked["lb.test", "A"]
        until(lambda: resolver.asked["lb.test", "A"] > before, "a refresh")
        replies(load, 300)
    assert count(f"resolver {how}", load) == (0, 0)
    assert max(asked.took_s for asked in load.asked) < 0.5, "nobody waited for the resolver"
    assert {str(reply.answer[0][0]) for reply in load.replies() if reply.question[0].rdtype == 1} == {"203.0.113.1"}


@pytest.mark.parametrize("state", [True, False], ids=["with state", "without state"])
def test_cold_start_with_everything_dead(
    nsd: Nsd,
    resolver: FakeInternet,
    start: Start,
    count: Count,
    note_took: Took,
    tmp_path_factory: pytest.TempPathFactory,
    state: bool,
) -> None:
    """After kill -9: the state's addresses within a second; without a state the fallback."""
    tables = {"resolver": {"timeout": "500ms"}}
    if state:
        tables["state"] = {"path": str(tmp_path_factory.mktemp("state") / "answers.sqlite")}
    with FakeInternet(mood=Mood.SILENT) as dead:
        began = monotonic()
        proxy = start(
            configuration(upstream=[dead.address], resolver=[resolver.address], flatten=FLATTEN, tables=tables),
            ready=False,
        )
        start_s = monotonic() - began
        until(lambda: proxy.metrics().rung("example.com") == "fresh", "a first resolution")
        if state:
            until(lambda: saved(tables["state"]["path"]), "the answer in the state file")
        proxy.kill()
        resolver.mood = Mood.SILENT
        began = monotonic()
        proxy.start(ready=False)
        first = proxy.ask(dns.message.make_query(*FLAGGED))
        took_s = monotonic() - began
        note_took(f"kill -9 to first answer, {'with' if state else 'without'} state", took_s)
        wanted = "203.0.113.1" if state else "198.51.100.200"
        assert str(first.answer[0][0]) == wanted
        assert took_s < 2 * start_s + (1 if state else 2), "a start, which takes a busy machine long, and little more"
        with Load(proxy.address, [FLAGGED]) as load:
            replies(load, 30)
        assert count(f"both dead at a cold start, {'with' if state else 'without'} state", load) == (0, 0)
        assert {str(reply.answer[0][0]) for reply in load.replies()} == {wanted}
        assert load.asked[0].took_s < 1
