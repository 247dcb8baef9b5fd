"""`check` in front of NSD and BIND, with each thing that it must find."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bind import Bind
from tests.support.configuration import configuration
from tests.support.internet import FakeInternet
from tests.support.ports import free_port, text
from tests.support.scripted import UDP, Answer, Query, Scripted

from .commands import NOWHERE, WIDTH, Output, fill, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy
    from tests.support.zones import Zones

    Check = Callable[..., Output]

GOOD = {"flat.example.net": {"target": "lb.cloud.test"}}


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as net:
        fill(net)
        yield net


@pytest.fixture
def check(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> Check:
    def begin(flatten: Any = None, *, as_text: bool = False, **keys: Any) -> Output:
        path = tmp_path / "flatproxy.toml"
        keys = {"upstream": [nsd.address], "resolver": [internet.address], "flatten": flatten, **keys}
        path.write_text(configuration(**keys))
        return run("check", "--config", str(path), *([] if as_text else ["--json"]))

    return begin


def test_what_is_right_is_told_with_chain_addresses_and_ttl(check: Check, internet: FakeInternet) -> None:
    done = check(GOOD)
    assert done.code == 0
    assert done.json["ok"] is True
    assert done.findings("error", "warning", "info") == []
    assert done.findings("ok") == [("ok", "resolver.servers[0]"), ("ok", "upstream.servers[0]")]
    (target,) = done.json["targets"]
    assert target["target"] == "lb.cloud.test"
    assert target["names"] == ["flat.example.net"]
    a = target["types"]["A"]
    assert (a["outcome"], a["addresses"], a["ttl"]) == ("addresses", ["198.51.100.7", "198.51.100.8"], 30)
    asked = {"asked": "resolver", "server": text(internet.address)}
    assert a["chain"] == [
        {"name": "lb.cloud.test", "what": "CNAME edge.cdn.test", "ttl": 600, **asked},
        {"name": "edge.cdn.test", "what": "CNAME pop.cdn.test", "ttl": 60, **asked},
        {"name": "pop.cdn.test", "what": "A 198.51.100.7 198.51.100.8", "ttl": 30, **asked},
    ]
    assert target["types"]["AAAA"]["ttl"] == 20


def test_the_text_says_the_same(check: Check, nsd: Nsd) -> None:
    done = check(GOOD, as_text=True, zones=["example.com", "example.net"])
    assert done.code == 0
    assert max(map(len, done.lines[:-1])) <= WIDTH
    assert done.lines[:3] == [
        "Nameservers",
        f"  ok       upstream.servers[0]  {text(nsd.address)}",
        "             answers for example.com, example.net over UDP and TCP",
    ]
    at = done.lines.index("Targets")
    assert done.lines[at + 1 : at + 5] == [
        "  lb.cloud.test  for flat.example.net",
        "    A     TTL 30  198.51.100.7, 198.51.100.8",
        "    AAAA  TTL 20  2001:db8:7::7",
        "    chain: lb.cloud.test → edge.cdn.test → pop.cdn.test",
    ]
    assert done.lines[-1].endswith("flatproxy.toml: fine")


def test_addresses_that_will_be_refused(check: Check) -> None:
    done = check(GOOD, defaults={"special": "refuse"})
    assert done.findings("error") == [("error", 'flatten."flat.example.net".target')]
    assert "198.51.100.7 is in 198.51.100.0/24 (documentation)" in done.what('flatten."flat.example.net".target')
    done = check({"flat.example.net": {"target": "lb.cloud.test", "allow": ["198.51.100.7", "2001:db8::/32"]}})
    assert done.findings("error", "warning") == [("warning", 'flatten."flat.example.net".target')]
    assert "198.51.100.8 is outside allow" in done.what('flatten."flat.example.net".target')


def test_a_nameserver_that_is_dead_and_a_zone_that_it_does_not_serve(check: Check, nsd: Nsd) -> None:
    done = check(GOOD, upstream=[nsd.address, NOWHERE], zones=["example.net", "absent.test"])
    assert done.code == 1
    assert done.json["ok"] is False
    assert done.findings("error") == [("error", "access.zones[1]"), ("error", "upstream.servers[1]")]
    assert done.what("upstream.servers[1]") == "127.0.0.1:9: does not answer: connection refused"
    assert done.what("access.zones[1]") == f"absent.test: {text(nsd.address)}: REFUSED"


def test_no_nameserver_at_all(check: Check) -> None:
    done = check(GOOD, upstream=[NOWHERE], as_text=True)
    assert done.code == 1
    assert "ERROR    upstream.servers[0]  127.0.0.1:9" in done.out
    assert "nothing is said of what it has at the flagged names" in done.out
    assert "198.51.100.7, 198.51.100.8" in done.out


@pytest.mark.parametrize("lost", ["UDP", "TCP"])
def test_a_nameserver_that_is_reached_over_one_transport_only(check: Check, nsd: Nsd, lost: str) -> None:
    def script(query: Query) -> Answer:
        if query.transport.upper() == lost:
            return None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(nsd.address)
            sock.send(query.data)
            return sock.recv(65535)

    with Scripted(script) as relay:
        done = check(GOOD, upstream=[relay.address], upstream_={"timeout": "900ms"})
    assert done.code == 1
    assert done.findings("error") == [("error", "upstream.servers[0]")]
    assert f"does not answer over {lost}: no answer within 0.9 s" in done.what("upstream.servers[0]")
    seen = sum(query.transport == UDP for query in relay.received)
    assert seen >= 2  # also where nothing comes: a lost datagram is no finding


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("gone.cloud.test", "the target does not exist: no A or AAAA record"),
        ("broken.cloud.test", "broken.cloud.test: SERVFAIL from 127.0.0.1:"),
        ("silent.cloud.test", "silent.cloud.test A: no answer within 2 s"),
        ("loop1.cloud.test", "the chain is a loop: loop1.cloud.test comes again after"),
        ("flat.example.com", "the chain is a loop: flat.example.com comes again after"),
    ],
)
def test_a_target_that_does_not_resolve(check: Check, target: str, word: str) -> None:
    flatten = {"flat.example.net": {"target": target}, "flat.example.com": {"target": "flat.example.net"}}
    done = check(flatten, resolver_={"timeout": "2s"})
    assert done.code == 1
    assert ("error", 'flatten."flat.example.net".target') in done.findings("error")
    assert word in done.what('flatten."flat.example.net".target')


def test_one_family_that_is_not_there_is_fine_and_a_ttl_of_0_worth_a_word(check: Check) -> None:
    done = check({"flat.example.net": {"target": "short.cloud.test"}})
    assert done.code == 0
    assert done.json["targets"][0]["types"]["AAAA"]["outcome"] == "nodata"
    assert done.findings("info") == [("info", 'flatten."flat.example.net".target')]


def test_what_stands_at_the_flagged_names(check: Check) -> None:
    """Each of these is something in the zone; none keeps flatproxy from answering."""
    there = ["example.com", "alias.example.com", "sub.example.com", "gone.example.net", "_sip._tcp.example.com"]
    done = check({name: {"target": "lb.cloud.test"} for name in [*there, "signed.test", "flat.example.net"]})
    assert done.code == 0
    assert "ipv4hint=192.0.2.1" in done.what('flatten."example.com"')
    assert "the nameserver has a CNAME there" in done.what('flatten."alias.example.com"')
    assert "delegates it to others" in done.what('flatten."sub.example.com"')
    assert "no such name (NXDOMAIN)" in done.what('flatten."gone.example.net"')
    assert "no A or AAAA record there, and there is no fallback" in done.what('flatten."_sip._tcp.example.com"')
    assert "signed with DNSSEC" in done.what("access.zones[2]")
    assert not [key for _, key in done.findings("warning") if key == 'flatten."flat.example.net"']


def test_fallback_addresses_stand_in_for_a_placeholder(check: Check) -> None:
    flatten = {"_sip._tcp.example.com": {"target": "lb.cloud.test", "fallback": ["192.0.2.10"]}}
    assert ("warning", 'flatten."_sip._tcp.example.com"') not in check(flatten).findings("warning")


class RecursiveBind(Bind):
    """BIND as it often is: authoritative and recursive at once. It resolves at the address in `forwarder`."""

    forwarder: tuple[str, int]

    def configure(self) -> list[str]:
        command = super().configure()
        path = self.folder / "named.conf"
        host, port = self.forwarder
        recursion = f"recursion yes; allow-recursion {{ any; }}; forward only; forwarders {{ {host} port {port}; }};"
        path.write_text(path.read_text().replace("recursion no;", recursion))
        return command


def test_a_nameserver_that_recurses(
    check: Check, internet: FakeInternet, zones: Zones, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bind = RecursiveBind(folder=tmp_path_factory.mktemp("recursive"), zones=zones)
    bind.forwarder = internet.address
    bind.start()
    try:
        done = check(GOOD, upstream=[bind.address])
    finally:
        bind.stop()
    assert done.code == 0
    assert "it recurses for this machine" in done.what("upstream.servers[0]")


def test_a_resolver_that_is_flatproxy_by_its_address(check: Check, internet: FakeInternet) -> None:
    for listen in ("127.0.0.1", "0.0.0.0"):
        port = free_port()
        resolvers = [("127.0.0.1", port), internet.address]
        done = check(GOOD, dns=[f"{listen}:{port}"], resolver=resolvers)
        assert done.code == 1
        assert done.findings("error") == [("error", "resolver.servers[0]")]
        assert f"flatproxy listens there itself ({listen}:{port}" in done.what("resolver.servers[0]")
        assert done.json["targets"][0]["types"]["A"]["outcome"] == "addresses"


def test_a_resolver_that_is_flatproxy_by_its_answers(
    check: Check, internet: FakeInternet, nsd: Nsd, start: Callable[..., Proxy]
) -> None:
    running = start(configuration(upstream=[nsd.address], resolver=[internet.address], flatten=GOOD))
    done = check(GOOD, resolver=[running.address])
    assert done.code == 1
    assert ("error", "resolver.servers[0]") in done.findings("error")
    assert "it is flatproxy or the nameserver" in done.what("resolver.servers[0]")


def test_many_names_with_one_target_cost_one_resolution(check: Check, internet: FakeInternet) -> None:
    internet.set("many.cloud.test", "A", ["198.51.100.20"])
    before = internet.asked.copy()
    rules = [{"target": "many.cloud.test"}, {"target": "many.cloud.test", "max_ttl": "1m"}]
    done = check({f"n{number}.example.com": rules[number % 2] for number in range(200)})
    assert done.code == 0
    asked = internet.asked - before
    assert {key: count for key, count in asked.items() if key[0] == "many.cloud.test"} == {
        ("many.cloud.test", "A"): 1,
        ("many.cloud.test", "AAAA"): 1,
    }
    (target,) = done.json["targets"]
    assert len(target["names"]) == 200


def test_targets_are_not_asked_for_ever_where_nobody_answers(check: Check) -> None:
    flatten = {f"n{number}.example.com": {"target": f"t{number}.cloud.test"} for number in range(300)}
    done = check(flatten, resolver=[NOWHERE])
    assert done.code == 1
    assert "in a row could not be resolved" in done.what("resolver.servers")
    assert len(done.findings("error")) < 150


def test_a_nameserver_asked_for_zones_without_a_list_of_them(check: Check, nsd: Nsd) -> None:
    done = check(GOOD, zones=["."])
    assert done.code == 0
    (fine,) = [each for each in done.json["findings"] if each["key"] == "upstream.servers[0]"]
    assert fine["what"] == "answers over UDP and TCP"


def test_the_state_file_is_looked_at(check: Check, tmp_path: Path) -> None:
    done = check(GOOD, tables={"state": {"path": str(tmp_path / "missing" / "answers.sqlite")}})
    assert done.code == 0
    assert "its directory does not exist" in done.what("state.path")


def test_a_wrong_file_is_told_whole(tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text('[listen]\ndns = ["localhost"]\n[upstream]\nservers = []\n[access]\nzones = ["example.com"]\n')
    done = run("check", "--config", str(path))
    assert done.code == 2
    assert done.out == ""
    assert "listen.dns[0]" in done.err
    assert "upstream.servers" in done.err
    done = run("check", "--config", str(path), "--json")
    assert done.code == 2
    assert done.findings("error") == [("error", "listen.dns[0]"), ("error", "upstream.servers")]
    assert done.json["ok"] is False
    assert run("check").code == 2


def test_a_resolver_is_asked_for_nothing_where_nothing_is_flagged(check: Check, internet: FakeInternet) -> None:
    before = internet.asked.total()
    assert check().code == 0
    assert internet.asked.total() == before
