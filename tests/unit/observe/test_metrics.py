from __future__ import annotations

import math
from functools import partial
from importlib.metadata import version
from itertools import count
from typing import TYPE_CHECKING

import pytest
from attrs import evolve, fields_dict
from prometheus_client import CollectorRegistry

from flatproxy.config.settings import Endpoint
from flatproxy.counts import Traffic
from flatproxy.observe.families import FAMILIES
from flatproxy.observe.metrics import ADDRESS_LIMIT, DETAIL_LIMIT, Collector, register
from flatproxy.observe.sources import RUNGS

from .fakes import (
    FakeReload,
    FakeServer,
    FakeStatus,
    families,
    registry_of,
    samples,
    scrape,
    sources,
    value,
    with_names,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.observe.sources import Sources


def own_names(read: Sources) -> set[str]:
    return {name for name, _labels in samples(read) if name.startswith("flatproxy_")}


def test_queries_by_transport_and_verdict() -> None:
    read = sources()
    assert value(read, "flatproxy_queries_total", transport="udp", verdict="forwarded") == 80
    assert value(read, "flatproxy_queries_total", transport="udp", verdict="dropped") == 3
    assert value(read, "flatproxy_queries_total", transport="tcp", verdict="flattened") == 1
    assert value(read, "flatproxy_queries_total", transport="tcp", verdict="refused") == 0


def test_rcodes_have_names_where_they_have_one() -> None:
    read = sources()
    assert value(read, "flatproxy_replies_total", rcode="NOERROR") == 90
    assert value(read, "flatproxy_replies_total", rcode="NXDOMAIN") == 7
    assert value(read, "flatproxy_replies_total", rcode="12") == 1


def test_common_rcodes_are_there_before_the_first_and_rare_ones_are_not() -> None:
    read = evolve(sources(), traffic=Traffic)
    shown = {dict(labels)["rcode"] for name, labels in samples(read) if name == "flatproxy_replies_total"}
    assert shown == {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS"}


def test_histograms_are_cumulative_and_end_at_infinity() -> None:
    read = sources()
    by_bound = {
        dict(labels)["le"]: count
        for (name, labels), count in samples(read).items()
        if name.endswith("forward_seconds_bucket")
    }
    assert by_bound == {"0.001": 70, "0.01": 80, "+Inf": 84}
    assert value(read, "flatproxy_forward_seconds_count") == 84
    assert value(read, "flatproxy_forward_seconds_sum") == 0.75
    assert value(read, "flatproxy_resolve_seconds_bucket", le="1.0") == 12


def test_plain_counts_of_the_traffic() -> None:
    read = sources()
    assert value(read, "flatproxy_malformed_total") == 3
    assert value(read, "flatproxy_unsent_total") == 1
    assert value(read, "flatproxy_limited_total") == 6
    assert value(read, "flatproxy_overloaded_total") == 4
    assert value(read, "flatproxy_tcp_connections") == 2
    assert value(read, "flatproxy_tcp_refused_total") == 8
    assert value(read, "flatproxy_tcp_evicted_total") == 9


def _itself(traffic: Traffic) -> Traffic:
    return traffic


def test_whatever_the_traffic_counts_is_exposed() -> None:
    for name, kept in fields_dict(Traffic).items():
        if kept.default == 0:
            traffic = Traffic()
            setattr(traffic, name, 4711)
            assert 4711 in samples(evolve(sources(), traffic=partial(_itself, traffic))).values(), name


def test_each_server_has_its_own_series() -> None:
    second = FakeServer(endpoint=Endpoint(host="2001:db8::53", port=5353), up=False)
    read = evolve(sources(), servers=lambda: [FakeServer(sent=84, pending=1, timeouts=2, mismatched=3), second])
    assert value(read, "flatproxy_upstream_up", server="192.0.2.53:53") == 1
    assert value(read, "flatproxy_upstream_up", server="[2001:db8::53]:5353") == 0
    assert value(read, "flatproxy_upstream_sent_total", server="192.0.2.53:53") == 84
    assert value(read, "flatproxy_upstream_pending", server="192.0.2.53:53") == 1
    assert value(read, "flatproxy_upstream_timeouts_total", server="192.0.2.53:53") == 2
    assert value(read, "flatproxy_upstream_mismatched_total", server="192.0.2.53:53") == 3


def test_a_flagged_name() -> None:
    read = sources()
    name = {"name": "example.com", "type": "A"}
    assert value(read, "flatproxy_rung", **name) == 0
    assert value(read, "flatproxy_absent", **name) == 0
    assert value(read, "flatproxy_ttl_left_seconds", **name) == 42.5
    assert value(read, "flatproxy_age_seconds", **name) == 17.5
    assert value(read, "flatproxy_stale_left_seconds", **name) == 86400
    assert value(read, "flatproxy_address_info", **name, address="198.51.100.8") == 1
    assert value(read, "flatproxy_address_change_timestamp_seconds", **name) == 1_700_000_000
    assert value(read, "flatproxy_chain_length", **name) == 2
    assert value(read, "flatproxy_resolutions_total", **name, outcome="addresses") == 12
    assert value(read, "flatproxy_resolutions_total", **name, outcome="timeout") == 1


@pytest.mark.parametrize(("rung", "number"), [("fresh", 0), ("stale", 1), ("fallback", 2), ("upstream", 3)])
def test_rungs_are_numbered_from_the_best(rung: str, number: int) -> None:
    read = with_names(FakeStatus(rung=rung))
    assert value(read, "flatproxy_rung", name="example.com", type="A") == number
    assert value(read, "flatproxy_names", rung=rung) == 1
    assert sum(count for (name, _), count in samples(read).items() if name == "flatproxy_names") == 1


def test_what_is_not_known_has_no_sample() -> None:
    read = with_names(FakeStatus(rung="upstream", age_s=None, stale_left_s=None, changed_at=None, rdatas=()))
    shown = own_names(read)
    assert "flatproxy_rung" in shown
    assert not shown & {
        "flatproxy_age_seconds",
        "flatproxy_stale_left_seconds",
        "flatproxy_address_change_timestamp_seconds",
        "flatproxy_address_info",
    }


def test_absent_is_a_fresh_answer_of_its_own() -> None:
    read = with_names(FakeStatus(absent=True, rdatas=()))
    assert value(read, "flatproxy_absent", name="example.com", type="A") == 1
    assert value(read, "flatproxy_rung", name="example.com", type="A") == 0


def test_statuses_are_asked_once_and_with_the_given_time() -> None:
    asked: list[float] = []

    def statuses(now: float) -> list[FakeStatus]:
        asked.append(now)
        return [FakeStatus()]

    list(registry_of(evolve(sources(), statuses=statuses), now=1234.5).collect())
    assert asked == [1234.5]


def test_families_may_be_taken_first_and_read_later() -> None:
    taken = {family.name: family for family in registry_of(sources()).collect()}
    assert len(taken["flatproxy_rung"].samples) == 2
    assert sum(sample.value for sample in taken["flatproxy_names"].samples) == 2


@pytest.mark.parametrize(
    "name", ['quo"te.example.com', "back\\\\slash.example.com", "new\nline.example.com", "a\\032b.test"]
)
def test_label_values_survive_the_text_format(name: str) -> None:
    assert value(with_names(FakeStatus(name=name)), "flatproxy_rung", name=name, type="A") == 0


def test_an_address_twice_is_one_series() -> None:
    text = scrape(with_names(FakeStatus(rdatas=("198.51.100.7", "198.51.100.7")))).decode()
    assert text.count('flatproxy_address_info{address="198.51.100.7"') == 1


def test_a_huge_rrset_shows_the_same_few_addresses_each_time() -> None:
    addresses = tuple(f"198.51.100.{number}" for number in range(200))
    first = families(with_names(FakeStatus(rdatas=addresses)))["flatproxy_address_info"].samples
    turned = families(with_names(FakeStatus(rdatas=addresses[7:] + addresses[:7])))["flatproxy_address_info"].samples
    assert len(first) == ADDRESS_LIMIT
    assert first == turned


def test_up_to_the_limit_every_name_has_its_series() -> None:
    read = with_names(*(FakeStatus(name=f"{number}.example.com") for number in range(DETAIL_LIMIT)))
    assert len(families(read)["flatproxy_rung"].samples) == DETAIL_LIMIT


def test_above_the_limit_only_names_in_trouble_have_series() -> None:
    fresh = [FakeStatus(name=f"{number}.example.com") for number in range(DETAIL_LIMIT)]
    read = with_names(*fresh, FakeStatus(name="old.example.com", rung="stale"))
    shown = {sample.labels["name"] for sample in families(read)["flatproxy_rung"].samples}
    assert shown == {"old.example.com"}
    assert value(read, "flatproxy_names", rung="fresh") == DETAIL_LIMIT
    assert value(read, "flatproxy_names", rung="stale") == 1


def test_names_in_trouble_are_bounded_too() -> None:
    read = with_names(
        *(FakeStatus(name=f"{number}.example.com", rung="fallback") for number in range(DETAIL_LIMIT + 5))
    )
    assert len(families(read)["flatproxy_rung"].samples) == DETAIL_LIMIT
    assert value(read, "flatproxy_names", rung="fallback") == DETAIL_LIMIT + 5


def test_condition() -> None:
    read = sources()
    assert value(read, "flatproxy_zone_signed", zone="example.org") == 1
    assert value(read, "flatproxy_state_errors_total") == 5
    assert value(read, "flatproxy_addresses_cut") == 1000
    assert value(read, "flatproxy_config_reload_success") == 1
    assert value(read, "flatproxy_config_reload_timestamp_seconds") == 1_700_000_100
    assert value(read, "flatproxy_config_info", sha256="ab" * 32) == 1


def test_a_failed_reload() -> None:
    read = evolve(sources(), reload=lambda: FakeReload(success=False))
    assert value(read, "flatproxy_config_reload_success") == 0


def test_build_says_what_runs() -> None:
    labels = families(sources())["flatproxy_build_info"].samples[0].labels
    assert set(labels) == {"version", "python", "twisted", "dnspython", "packets"}
    assert labels["packets"] == "C"
    assert labels["version"] == version("flatproxy")


def test_every_family_is_in_a_scrape_with_its_labels() -> None:
    found = {}
    for family in registry_of(sources()).collect():
        if family.name.startswith("flatproxy_"):
            found[family.name] = {label for sample in family.samples for label in sample.labels} - {"le"}
            assert family.samples, family.name
    assert found == {family.empty().name: set(family.labels) for family in FAMILIES}


def test_every_value_is_a_number() -> None:
    assert all(math.isfinite(number) for number in samples(sources()).values())


def test_a_registry_takes_the_families_once() -> None:
    registry = CollectorRegistry()
    register(registry, sources(), now=lambda: 0.0)
    with pytest.raises(ValueError, match="Duplicated"):
        registry.register(Collector(sources=sources(), now=lambda: 0.0))


def test_registering_reads_no_source() -> None:
    def unready() -> list[FakeServer]:
        raise AssertionError("read too early")

    register(CollectorRegistry(), evolve(sources(), servers=unready), now=lambda: 0.0)


def test_above_the_limit_nobody_walks_over_all_names() -> None:
    """A scrape of a million names costs what it shows."""
    taken: list[str] = []

    def not_fresh(_now: float) -> Iterator[FakeStatus]:
        for number in count():
            taken.append(f"{number}.example.com")
            yield FakeStatus(name=taken[-1], rung="stale")

    def statuses(_now: float) -> list[FakeStatus]:
        raise AssertionError("all names were asked for")

    read = evolve(
        sources(),
        names_by_rung=lambda: {**dict.fromkeys(RUNGS, 0), "stale": 10**6},
        statuses=statuses,
        not_fresh=not_fresh,
    )
    assert value(read, "flatproxy_names", rung="stale") == 10**6
    assert len(taken) == DETAIL_LIMIT


def test_signed_zones_are_bounded_too() -> None:
    read = evolve(sources(), signed_zones=lambda: (f"{number}.example.com" for number in count()))
    assert len(families(read)["flatproxy_zone_signed"].samples) == DETAIL_LIMIT
