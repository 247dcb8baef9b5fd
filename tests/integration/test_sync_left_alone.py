"""What sync leaves alone, what it says, and what a running process takes notice of. The nameserver is BIND."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.child import Child
from tests.support.internet import FakeInternet, Mood
from tests.support.primaries import KEY_FILE, WRONG_SECRET, ZONE, BindPrimary
from tests.support.syncing import OLD, Syncing, owner_of
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.proxy import Proxy

A1, A2 = ["198.51.100.1"], ["198.51.100.2", "198.51.100.3"]
AAAA1 = ["2001:db8:7::1"]


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Syncing]:
    folder = tmp_path_factory.mktemp("sync")
    with BindPrimary(folder=folder / "primary") as primary, FakeInternet() as internet:
        yield Syncing(primary, internet, folder)


def test_stale_addresses_are_not_written(zone: Syncing, start: Callable[..., Proxy]) -> None:
    zone.point("n5", A1, AAAA1)
    proxy = start(zone.config("n5", listen=True))
    until(lambda: zone.has("n5") == (A1, AAAA1), "written")

    zone.internet.moods["n5.lb.test"] = Mood.SERVFAIL
    said = proxy.wait_event("sync_withheld", name=owner_of("n5"))
    assert "A is stale" in said["reason"]
    assert proxy.metrics().value("sync_names", state="withheld") == 1
    zone.internet.moods.pop("n5.lb.test")
    proxy.wait_event("sync_in_step", name=owner_of("n5"))
    assert proxy.metrics().value("sync_tries_total", outcome="written") == 1


def test_without_listening_it_follows_and_takes_a_new_key(zone: Syncing) -> None:
    zone.point("n7", A1, AAAA1)
    file = zone.file("n7", key=WRONG_SECRET)
    child = Child.start(
        (sys.executable, "-m", "flatproxy", "sync", "--config", str(file), "--log-format", "json"),
        file.parent / "log",
    )
    try:
        until(lambda: "sync_failed" in child.log.read_text(), child.tail)
        assert zone.has("n7") == OLD
        (file.parent / "sync.key").write_text(KEY_FILE)
        child.send(signal.SIGHUP)
        until(lambda: zone.has("n7") == (A1, AAAA1), child.tail)
        zone.point("n7", A2, AAAA1)
        until(lambda: zone.has("n7") == (A2, AAAA1), child.tail)
        child.send(signal.SIGTERM)
        assert child.process.wait(30) == 0, child.tail()
    finally:
        child.kill()
    assert "Traceback" not in child.log.read_text()


def test_a_running_proxy_goes_on_after_adopt(zone: Syncing, start: Callable[..., Proxy]) -> None:
    zone.point("n8", A1, AAAA1)
    owner = owner_of("n8")
    proxy = start(zone.config("n8", listen=True))
    proxy.wait_event("sync_written", name=owner)

    zone.primary.write(f"update delete {owner}. A\nupdate add {owner}. 60 A 192.0.2.98")
    zone.point("n8", A2, AAAA1)
    proxy.wait_event("sync_conflict", name=owner)
    assert proxy.metrics().value("sync_conflict", name=owner) == 1
    assert zone.has("n8")[0] == ["192.0.2.98"]

    assert run("sync", "--config", str(proxy.path), "--adopt", owner).code == 0
    until(lambda: zone.has("n8") == (A2, AAAA1), "written over")
    until(lambda: proxy.metrics().value("sync_names", state="in_step") == 1, "in step")


def test_what_the_key_may_not_write_is_refused(zone: Syncing) -> None:
    zone.point("closed", A1, AAAA1)
    said = run("sync", "--config", str(zone.file("closed")), "--once")

    assert said.code == 1
    assert "REFUSED: it does not let this key write there" in said.out


def test_a_secondary_takes_no_updates(zone: Syncing) -> None:
    zone.point("n9", A1, AAAA1)
    assert zone.primary.secondary is not None
    said = run("sync", "--config", str(zone.file("n9", server=zone.primary.secondary.address)), "--once")

    assert said.code == 1
    assert "REFUSED" in said.out or "NOTIMP" in said.out or "NOTAUTH" in said.out
    assert zone.has("n9") == OLD


def test_the_apex_of_an_active_directory_domain_is_never_written(zone: Syncing) -> None:
    zone.primary.write(f"update add _ldap._tcp.dc._msdcs.n10.{ZONE}. 60 SRV 0 100 389 dc1.n10.{ZONE}.")
    zone.point("n10", A1, AAAA1)
    said = run("sync", "--config", str(zone.file("n10")), "--once")

    assert said.code == 1
    assert "not written: it is the apex of an Active Directory domain" in said.out
    assert zone.has("n10") == OLD


def test_a_cname_is_left_where_it_stands(zone: Syncing) -> None:
    zone.primary.write(f"update add named.{ZONE}. 60 CNAME n1.{ZONE}.")
    zone.point("named", A1, AAAA1)
    said = run("sync", "--config", str(zone.file("named")), "--once")

    assert (said.code, "a CNAME stands there" in said.out) == (1, True)


def test_one_update_in_an_interval(zone: Syncing) -> None:
    zone.point("n11", A1, AAAA1)
    file = str(zone.file("n11", interval="1h"))
    assert run("sync", "--config", file, "--once").code == 0
    zone.point("n11", A2, AAAA1)
    said = run("sync", "--config", file, "--once")

    assert (said.code, said.lines[0]) == (0, f"{owner_of('n11')}: differs, and was written less than interval ago")
    assert zone.has("n11") == (A1, AAAA1)


def test_a_name_without_a_record_gets_one(zone: Syncing) -> None:
    zone.point("fresh", A1, [])
    assert run("sync", "--config", str(zone.file("fresh")), "--once").code == 0
    assert zone.has("fresh") == (A1, [])


def test_a_lost_state_file_of_a_running_process_is_written_anew(zone: Syncing, start: Callable[..., Proxy]) -> None:
    zone.point("n12", A1, AAAA1)
    proxy = start(zone.config("n12", listen=True))
    proxy.wait_event("sync_written", name=owner_of("n12"))
    (zone.folder / "n12" / "state.sqlite").unlink()
    zone.primary.write(f"update delete {owner_of('n12')}. A\nupdate add {owner_of('n12')}. 60 A 192.0.2.97")
    zone.point("n12", A2, AAAA1)

    proxy.wait_event("sync_conflict", name=owner_of("n12"))
    assert zone.has("n12")[0] == ["192.0.2.97"]


def test_a_key_file_that_others_can_read_is_refused(zone: Syncing) -> None:
    file = zone.file("n13")
    (file.parent / "sync.key").chmod(0o644)
    said = run("sync", "--config", str(file), "--once")

    assert said.code == 2
    assert "other users can use this file (its mode is 0644)" in said.err
    assert "chmod 0600" in said.err


def test_run_needs_to_listen(zone: Syncing) -> None:
    said = run("run", "--config", str(zone.file("n14")))
    assert (said.code, "listen: this table is required" in said.err) == (2, True)


def test_without_a_name_to_keep_in_step_there_is_nothing_to_do(zone: Syncing) -> None:
    said = run("sync", "--config", str(zone.file()), "--once")
    assert (said.code, "no name is to be kept in step" in said.err) == (2, True)
