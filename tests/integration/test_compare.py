"""Every ordinary query gets the nameserver's own answer, octet for octet after the ID."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.rcode
import pytest

from tests.support import dnsio, queries
from tests.support.configuration import LOOPBACK, configuration
from tests.support.exchange import over_tcp, over_udp
from tests.support.proxy import Proxy
from tests.support.waiting import let_pass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.exchange import Replies
    from tests.support.internet import FakeInternet
    from tests.support.nameserver import Nameserver
    from tests.support.ports import Address

_SERVFAIL = 2
_FEW = 40
_LIMIT_S = 1.1

_TIMEOUT_S = 0.8
_PATIENCE_S = 2 * _TIMEOUT_S

Exchange = Callable[["Address", list[bytes], float], "Replies"]


@pytest.fixture(scope="module")
def proxy(nameserver: Nameserver, internet: FakeInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """It serves every name and lets us do everything, so that the nameserver is asked whatever we ask."""
    internet.set("lb.test", "A", ["203.0.113.1"])
    config = configuration(
        upstream=[nameserver.address],
        resolver=[internet.address],
        zones=["."],
        upstream_={"timeout": f"{_TIMEOUT_S * 1000:.0f}ms"},
        access={"transfer": LOOPBACK, "update": LOOPBACK, "notify": LOOPBACK},
        flatten={queries.FLAGGED: {"target": "lb.test"}},
    )
    with Proxy(tmp_path_factory.mktemp("proxy"), config) as running:
        yield running


def _excused(direct: bytes | None, through: bytes | None) -> bool:
    """A query that the nameserver leaves without a reply looks to the proxy as if it were lost: there SERVFAIL is
    right (RFC 9520 section 2.2: a server that does not respond), and silence is as well.
    """
    return direct is None and (through is None or through[3] & 0x0F == _SERVFAIL)


def _lost(reply: bytes | None) -> bool:
    return reply is None or reply[3] & 0x0F == _SERVFAIL


def _compare(exchange: Exchange, nameserver: Nameserver, proxy: Proxy, asked: list[bytes]) -> None:
    """Ask everything directly and through the proxy. Nameservers answer a flood of bad queries with silence (NSD gives
    100 error replies a second), so what one of the two did not answer is asked again, few at a time.
    """
    wrong: list[tuple[bytes, bytes | None, bytes | None]] = []
    again: list[tuple[bytes, bytes | None, bytes | None]] = []
    direct, through = exchange(nameserver.address, asked, 0.5), exchange(proxy.address, asked, _PATIENCE_S)
    for wire, before, after in zip(asked, direct, through, strict=True):
        if before is None or after is None or before[2:] != after[2:]:
            (again if _lost(before) or _lost(after) else wrong).append((wire, before, after))
    for few in (again[at : at + _FEW] for at in range(0, len(again), _FEW)):
        let_pass(_LIMIT_S)
        queried = [wire for wire, _, _ in few]
        direct = exchange(nameserver.address, queried, 0.5)
        let_pass(_LIMIT_S)
        through = exchange(proxy.address, queried, _PATIENCE_S)
        for wire, before, after in zip(queried, direct, through, strict=True):
            if not _excused(before, after) and (before is None or after is None or before[2:] != after[2:]):
                wrong.append((wire, before, after))
    assert not wrong, f"{len(wrong)} of {len(asked)} differ:\n" + "\n".join(_describe(*found) for found in wrong[:10])


def _describe(wire: bytes, direct: bytes | None, through: bytes | None) -> str:
    return f"{wire.hex()}\n  direct  {_show(direct)}\n  through {_show(through)}\n  {_explain(wire)}"


def _show(reply: bytes | None) -> str:
    return "nothing" if reply is None else f"{len(reply)} octets {reply[2:200].hex()}"


def _explain(wire: bytes) -> str:
    try:
        return dns.message.from_wire(wire, ignore_trailing=True).to_text().replace("\n", " | ")
    except dns.exception.DNSException as error:
        return f"not a message: {error}"


def test_the_queries_are_many_and_differ() -> None:
    made = {*queries.grid(), *queries.varied(1500, 1), *queries.odd()}
    assert len(made) >= 3000


def test_grid_over_udp(nameserver: Nameserver, proxy: Proxy) -> None:
    _compare(over_udp, nameserver, proxy, list(queries.grid()))


def test_varied_over_udp(nameserver: Nameserver, proxy: Proxy) -> None:
    _compare(over_udp, nameserver, proxy, list(queries.varied(1500, seed=1)))


def test_varied_over_tcp(nameserver: Nameserver, proxy: Proxy) -> None:
    _compare(over_tcp, nameserver, proxy, list(queries.varied(500, seed=2)))


def test_grid_over_tcp_pipelined(nameserver: Nameserver, proxy: Proxy) -> None:
    _compare(partial(over_tcp, pipeline=8), nameserver, proxy, list(islice(queries.grid(), 0, None, 2)))


@pytest.mark.parametrize("exchange", [over_udp, over_tcp])
def test_odd_queries(nameserver: Nameserver, proxy: Proxy, exchange: Exchange) -> None:
    _compare(exchange, nameserver, proxy, list(queries.odd()))


@pytest.mark.parametrize("exchange", [over_udp, over_tcp])
def test_broken_queries(nameserver: Nameserver, proxy: Proxy, exchange: Exchange) -> None:
    _compare(exchange, nameserver, proxy, list(queries.broken()))


def test_what_a_nameserver_ignores_does_not_count_against_it(nameserver: Nameserver, proxy: Proxy) -> None:
    """Whoever sends such queries must not be able to have the nameserver taken for dead."""
    with dnsio.udp_socket(proxy.address) as sock:
        for wire in list(queries.broken()) * 3:
            sock.send(wire)
    asked = [queries.query(name, 6) for name in queries.NAMES if name.endswith(b"\7example\3net\0")]
    replies = over_udp(proxy.address, asked, _PATIENCE_S)
    assert replies
    assert all(reply is not None and reply[3] & 0x0F != dns.rcode.SERVFAIL for reply in replies)
    assert not proxy.since(0, "upstream_down")
