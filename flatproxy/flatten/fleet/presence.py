"""Who is in a fleet: a node's record, sealed like an entry. Pure, `now` is the store's time.

here, seen within MISSING_S ── silence ──► missing ── a day ──► forgotten
                           └── goodbye ──► gone    ── a day ──► forgotten
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from attrs import asdict, frozen

from flatproxy.flatten.fleet.entry import EntryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.flatten.fleet.entry import Seal

BEAT_S: Final = 5.0
MISSING_S: Final = 15.0
FORGOTTEN_S: Final = 86_400.0


@frozen(kw_only=True)
class NodeRecord:
    """A node as it says it is: times are the store's, `digest` is that of its configuration.

    `instance` tells two processes of one name apart.
    """

    name: str
    version: str
    instance: str
    since: float
    seen: float
    digest: str
    leases: int = 0
    is_gone: bool = False

    def sealed(self, seal: Seal) -> bytes:
        """Return it as octets; its version is when it was seen."""
        return seal.seal(_place(self.name), int(self.seen * 1000), asdict(self))

    def state(self, store_now: float) -> str:
        """Return "here", "gone", "missing" or "forgotten"."""
        silent_s = store_now - self.seen
        if silent_s >= FORGOTTEN_S:
            return "forgotten"
        if self.is_gone:
            return "gone"
        return "here" if silent_s < MISSING_S else "missing"


def _place(name: str) -> str:
    return f"node {name}"


def read_nodes(seal: Seal, raw: Mapping[bytes, bytes]) -> tuple[dict[str, NodeRecord], dict[str, str]]:
    """Return the nodes of a store by name, and those that are not believed, each with the reason."""
    nodes: dict[str, NodeRecord] = {}
    refused: dict[str, str] = {}
    for octets, record in raw.items():
        name = octets.decode(errors="replace")
        try:
            nodes[name] = _record(name, seal.open(_place(name), record)[1])
        except EntryRefused as error:
            refused[name] = error.reason
    return nodes, refused


def _record(name: str, content: Mapping[str, Any]) -> NodeRecord:
    try:
        return NodeRecord(
            name=name,
            version=str(content["version"]),
            instance=str(content["instance"]),
            since=float(content["since"]),
            seen=float(content["seen"]),
            digest=str(content["digest"]),
            leases=int(content.get("leases", 0)),
            is_gone=bool(content.get("is_gone")),
        )
    except (KeyError, TypeError, ValueError):
        raise EntryRefused("content") from None
