"""Who is answered what: clients of several networks ask one flatproxy for one name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dns.edns
import dns.message
import dns.query
import pytest

from tests.support import dnsio
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet
from tests.support.proxy import Proxy
from tests.support.proxy_header import header
from tests.support.waiting import until

from .commands import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]

_PUBLIC, _BRANCH, _OTHER, _PLACEHOLDER = "203.0.113.1", "203.0.113.2", "203.0.113.3", "192.0.2.1"
_NOWHERE, _INSIDE, _AT_BRANCH = "127.0.0.1", "127.1.0.1", "127.1.7.1"
_LANDS_ON_APEX = "www.example.com"


@pytest.fixture
def resolver() -> Iterator[FakeInternet]:
    internet = FakeInternet()
    internet.set("lb.test", "A", [_PUBLIC])
    internet.set("branch.test", "A", [_BRANCH])
    internet.set("branch.test", "AAAA", ["2001:db8::2"])
    internet.start()
    yield internet
    internet.stop()


def _configuration(nsd: Nsd, resolver: FakeInternet, **more: Any) -> str:
    views = {"views.inside": {"clients": ["127.1.0.0/16"]}, "views.branch": {"clients": ["127.1.7.0/24", "::1"]}}
    flatten = {
        "example.com": {"target": "lb.test", "types": ["A"]},
        'example.com".views."inside': {"action": "pass"},
        'example.com".views."branch': {"target": "branch.test", "types": ["A", "AAAA"], "stale_ttl": "7s"},
        "flat.example.net": {"target": "lb.test"},
    }
    keys: dict[str, Any] = {"tables": views, "flatten": flatten, **more}
    return configuration(upstream=[nsd.address], resolver=[resolver.address], dns=["0.0.0.0:0", "[::1]:0"], **keys)


def _addresses(
    proxy: Proxy, client: str, name: str = "example.com", rdtype: str = "A", *, tcp: bool = False
) -> list[str]:
    port = proxy.listening[1 if ":" in client else 0][1]
    host = "::1" if ":" in client else "127.0.0.1"
    ask = dns.query.tcp if tcp else dns.query.udp
    reply = ask(dns.message.make_query(name, rdtype), host, timeout=10, port=port, source=client)
    return sorted(rdata.to_text() for rrset in reply.answer if rrset.rdtype.name == rdtype for rdata in rrset)


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_each_client_gets_the_answer_of_its_view(nsd: Nsd, resolver: FakeInternet, start: Start, *, tcp: bool) -> None:
    """Again and again and in turns: what is remembered of one view is never said in another."""
    proxy = start(_configuration(nsd, resolver))
    for _ in range(3):
        assert _addresses(proxy, _NOWHERE, tcp=tcp) == [_PUBLIC]
        assert _addresses(proxy, _INSIDE, tcp=tcp) == [_PLACEHOLDER]
        assert _addresses(proxy, _AT_BRANCH, tcp=tcp) == [_BRANCH]
        assert _addresses(proxy, "::1", tcp=tcp) == [_BRANCH]
        assert _addresses(proxy, _AT_BRANCH, rdtype="AAAA", tcp=tcp) == ["2001:db8::2"]
        assert _addresses(proxy, _NOWHERE, rdtype="AAAA", tcp=tcp) == ["2001:db8::1"], "the zone's own"


def test_client_subnet_puts_nobody_in_a_view(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    """Who asks for a client in a view is not in it, nor is who asks from the view for a client outside."""
    proxy = start(_configuration(nsd, resolver))
    for client, said, address in ((_NOWHERE, _AT_BRANCH, _PUBLIC), (_AT_BRANCH, "198.51.100.1", _BRANCH)):
        query = dns.message.make_query("example.com", "A", use_edns=0, options=[dns.edns.ECSOption(said, 32)])
        reply = dns.query.udp(query, "127.0.0.1", timeout=10, port=proxy.listening[0][1], source=client)
        assert [rdata.to_text() for rrset in reply.answer for rdata in rrset] == [address]


def test_a_name_without_a_table_for_the_view_has_its_own_answer(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    for client in (_NOWHERE, _INSIDE, _AT_BRANCH):
        assert _addresses(proxy, client, "flat.example.net") == [_PUBLIC]


def test_a_cname_of_the_zone_lands_on_the_views_answer(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    assert _addresses(proxy, _NOWHERE, _LANDS_ON_APEX) == [_PUBLIC]
    assert _addresses(proxy, _INSIDE, _LANDS_ON_APEX) == [_PLACEHOLDER]
    assert _addresses(proxy, _AT_BRANCH, _LANDS_ON_APEX) == [_BRANCH]


def test_a_reload_changes_views(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver))
    assert _addresses(proxy, _INSIDE) == [_PLACEHOLDER]
    resolver.set("other.test", "A", [_OTHER])
    views = {"views.inside": {"clients": ["127.1.0.0/16"]}}
    flatten = {"example.com": {"target": "lb.test"}, 'example.com".views."inside': {"target": "other.test"}}
    proxy.reload(_configuration(nsd, resolver, tables=views, flatten=flatten))
    assert _addresses(proxy, _INSIDE) == [_OTHER]
    assert _addresses(proxy, _AT_BRANCH) == [_OTHER]
    assert _addresses(proxy, _NOWHERE) == [_PUBLIC]
    proxy.reload(_configuration(nsd, resolver, tables={}, flatten={"example.com": {"target": "lb.test"}}))
    assert _addresses(proxy, _INSIDE) == [_PUBLIC]
    assert proxy.metrics().value("names", rung="fresh") == 2


def test_a_view_follows_its_own_target(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    resolver.set("branch.test", "A", [_BRANCH], 1)
    proxy = start(_configuration(nsd, resolver))
    assert _addresses(proxy, _AT_BRANCH) == [_BRANCH]
    resolver.set("branch.test", "A", [_OTHER], 1)
    until(lambda: _addresses(proxy, _AT_BRANCH) == [_OTHER], "the branch's new address")
    assert _addresses(proxy, _NOWHERE) == [_PUBLIC]


def test_a_trusted_proxy_header_names_the_client(nsd: Nsd, resolver: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, resolver, listen={"proxy_from": ["127.0.0.0/8"]}))
    query = dns.message.make_query("example.com", "A").to_wire()
    for client, address in ((_INSIDE, _PLACEHOLDER), (_AT_BRANCH, _BRANCH), ("198.51.100.1", _PUBLIC)):
        reply = dnsio.udp(proxy.address, header(client) + query)
        assert reply is not None
        assert [rdata.to_text() for rdata in dns.message.from_wire(reply).answer[0]] == [address]


def test_explain_says_which_view_and_why(nsd: Nsd, resolver: FakeInternet, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(_configuration(nsd, resolver))

    def explained(client: str, *more: str) -> Any:
        return run("explain", "--config", str(path), "example.com", "--client", client, *more)

    inside = explained(_INSIDE, "--json").json
    assert (inside["verdict"], inside["seen"]["view"], inside["seen"]["network"]) == (
        "forwarded",
        "inside",
        "127.1.0.0/16",
    )
    branch = explained(_AT_BRANCH, "--json").json
    assert (branch["verdict"], branch["target"], branch["seen"]["view"]) == ("flattened", "branch.test", "branch")
    assert "127.1.7.1 is in the view branch, by 127.1.7.0/24: this is its answer" in explained(_AT_BRANCH).out
    assert f"{_NOWHERE} is in no view: this is the name's own answer" in explained(_NOWHERE).out
    assert "'inside'" in explained("inside").err


# Active Directory

_PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]


@pytest.fixture
def directory(resolver: FakeInternet) -> FakeInternet:
    """A nameserver of a domain with two controllers; it resolves, too."""
    resolver.set("corp.test", "SOA", ["dc1.corp.test. hostmaster.corp.test. 1 3600 600 86400 60"])
    resolver.set("corp.test", "A", ["10.0.0.11", "10.0.0.12"])
    controllers = [f"0 100 389 dc{number}.corp.test." for number in (1, 2)]
    resolver.set("_ldap._tcp.dc._msdcs.corp.test", "SRV", controllers)
    return resolver


def _domain(directory: FakeInternet, *inside: str) -> str:
    flatten: dict[str, dict[str, object]] = {"corp.test": {"target": "lb.test", "types": ["A"]}}
    if inside:
        flatten['corp.test".views."inside'] = {"action": "pass"}
    return configuration(
        upstream=[directory.address],
        resolver=[directory.address],
        zones=["corp.test"],
        flatten=flatten,
        tables={"views.inside": {"clients": list(inside)}} if inside else {},
    )


def test_a_domain_whose_members_do_not_find_their_controllers(directory: FakeInternet, start: Start) -> None:
    """Said once, and shown until a view lets all of them through."""
    proxy = start(_domain(directory))
    assert proxy.wait_event("controllers_hidden")["name"] == "corp.test"
    assert proxy.metrics().value("domain_controllers", name="corp.test") == 2
    proxy.reload(_domain(directory, *_PRIVATE[:3]))
    assert proxy.metrics().value("domain_controllers", name="corp.test") == 2, "fc00::/7 is left"
    proxy.reload(_domain(directory, *_PRIVATE))
    assert list(proxy.metrics().samples("domain_controllers")) == []
    assert len(proxy.since(0, "controllers_hidden")) == 1


def test_a_domain_whose_members_do(directory: FakeInternet, start: Start) -> None:
    proxy = start(_domain(directory, "127.0.0.0/8", *_PRIVATE))
    until(lambda: directory.asked["corp.test", "DNSKEY"] > 0, "the zone is known")
    assert _addresses(proxy, "127.0.0.1", "corp.test") == ["10.0.0.11", "10.0.0.12"]
    assert proxy.since(0, "controllers_hidden") == []


def test_check_says_the_lines_to_write(directory: FakeInternet, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(_domain(directory))
    done = run("check", "--config", str(path), "--json")
    (finding,) = [each for each in done.json["findings"] if "Active Directory" in each["what"]]
    assert (finding["severity"], finding["key"]) == ("error", 'flatten."corp.test"')
    assert "domain with 2 controllers" in finding["what"]
    assert '[flatten."corp.test".views.inside] with action = "pass"' in finding["do"]
    path.write_text(_domain(directory, *_PRIVATE))
    assert "Active Directory" not in run("check", "--config", str(path), "--json").out
