"""The zone's own record follows: BIND, Knot and PowerDNS, each with a secondary that transfers what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.internet import FakeInternet
from tests.support.lost_replies import LosingRelay
from tests.support.primaries import PRIMARIES, WRONG_NAME, WRONG_SECRET, ZONE
from tests.support.syncing import OLD, Syncing, owner_of
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.proxy import Proxy

A1, A2 = ["198.51.100.1"], ["198.51.100.2", "198.51.100.3"]
AAAA1 = ["2001:db8:7::1"]


@pytest.fixture(scope="module", params=PRIMARIES)
def zone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Syncing]:
    folder = tmp_path_factory.mktemp(f"sync-{request.param}")
    with PRIMARIES[request.param](folder=folder / "primary") as primary, FakeInternet() as internet:
        yield Syncing(primary, internet, folder)


def test_a_running_proxy_writes_what_it_answers(zone: Syncing, start: Callable[..., Proxy]) -> None:
    zone.point("apex", A1, AAAA1)
    before = zone.primary.serial
    assert zone.has("apex") == OLD
    proxy = start(zone.config("apex", listen=True))

    proxy.wait_event("sync_first", name=ZONE)
    proxy.wait_event("sync_written", name=ZONE)
    assert zone.has("apex") == (A1, AAAA1)
    assert before is not None
    assert (zone.primary.serial or 0) > before
    until(lambda: zone.has("apex", secondary=True) == (A1, AAAA1), "transferred")

    mark = proxy.mark
    zone.point("apex", A2, [])  # other addresses, and one family fewer
    until(lambda: zone.has("apex") == (A2, []), "written again")
    until(lambda: zone.has("apex", secondary=True) == (A2, []), "transferred again")

    zone.point("apex", [], [])  # both gone: never removed
    proxy.wait_event("sync_withheld", mark=mark, name=ZONE)
    assert zone.has("apex") == (A2, [])
    zone.point("apex", A1, AAAA1)
    until(lambda: zone.has("apex") == (A1, AAAA1), "back")
    until(lambda: proxy.metrics().value("sync_tries_total", outcome="written") >= 3, "counted")
    assert proxy.since(0, "sync_conflict") == []


def test_once_says_and_does_what_a_dry_run_has_said(zone: Syncing) -> None:
    zone.point("n1", A2, AAAA1)
    file = zone.file("n1")
    state = file.parent / "state.sqlite"
    owner = owner_of("n1")

    dry = run("sync", "--config", str(file), "--dry-run")
    assert dry.code == 0
    assert dry.lines == [
        f"{owner}: would be written",
        f"- {owner}. A 192.0.2.1",
        f"+ {owner}. 60 A 198.51.100.2",
        f"+ {owner}. 60 A 198.51.100.3",
        f"- {owner}. AAAA 2001:db8::1",
        f"+ {owner}. 60 AAAA 2001:db8:7::1",
    ]
    judged = run("check", "--config", str(file), "--json")
    assert ("ok", f'flatten."{owner}".sync') in judged.findings("ok"), judged.out
    told = " ".join(run("explain", "--config", str(file), owner).out.split())
    assert "it has A 192.0.2.1; AAAA 2001:db8::1, which flatproxy may write over" in told
    assert zone.has("n1") == OLD
    assert not state.exists()

    done = run("sync", "--config", str(file), "--once")
    assert (done.code, done.lines[0], done.lines[1:]) == (0, f"{owner}: written", dry.lines[1:])
    assert zone.has("n1") == (A2, AAAA1)
    assert state.stat().st_mode & 0o777 == 0o600

    again = run("sync", "--config", str(file), "--once")
    assert (again.code, again.lines) == (0, [f"{owner}: in step"])


def test_somebody_elses_change_is_left_alone_until_it_is_adopted(zone: Syncing) -> None:
    zone.point("n2", A1, AAAA1)
    file, owner = str(zone.file("n2")), owner_of("n2")
    assert run("sync", "--config", file, "--once").code == 0
    zone.primary.write(f"update delete {owner}. A\nupdate add {owner}. 60 A 192.0.2.99")
    zone.point("n2", A2, AAAA1)

    assert "somebody else has written this into the zone" in run("check", "--config", file).out
    for option in ("--once", "--dry-run"):
        said = run("sync", "--config", file, option)
        assert said.code == 1
        assert said.lines[0].startswith(f"{owner}: conflict: A 192.0.2.99; AAAA 2001:db8:7::1 stands there")
        assert said.lines[1].endswith(f"flatproxy sync --adopt {owner} --config {file}")
        assert zone.has("n2")[0] == ["192.0.2.99"]

    assert run("sync", "--config", file, "--adopt", owner).code == 0
    assert run("sync", "--config", file, "--once").code == 0
    assert zone.has("n2") == (A2, AAAA1)


@pytest.mark.parametrize("key", [WRONG_SECRET, WRONG_NAME], ids=["secret", "name"])
def test_a_wrong_key_writes_nothing_and_is_named(zone: Syncing, key: str) -> None:
    zone.point("n3", A1, AAAA1)
    said = run("sync", "--config", str(zone.file("n3", key=key)), "--once")

    assert said.code == 1
    assert "NOTAUTH" in said.out or (zone.primary.kind == "powerdns" and "REFUSED" in said.out)
    assert zone.has("n3") == OLD
    judged = run("check", "--config", str(zone.file("n3", key=key)), "--json")
    assert ("error", f'flatten."{owner_of("n3")}".sync') in judged.findings("error")
    assert "b3RoZXIt" not in said.out + said.err


def test_a_lost_reply_is_not_done_twice(zone: Syncing) -> None:
    zone.point("n4", A1, AAAA1)
    with LosingRelay(zone.primary.address, lose=1) as relay:
        file = str(zone.file("n4", server=relay.address))
        said = run("sync", "--config", file, "--once")
        serial = zone.primary.serial

        assert (said.code, said.lines[0].partition(":")[0]) == (0, owner_of("n4"))
        assert zone.has("n4") == (A1, AAAA1)
        assert run("sync", "--config", file, "--once").lines == [f"{owner_of('n4')}: in step"]
        assert (relay.updates, zone.primary.serial) == (1, serial)


def test_what_the_nameserver_cannot_be_reached_for_is_written_later(zone: Syncing, start: Callable[..., Proxy]) -> None:
    zone.point("n6", A1, AAAA1)
    proxy = start(zone.config("n6", listen=True))
    until(lambda: zone.has("n6") == (A1, AAAA1), "written")

    zone.primary.kill()
    mark = proxy.mark
    zone.point("n6", A2, AAAA1)
    proxy.wait_event("sync_failed", mark=mark)
    assert proxy.alive
    zone.primary.restart()
    until(lambda: zone.has("n6") == (A2, AAAA1), "written after all")
