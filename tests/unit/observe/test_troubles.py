from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from flatproxy.observe import troubles
from flatproxy.observe.troubles import ERROR, LISTED, WARNING
from flatproxy.table.ladder import Rung

from .world import NOON, ONE, TWO, FakeAddress, FakeCounted, World, wire

ALERTS = Path(__file__).parents[3] / "config/prometheus/alerts.yml"


def test_nothing_is_wrong_where_all_is_well() -> None:
    world = World()
    world.settle_all()
    assert world.said() == []
    assert list(world.watch.missing()) == []


def test_what_is_not_there_yet_blocks() -> None:
    world = World(listening=False, servers=[FakeCounted(has_answered=False)])
    assert list(world.watch.missing()) == [
        "not listening",
        "no upstream nameserver answers",
        "example.com A is not resolved yet",
        "example.com AAAA is not resolved yet",
    ]
    assert list(world.watch.missing()) == world.said()


def test_names_on_lower_rungs_are_told_worst_first() -> None:
    world = World(names=("stale.test", "never.test"), types=("A",))
    world.settle("stale.test", ONE)
    world.pass_to(1100.0)
    assert world.said() == [
        "never.test A is answered by the nameserver's own record",
        "stale.test A is answered with old addresses",
    ]
    assert [trouble.severity for trouble in world.watch.troubles.look()] == [ERROR, WARNING]
    world.pass_to(1161.0)
    assert world.said() == [f"{name}.test A is answered by the nameserver's own record" for name in ("never", "stale")]


def test_a_fallback_is_told() -> None:
    world = World(types=("A",), fallback=(ip_address("192.0.2.1"),))
    world.pass_to(1002.0)
    assert world.said() == ["example.com A is answered with its fallback addresses"]


def test_why_a_target_cannot_be_resolved_is_told_until_it_can() -> None:
    world = World(types=("A",))
    world.settle_all()
    world.target().fail("timeout", "no answer", world.now)
    assert world.said() == ["lb.example.com A cannot be resolved: no answer"]
    world.target().fail("timeout", "SERVFAIL", world.now)
    assert world.said() == ["lb.example.com A cannot be resolved: SERVFAIL"]
    world.settle("example.com", ONE)
    assert world.said() == []


def test_a_target_without_any_address_is_told() -> None:
    world = World()
    world.settle("example.com", rdtype=28)
    assert world.said() == ["example.com A is not resolved yet"]
    world.settle("example.com")
    assert world.said() == ["the target of example.com has no address"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"servers": [FakeCounted(), FakeCounted(endpoint="[::1]:53", state="down")]}, "nameserver [::1]:53 does not"),
        ({"servers": [FakeCounted(state="failing")]}, "nameserver 192.0.2.53:53 answers SERVFAIL to everything"),
        ({"resolvers": [FakeCounted(state="down")]}, "resolver 192.0.2.53:53 does not answer"),
        ({"state_fails": True}, "the state file cannot be used"),
    ],
)
def test_servers_and_files_are_told(change: dict[str, object], said: str) -> None:
    world = World(**change)  # type: ignore[arg-type]
    world.settle_all()
    (what,) = world.said()
    assert what.startswith(said)
    assert list(world.watch.missing()) == []


def test_a_failed_reload_is_told() -> None:
    world = World()
    world.settle_all()
    world.reload.success = False
    assert world.said() == ["the configuration could not be loaded"]


def test_the_time_is_that_of_the_first_look_while_it_lasts() -> None:
    world = World(types=("A",))
    world.settle_all()
    for now in (1010.0, 1011.0, 1050.0):
        world.target().fail("timeout", f"at {now}", now)
        world.pass_to(now)
    assert [each.since - NOON for each in world.watch.troubles.look()] == [10.0]
    world.settle("example.com", ONE)
    world.pass_to(1051.0)
    world.target().fail("timeout", "again", 1052.0)
    world.pass_to(1052.5)
    assert [each.since - NOON for each in world.watch.troubles.look()] == [52.5]


def test_very_many_are_counted() -> None:
    world = World(names=tuple(f"n{number}.test" for number in range(LISTED + 5)), types=("A",))
    assert len(list(world.watch.missing())) == LISTED + 1
    world.pass_to(1002.0)
    assert len(world.said()) == LISTED + 1
    assert world.said()[-1] == "each of 5 more is answered by the nameserver's own record"


def test_the_alerts_have_the_same_words() -> None:
    """But for who says it, and the capital at the beginning."""
    summaries = dict(re.findall(r'- alert: (\w+)(?:.|\n)*?summary: "(.*)"', ALERTS.read_text()))
    for alert, words in {
        "FlatproxyHeld": troubles.BY_RUNG[Rung.HELD],
        "FlatproxyPinned": troubles.PINNED,
        "FlatproxyStale": troubles.BY_RUNG[Rung.STALE],
        "FlatproxyFallback": troubles.BY_RUNG[Rung.FALLBACK],
        "FlatproxyOwnAnswer": troubles.BY_RUNG[Rung.UPSTREAM],
        "FlatproxyNoAddress": troubles.NO_ADDRESS,
        "FlatproxyUpstreamDown": troubles.NAMESERVER_DOWN,
        "FlatproxyAllUpstreamsDown": troubles.NO_NAMESERVER,
        "FlatproxyReloadFailed": troubles.RELOAD_FAILED,
        "FlatproxyZoneSigned": troubles.UNSIGNABLE,
        "FlatproxyPlaceholderMissing": troubles.NO_PLACEHOLDER,
        "FlatproxyStateErrors": troubles.STATE_FAILS,
        "FlatproxyAddressSick": troubles.SICK,
        "FlatproxyFailingOpen": troubles.FAILING_OPEN,
        "FlatproxySyncConflict": troubles.WRITTEN_ELSEWHERE,
    }.items():
        said = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"{\1}", summaries[alert]).removeprefix("{instance}: ")
        assert said.removeprefix("flatproxy on ").lower() == words.lower(), alert


def test_sick_addresses_and_what_somebody_else_has_written_are_told() -> None:
    world = World()
    world.pass_to(1002.0)
    name = wire("example.com")
    world.checked = [FakeAddress(name, ONE, is_well=False), FakeAddress(name, TWO, is_well=True)]
    world.failing_open = [(name, True)]
    world.conflicts = ["www.example.com"]
    said = [
        "too few addresses of example.com are well: all of them are answered",
        "198.51.100.1 of example.com fails its checks",
        "somebody else has written www.example.com",
    ]
    assert [each for each in world.said() if each in said] == said
    world.checked, world.failing_open, world.conflicts = world.checked[1:], [(name, False)], []
    assert not [each for each in world.said() if each in said]


def test_a_pin_is_told_after_a_day() -> None:
    world = World(types=("A",), pin=(ip_address("192.0.2.1"),))
    world.pass_to(1002.0)
    assert world.said() == []
    world.pass_to(1002.0 + 86_400)
    assert world.said() == ["example.com A has been pinned for a day"]


def test_held_addresses_are_told() -> None:
    world = World(types=("A",))
    world.settle_all()
    world.settle("example.com")
    assert world.said() == ["the target of example.com has no A any more"]
