"""`[dnssec."ZONE"]`: the key files of the zones whose flattened answers are signed. No file is opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config import names
from flatproxy.config.problems import Refusal, join, kind_of, problem
from flatproxy.config.tables import DNSSEC, EXAMPLES
from flatproxy.wire.names import ROOT, enclosing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.config.settings import Dnssec
    from flatproxy.errors import Problem


def read_dnssec(raw: Mapping[str, object], served: tuple[bytes, ...], problems: list[Problem]) -> dict[bytes, Dnssec]:
    """Return the keys of each zone; what is wrong is added to `problems`. A zone must be in the `served` ones."""
    found: dict[bytes, Dnssec] = {}
    for text, table in raw.items():
        path = join("dnssec", text)
        try:
            zone = _zone(text, table, served)
        except Refusal as refusal:
            problems.append(problem(path, table, refusal))
            continue
        read = DNSSEC.read(table, path, problems) if isinstance(table, dict) else None
        if read is not None and zone in found:
            problems.append(problem(path, table, Refusal("the zone is there twice", "all its keys in one table")))
        elif read is not None:
            found[zone] = read
    return found


def _zone(text: str, table: object, served: tuple[bytes, ...]) -> bytes:
    """Return the zone of one table, in wire form."""
    zone = names.zone(text)
    if not isinstance(table, dict):
        raise Refusal(f"a table is needed, not {kind_of(table)}", EXAMPLES["dnssec"])
    if zone == ROOT or enclosing(zone, served) is None:
        raise Refusal("not a zone of access.zones", '[dnssec."example.com"], with the apex of a served zone')
    return zone
