"""What the path in C is told follows the table: rules, targets and zones, over reloads."""

from __future__ import annotations

from ipaddress import ip_network
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, evolve, field

from flatproxy.config.guarding import Guarding
from flatproxy.config.rules import Check, Checking, Rule
from flatproxy.config.settings import Access, Endpoint, Listen, Settings, Upstream
from flatproxy.forward.native.publish import Publisher, ranges
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from tests.unit.forward.surroundings import SOA, ZONE

if TYPE_CHECKING:
    from array import array

    from flatproxy.config.rules import ClientSubnet

TARGET = b"\2lb\7example\3net\0"
RULE = Rule(target=TARGET, types=frozenset({"A"}))
SETTINGS = Settings(
    listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
    upstream=Upstream(servers=(Endpoint("127.0.0.1", 9),)),
    access=Access(zones=(ZONE,)),
    flatten={ZONE: RULE},
)
FOUND = Resolution(rdatas=(bytes(4),), ttl_s=20, names=(), resolved_at=100.0)


@define(eq=False)
class _Said:
    """An answer that remembers what it was told."""

    told: list[Any] = field(factory=list)
    asked: bool = False

    def say(self, stages: tuple[Any, ...], then_forward: bool) -> None:
        self.told.append((stages, then_forward))

    def unsay(self) -> None:
        self.told.append(None)

    def was_asked(self) -> bool:
        asked, self.asked = self.asked, False
        return asked


@define(eq=False)
class _Extension:
    """The part of the extension that is told things."""

    HAND_NOTHING = 0
    HAND_ALL = 1
    HAND_REPLIES = 2
    HAND_SUBNETS = 3
    DNSSEC_NONE = 0
    DNSSEC_FORWARD = 1
    DNSSEC_SIGN = 2
    Answer = _Said
    published: list[Any] = field(factory=list)

    def Table(self, **said: Any) -> dict[str, Any]:  # noqa: N802 - as the extension's
        return said

    def Zones(self, apexes: bytes, facts: tuple[tuple[int, bytes], ...]) -> tuple[bytes, Any]:  # noqa: N802 - likewise
        return apexes, facts

    def publish(self, what: Any) -> None:
        self.published.append(what)


@define(eq=False)
class Stand:
    core: Any = field(factory=_Extension)
    table: Table = field(factory=Table)
    publisher: Publisher = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.publisher = Publisher(self.core, self.table)
        self.table.feed.subscribe(self.publisher)

    def take(self, settings: Settings) -> dict[str, Any]:
        """Go over to these settings; what was published."""
        self.publisher.prepare(settings)
        self.table.adopt(settings.flatten, 50.0, 1e9)
        self.publisher.commit(self.core)
        return next(said for said in reversed(self.core.published) if isinstance(said, dict))

    def said(self, published: dict[str, Any], rdtype: int = 1) -> _Said:
        (_hand, typed), *_others = published["rules"]
        found: _Said = dict(typed)[rdtype]
        return found

    def follow(self) -> None:
        self.publisher.follow(self.core)


@pytest.fixture
def stand() -> Stand:
    return Stand()


def test_names_rules_zones_and_networks_are_told(stand: Stand) -> None:
    said = stand.take(SETTINGS)
    numbers: array[int] = said["rule_numbers"]
    assert (said["names"], list(numbers), said["zones"], said["everyone"]) == (ZONE, [0], ZONE, True)
    assert stand.take(evolve(SETTINGS, access=evolve(SETTINGS.access, zones=(b"\0",))))["zones"] is None
    few = stand.take(evolve(SETTINGS, access=evolve(SETTINGS.access, query=(ip_network("192.0.2.0/24"),))))
    assert (few["ipv4"], few["ipv6"], few["everyone"]) == (b"\xc0\0\2\0\xc0\0\2\xff", b"", False)


def test_ranges_are_sorted_and_apart() -> None:
    networks = [ip_network(text) for text in ("192.0.2.128/25", "192.0.2.0/25", "10.0.0.0/8", "10.1.0.0/16", "::/0")]
    assert ranges(networks, 4) == b"\x0a\0\0\0\x0a\xff\xff\xff" + b"\xc0\0\2\0\xc0\0\2\xff"


def test_a_target_that_settles_is_told_and_one_that_is_cold_is_handed_over(stand: Stand) -> None:
    answer = stand.said(stand.take(SETTINGS))
    assert answer.told == [None]
    stand.table.targets[TARGET, 1, Guarding()].settle(FOUND, "ok", 0.0)
    stand.follow()
    assert len(answer.told[-1][0]) == 2
    assert answer.told[-1][1] is True


def test_a_target_whose_answer_a_thread_gave_was_asked(stand: Stand) -> None:
    answer = stand.said(stand.take(SETTINGS))
    target = stand.table.targets[TARGET, 1, Guarding()]
    target.was_asked()
    assert not target.was_asked()
    answer.asked = True
    assert target.was_asked()
    assert not target.was_asked()


def test_a_target_that_fails_goes_to_the_nameserver(stand: Stand) -> None:
    answer = stand.said(stand.take(SETTINGS))
    stand.table.targets[TARGET, 1, Guarding()].fail("timeout", "no reply", 60.0)
    stand.follow()
    assert answer.told[-1] == ((), True)


