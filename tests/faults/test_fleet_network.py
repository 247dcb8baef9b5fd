"""The network between some nodes of a fleet and its store is cut: they go on alone, and join again.

All of it is in network namespaces of the test's own: one for the nodes, and one for the store, with two lines between
them. A line that is cut carries nothing and says nothing: connections hang.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import define

from tests.support.child import Child, run
from tests.support.fleet import Fleet
from tests.support.internet import FakeInternet
from tests.support.network import in_own_network, run_or_skip
from tests.support.redis import Redis
from tests.support.scripted import Scripted
from tests.support.waiting import let_pass, until

from .test_fleet import FLATTEN, nobody_notices

if TYPE_CHECKING:
    from pathlib import Path

    from .losses import Took

CUT_S = 12.0
PORT = 6379


@define
class Line:
    """From the nodes to the store, whose end is `192.0.2.2` or `198.51.100.2`."""

    name: str
    network: str
    away: tuple[str, ...]
    """A command that runs another one where the store is."""

    def lay(self, pid: int) -> None:
        far = f"{self.name}-far"
        run_or_skip("ip", "link", "add", self.name, "type", "veth", "peer", "name", far, "netns", str(pid))
        run_or_skip("ip", "addr", "add", f"{self.network}.1/24", "dev", self.name)
        run_or_skip("ip", "link", "set", self.name, "up")
        run([*self.away, "ip", "addr", "add", f"{self.network}.2/24", "dev", far])
        self.switch("up")

    def switch(self, state: str) -> None:
        run([*self.away, "ip", "link", "set", f"{self.name}-far", state])

    @property
    def store(self) -> str:
        return f"redis://{self.network}.2:{PORT}/0"


def test_some_nodes_are_cut_off(tmp_path: Path, note_took: Took) -> None:
    in_own_network(lambda: _cut_some_off(tmp_path, note_took))


def _cut_some_off(tmp_path: Path, note_took: Took) -> None:
    with ExitStack() as stack:
        holder = Child.start(("unshare", "--net", "sh", "-c", "echo ready; exec sleep 600"), tmp_path / "store.log")
        stack.callback(holder.kill)
        until(lambda: "ready" in holder.log.read_text(), "the store's network")
        away = ("nsenter", f"--net=/proc/{holder.process.pid}/ns/net")
        lines = [Line("left", "192.0.2", away), Line("right", "198.51.100", away)]
        for line in lines:
            line.lay(holder.process.pid)
        options = ("bind 0.0.0.0", "protected-mode no")
        stack.enter_context(Redis(tmp_path, options=options, host="192.0.2.2", port=PORT, prefix=away))
        resolver, nameserver = stack.enter_context(FakeInternet()), stack.enter_context(Scripted())
        resolver.set("lb.test", "A", ["203.0.113.1"], 1)
        fleet = Fleet(tmp_path, lines[0].store, resolver, nameserver.address, FLATTEN, {"timeout": "250ms"})
        stack.callback(fleet.stop)
        near, cut = fleet.begin(2), fleet.begin(2, store=lines[1].store)

        def cut_off() -> None:
            marks = [node.mark for node in near]
            lines[1].switch("down")
            let_pass(CUT_S)
            for node in cut:
                assert not node.metrics().value("fleet_store_up")
                assert node.get("/readyz")[0] == 200
            assert not any(node.since(mark, "fleet_alone") for node, mark in zip(near, marks, strict=True))
            lines[1].switch("up")

        nobody_notices(fleet, cut_off, "some nodes cut off", note_took)
