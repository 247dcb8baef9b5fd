"""One node of a fleet writes the zone's own record, and another one when that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.internet import FakeInternet
from tests.support.primaries import BindPrimary
from tests.support.redis import Redis
from tests.support.syncing import Syncing, owner_of
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.proxy import Proxy

AAAA = ["2001:db8:7::1"]


def test_one_node_writes_and_another_when_that_is_gone(tmp_path: Path, start: Callable[..., Proxy]) -> None:
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("x" * 40)
    (tmp_path / "redis").mkdir()
    with (
        BindPrimary(folder=tmp_path / "primary") as primary,
        FakeInternet() as internet,
        Redis(tmp_path / "redis") as store,
    ):
        zone = Syncing(primary, internet, tmp_path)
        zone.point("n1", ["198.51.100.1"], AAAA)
        nodes = [
            start(
                zone.config("n1", listen=True).replace("state.sqlite", f"{node}.sqlite")
                + f'\n[fleet]\nstore = "{store.url}"\nsecret_file = "{secret}"\nnode = "{node}"\n'
            )
            for node in ("ns0", "ns1")
        ]
        until(lambda: zone.has("n1") == (["198.51.100.1"], AAAA), "written")
        zone.point("n1", ["198.51.100.2"], AAAA)
        until(lambda: zone.has("n1") == (["198.51.100.2"], AAAA), "written again")
        (writer,) = (node for node in nodes if node.since(0, "sync_written"))
        (other,) = (node for node in nodes if node is not writer)

        writer.stop()
        zone.point("n1", ["198.51.100.3"], AAAA)
        until(lambda: zone.has("n1") == (["198.51.100.3"], AAAA), "written by the other one", 90)
        other.wait_event("sync_written", name=owner_of("n1"))
        assert [node.since(0, "sync_conflict") for node in nodes] == [[], []]
        other.stop()
