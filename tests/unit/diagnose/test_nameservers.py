from __future__ import annotations

import asyncio

import dns.rcode
import pytest

from flatproxy.config.settings import Access, Endpoint, Listen, Settings, Upstream
from flatproxy.diagnose.asking import Asking
from flatproxy.diagnose.nameservers import Nameservers, recurses

from .replies import reply, wire

ROOT_NS = ". 300 IN NS a.root-servers.net."


@pytest.mark.parametrize(
    ("answer", "rcode", "aa", "ra", "expected"),
    [
        ((ROOT_NS,), dns.rcode.NOERROR, False, True, True),
        ((ROOT_NS,), dns.rcode.NOERROR, False, False, True),
        ((), dns.rcode.SERVFAIL, False, True, True),
        ((ROOT_NS,), dns.rcode.NOERROR, True, False, False),
        ((), dns.rcode.REFUSED, False, False, False),
        ((), dns.rcode.REFUSED, False, True, False),
        ((), dns.rcode.NOERROR, False, False, False),
    ],
    ids=[
        "an answer, offered",
        "an answer, not offered",
        "tried, and failed",
        "serves the root itself",
        "refused",
        "refused, though offered to others",
        "a referral",
    ],
)
def test_recursion_shows(answer: tuple[str, ...], rcode: int, aa: bool, ra: bool, expected: bool) -> None:
    assert recurses(reply(".", "NS", *answer, rcode=rcode, aa=aa, ra=ra)) is expected


def test_a_nameserver_that_is_flatproxy_itself_is_not_asked() -> None:
    settings = Settings(
        listen=Listen(dns=(Endpoint("0.0.0.0", 53),)),
        upstream=Upstream(servers=(Endpoint("127.0.0.1", 53),)),
        access=Access(zones=(wire("example.com"),)),
    )
    nameservers = Nameservers(settings, Asking(settings))
    asyncio.run(nameservers.probe())
    (finding,) = nameservers.found
    assert finding.key == "upstream.servers[0]"
    assert "would be its own nameserver" in finding.what
    assert nameservers.usable == []
