"""`require_ad`: what the resolver has not validated is no answer; the ladder goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.message

from tests.support.configuration import configuration
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy


def _addresses(proxy: Proxy) -> set[str]:
    reply = proxy.ask(dns.message.make_query("example.com", "A"))
    return {rdata.to_text() for rrset in reply.answer for rdata in rrset}


def test_only_what_is_validated_is_answered(nsd: Nsd, internet: FakeInternet, start: Callable[..., Proxy]) -> None:
    internet.set("lb.test", "A", ["203.0.113.1"], 1)
    internet.set("lb.test", "AAAA", ["2001:db8:5::1"], 1)
    config = configuration(
        upstream=[nsd.address],
        resolver=[internet.address],
        flatten={"example.com": {"target": "lb.test"}},
        resolver_={"require_ad": True},
    )
    proxy = start(config)
    assert "not validated" in str(proxy.wait_event("target_failed", type="A")["reason"])
    assert _addresses(proxy) == {"192.0.2.1"}
    internet.validates = True
    try:
        until(lambda: _addresses(proxy) == {"203.0.113.1"}, lambda: proxy.log, 30)
    finally:
        internet.validates = False
