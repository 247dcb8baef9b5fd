"""Several targets of one name as clients notice them: which is answered when one is gone, empty or silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dns.message
import dns.rcode
import pytest

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet, Mood
from tests.support.service import Prepare, Service, service
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.nsd import Nsd

__all__ = ["service"]

EU, US, EU6 = "203.0.113.1", "203.0.113.2", "2001:db8::1"


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    with FakeInternet() as internet:
        internet.set("eu.test", "A", [EU], 1)
        internet.set("eu.test", "AAAA", [EU6], 1)
        internet.set("us.test", "A", [US], 1)
        yield internet


@pytest.fixture(params=["0", "1"], ids=["python", "c"])
def start(request: pytest.FixtureRequest, service: Prepare, nsd: Nsd, resolver: FakeInternet) -> Callable[..., Service]:
    def start(**keys: Any) -> Service:
        proxy = service(
            configuration(
                upstream=[nsd.address],
                resolver=[resolver.address],
                resolver_={"timeout": "1s"},
                flatten={"example.com": {"targets": ["eu.test", "us.test"], **keys}},
            ),
            environ={"FLATPROXY_NATIVE": request.param},
        )
        proxy.start()
        return proxy

    return start


def answer(proxy: Service, rdtype: str = "A") -> list[str]:
    reply = proxy.ask(dns.message.make_query("example.com", rdtype))
    assert reply.rcode() == dns.rcode.NOERROR
    return sorted(rdata.to_text() for rrset in reply.answer for rdata in rrset)


def until_answered(proxy: Service, *addresses: str, rdtype: str = "A") -> None:
    until(lambda: answer(proxy, rdtype) == sorted(addresses), f"{rdtype} is {addresses}")


def gone(resolver: FakeInternet) -> None:
    resolver.forget("eu.test")


def empty(resolver: FakeInternet) -> None:
    resolver.set("eu.test", "A", [])
    resolver.set("eu.test", "AAAA", [])


def silent(resolver: FakeInternet) -> None:
    resolver.moods["eu.test"] = Mood.SILENT


def failing(resolver: FakeInternet) -> None:
    resolver.moods["eu.test"] = Mood.SERVFAIL


@pytest.mark.parametrize("harm", [gone, empty, silent, failing])
def test_the_first_is_passed_over_and_used_again(
    start: Callable[..., Service], resolver: FakeInternet, harm: Callable[[FakeInternet], None]
) -> None:
    proxy = start()
    until_answered(proxy, EU)
    assert answer(proxy, "AAAA") == [EU6]
    harm(resolver)
    until_answered(proxy, US)
    until_answered(proxy, rdtype="AAAA")  # the second has none
    assert proxy.metrics().rung("example.com") == "fresh"
    resolver.moods.clear()
    resolver.set("eu.test", "A", [EU], 1)
    resolver.set("eu.test", "AAAA", [EU6], 1)
    until_answered(proxy, EU)
    until_answered(proxy, EU6, rdtype="AAAA")
    changes = [(each["old"], each["new"]) for each in proxy.since(0, "target_change")]
    assert changes == [("eu.test", "us.test"), ("us.test", "eu.test")]


@pytest.mark.parametrize("harm", [gone, silent])
def test_a_start_without_the_first_is_answered_by_the_second(
    start: Callable[..., Service], resolver: FakeInternet, harm: Callable[[FakeInternet], None]
) -> None:
    harm(resolver)
    proxy = start()
    assert answer(proxy) == [US]


def test_where_none_can_be_resolved_the_last_known_of_the_first_are_answered(
    start: Callable[..., Service], resolver: FakeInternet
) -> None:
    proxy = start()
    until_answered(proxy, EU)
    resolver.mood = Mood.SILENT
    until(lambda: proxy.metrics().rung("example.com") == "stale", "stale")
    until_answered(proxy, EU)


def test_where_none_has_anything_the_last_are_held_and_then_that_is_told(
    start: Callable[..., Service], resolver: FakeInternet
) -> None:
    proxy = start(hold_absent="3s")
    until_answered(proxy, EU)
    resolver.forget("us.test")
    resolver.forget("eu.test")
    until(lambda: proxy.metrics().rung("example.com") == "held", "held")
    until_answered(proxy)
    until(lambda: proxy.metrics().value("absent", name="example.com", type="A") == 1, "it is told")


def test_all_are_answered_together(start: Callable[..., Service], resolver: FakeInternet) -> None:
    proxy = start(use="all")
    until_answered(proxy, EU, US)
    assert answer(proxy, "AAAA") == [EU6]
    resolver.forget("eu.test")
    until_answered(proxy, US)
    until_answered(proxy, rdtype="AAAA")


def test_a_reload_goes_over_to_another_order(start: Callable[..., Service]) -> None:
    proxy = start()
    until_answered(proxy, EU)
    proxy.reload(proxy.config.replace('["eu.test", "us.test"]', '["us.test", "eu.test"]'))
    until_answered(proxy, US)
    proxy.reload(proxy.config.replace('targets = ["us.test", "eu.test"]', 'target = "eu.test"'))
    until_answered(proxy, EU)
