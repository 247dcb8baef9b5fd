from __future__ import annotations

import pytest

from flatproxy.table.changes import Change, Feed, SignedChanged
from flatproxy.table.zones import Zones

APEX = b"\7example\3com\0"
CHILD = b"\5child" + APEX
NAME = b"\3www" + CHILD
PARENTS_SOA, CHILDS_SOA = APEX + b"soa of the parent", CHILD + b"soa of the child"


@pytest.fixture
def zones() -> Zones:
    zones = Zones(Feed())
    zones.found(APEX, PARENTS_SOA)
    return zones


def test_a_name_is_in_the_deepest_zone_around_it(zones: Zones) -> None:
    assert zones.apex(NAME) == APEX
    zones.found(CHILD, CHILDS_SOA)
    assert [zones.soa(name) for name in (NAME, CHILD, APEX)] == [CHILDS_SOA] * 2 + [PARENTS_SOA]
    assert zones.soa(b"\3com\0") is None
    zones.gone(CHILD)
    assert zones.soa(NAME) == PARENTS_SOA


def test_a_nested_zone_changes_the_judgement_of_its_names_at_once(zones: Zones) -> None:
    zones.judged(APEX, signed=True)
    versions = [zones.version]
    assert zones.is_signed(NAME)
    zones.found(CHILD, b"")
    assert zones.is_signed(NAME), "not known yet: as the zone around it"
    zones.judged(CHILD, signed=False)
    versions.append(zones.version)
    assert (zones.is_signed(NAME), zones.is_signed(APEX)) == (False, True)
    zones.gone(CHILD)
    versions.append(zones.version)
    assert zones.is_signed(NAME)
    assert versions == sorted(set(versions))


def test_what_changes_no_judgement_leaves_the_version(zones: Zones) -> None:
    """Or a memo would be emptied for each of a hundred thousand unsigned zones."""
    before = zones.version
    zones.found(CHILD, b"")
    zones.judged(CHILD, signed=False)
    zones.judged(CHILD, signed=False)
    zones.found(CHILD, CHILD + b"another serial")
    zones.gone(CHILD)
    assert zones.version == before


def test_a_change_of_signing_is_published_once() -> None:
    feed = Feed()
    seen: list[Change] = []
    feed.subscribe(seen.append)
    zones = Zones(feed)
    zones.judged(APEX, signed=True)
    assert seen == []
    zones.found(APEX, b"")
    for signed in (False, True, True, False, True):
        zones.judged(APEX, signed=signed)
    assert list(zones.signed) == [APEX]
    zones.gone(APEX)
    assert [change.signed for change in seen if isinstance(change, SignedChanged)] == [True, False, True, False]