def test_a_reload_leaves_the_answers_of_unchanged_rules_alone(stand: Stand) -> None:
    answer = stand.said(stand.take(SETTINGS))
    stand.table.targets[TARGET, 1, Guarding()].settle(FOUND, "ok", 0.0)
    stand.follow()
    told = len(answer.told)
    assert stand.said(stand.take(evolve(SETTINGS, flatten={ZONE: evolve(RULE)}))) is answer
    assert len(answer.told) == told
    other = stand.said(stand.take(evolve(SETTINGS, flatten={ZONE: evolve(RULE, max_ttl_s=9)})))
    assert other is not answer
    assert len(other.told) == 1, "what is known of the target is said at once"


def test_what_is_found_of_zones_is_told(stand: Stand) -> None:
    stand.take(SETTINGS)
    assert stand.core.published[-1] == (b"", ())
    stand.publisher._zones_at = 0.0
    stand.table.zones.found(ZONE, SOA)
    stand.follow()
    assert stand.core.published[-1] == (ZONE, ((0, SOA),))
    stand.publisher._zones_at = 0.0
    stand.table.zones.judged(ZONE, signed=True)
    stand.follow()
    assert stand.core.published[-1] == (ZONE, ((1, SOA),))


def test_what_was_prepared_and_given_up_is_not_published(stand: Stand) -> None:
    stand.take(SETTINGS)
    before = len(stand.core.published)
    stand.publisher.prepare(evolve(SETTINGS, flatten={}))
    stand.publisher.abort()
    stand.follow()
    assert len(stand.core.published) == before


def test_what_a_view_is_answered_is_handed_over_whatever_its_type(stand: Stand) -> None:
    inside = evolve(RULE, target=b"\6inside\0", types=frozenset({"AAAA"}))
    rule = evolve(RULE, views=(("inside", inside), ("branch", None)), any="forward")
    said = stand.take(evolve(SETTINGS, flatten={ZONE: rule}))
    ((hand_over, typed),) = said["rules"]
    assert (hand_over, sorted(dict(typed))) == (stand.core.HAND_ALL, [1, 28, 255])


def test_queries_that_are_tailored_are_handed_over(stand: Stand) -> None:
    modes: dict[ClientSubnet, str] = {"off": "NOTHING", "forward": "SUBNETS", "synthesize": "ALL"}
    for mode, wanted in modes.items():
        said = stand.take(evolve(SETTINGS, flatten={ZONE: evolve(RULE, client_subnet=mode)}))
        assert said["rules"][0][0] == getattr(stand.core, f"HAND_{wanted}")


def test_addresses_that_are_held_are_handed_over(stand: Stand) -> None:
    answer = stand.said(stand.take(SETTINGS))
    target = stand.table.targets[TARGET, 1, Guarding()]
    now = monotonic()
    target.settle(evolve(FOUND, resolved_at=now), "addresses", 0.0)
    target.settle(evolve(FOUND, resolved_at=now, rdatas=()), "nodata", 0.0)
    assert answer.told.pop() is None
    target.settle(evolve(FOUND, resolved_at=now), "addresses", 0.0)
    assert len(answer.told[-1][0]) == 2


def test_addresses_that_are_refused_leave_the_zones_alone(stand: Stand) -> None:
    stand.take(SETTINGS)
    published = len(stand.core.published)
    stand.table.targets[TARGET, 1, Guarding()].refuse({bytes(4): "special"})
    stand.follow()
    assert len(stand.core.published) == published


OTHER = b"\5other\7example\3net\0"
CHECKED = evolve(
    RULE, targets=(TARGET, OTHER), health=Checking(check=Check(kind="tcp", port=1, interval_s=5), minimum=0.1)
)
TWO = evolve(FOUND, rdatas=(bytes(4), b"\1\2\3\4"), ttl_s=20)


def test_who_falls_sick_is_told_of_at_once(stand: Stand) -> None:
    """A choice is said as long as it is fresh, and handed over after that: then Python chooses."""
    answer = stand.said(stand.take(evolve(SETTINGS, flatten={ZONE: CHECKED})))
    assert answer.told[-1] == ((), False)
    now = monotonic()
    for name in (OTHER, TARGET):
        stand.table.targets[name, 1, Guarding()].settle(evolve(TWO, resolved_at=now), "ok", 0.0)
    assert [(stage[2], stage[5][1]) for stage in answer.told[-1][0]] == [(1, 2)]
    stand.table.sick = lambda _check: {bytes(4)}
    stand.table.selections[0].reconsider(now)
    stages, then_forward = answer.told[-1]
    assert [(stage[2], stage[5][1]) for stage in stages] == [(5, 1), (1, 1)]
    assert not then_forward


def test_one_that_no_choice_is_known_of_is_handed_over_after_a_reload(stand: Stand) -> None:
    stand.take(evolve(SETTINGS, flatten={ZONE: CHECKED}))
    now = monotonic()
    for name in (OTHER, TARGET):
        stand.table.targets[name, 1, Guarding()].settle(evolve(TWO, resolved_at=now), "ok", 0.0)
    answer = stand.said(stand.take(evolve(SETTINGS, flatten={ZONE: evolve(CHECKED, max_ttl_s=7)})))
    assert [(stage[2], stage[5][1]) for stage in answer.told[-1][0]] == [(1, 2)]
