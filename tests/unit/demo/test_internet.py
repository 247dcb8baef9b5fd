from __future__ import annotations

import asyncio

import dns.flags
import dns.rcode
import pytest

from flatproxy.demo.internet import TARGET, Internet

from .asks import ask, records


def _addresses(internet: Internet, rdtype: str) -> set[str]:
    return {line.split()[-1] for line in records(ask(internet, TARGET, rdtype)) if f" {rdtype} " in line}


def test_the_load_balancer_is_behind_two_cnames() -> None:
    response = ask(Internet(ttl_s=7), TARGET)
    assert records(response) == [
        "shop-lb.cdn.example.net. 60 IN CNAME edge.cdn.example.net.",
        "edge.cdn.example.net. 7 IN CNAME lb-1.cdn.example.net.",
        "lb-1.cdn.example.net. 7 IN A 198.51.100.1",
        "lb-1.cdn.example.net. 7 IN A 203.0.113.1",
    ]
    assert response.flags == dns.flags.QR | dns.flags.RD | dns.flags.RA


@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
def test_a_move_changes_name_and_addresses(rdtype: str) -> None:
    internet = Internet()
    seen: list[set[str]] = []
    for number in range(1, 4):
        assert internet.host == f"lb-{number}.cdn.example.net"
        found = _addresses(internet, rdtype)
        assert found == internet.addresses("A" if rdtype == "A" else "AAAA")
        assert len(found) == 2
        assert all(found.isdisjoint(before) for before in seen)
        seen.append(found)
        internet.move()


def test_it_can_move_for_ever() -> None:
    internet = Internet()
    for _ in range(600):
        internet.move()
    assert _addresses(internet, "A") == {"198.51.100.93", "203.0.113.93"}
    assert internet.host == "lb-601.cdn.example.net"


def test_where_it_was_is_gone() -> None:
    internet = Internet()
    internet.move()
    assert ask(internet, "lb-1.cdn.example.net").rcode() == dns.rcode.NXDOMAIN
    assert len(ask(internet, "lb-2.cdn.example.net").answer) == 1


def test_it_keeps_moving_until_cancelled() -> None:
    async def run() -> str:
        internet = Internet()
        task = asyncio.get_running_loop().create_task(internet.keep_moving(0.001))
        async with asyncio.timeout(5):
            while internet.host != "lb-4.cdn.example.net":  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return internet.host

    assert asyncio.run(run()) == "lb-4.cdn.example.net"


def test_other_types_and_names_are_denied() -> None:
    nodata = ask(Internet(), TARGET, "MX")
    assert nodata.rcode() == dns.rcode.NOERROR
    assert len(nodata.answer) == 2
    assert len(nodata.authority) == 1
    nxdomain = ask(Internet(), "nothing.test")
    assert nxdomain.rcode() == dns.rcode.NXDOMAIN
    assert nxdomain.authority[0].to_text().startswith(". 60 IN SOA ")


def test_it_resolves_only_for_those_who_ask_for_it() -> None:
    assert ask(Internet(), TARGET, flags=0).rcode() == dns.rcode.REFUSED
    assert ask(Internet(), TARGET, "A", "CH").rcode() == dns.rcode.REFUSED
