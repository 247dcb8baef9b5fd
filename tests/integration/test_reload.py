"""SIGHUP: a new configuration without a query lost, and a bad one that changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import dns.message
import dns.rcode

from tests.support.configuration import configuration
from tests.support.load import Load
from tests.support.ports import parse
from tests.support.proxy import Proxy
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]


def _configuration(nsd: Nsd, internet: FakeInternet, target: str = "one.test", **flatten: Mapping[str, object]) -> str:
    internet.set("one.test", "A", ["203.0.113.1"])
    internet.set("two.test", "A", ["203.0.113.2"])
    names: dict[str, Mapping[str, object]] = {"example.com": {"target": target, "types": ["A"]}, **flatten}
    return configuration(upstream=[nsd.address], resolver=[internet.address], flatten=names)


def _address(proxy: Proxy, name: str = "example.com") -> str:
    return str(proxy.ask(dns.message.make_query(name, "A")).answer[0][0])


def test_reloading_under_load_loses_nothing(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """Other targets, other names, back again; clients over UDP and one that keeps its TCP connection."""
    configs = [
        _configuration(nsd, internet),
        _configuration(nsd, internet, "two.test"),
        _configuration(nsd, internet, "two.test", **{"flat.example.net": {"target": "one.test", "types": ["A"]}}),
    ]
    proxy = start(configs[0])
    asked = [("example.com", "A"), ("flat.example.net", "A"), ("example.com", "MX"), ("www.example.com", "A")]
    with Load(proxy.address, asked, over_tcp=("example.com", "A")) as load:
        for config in (*configs[1:], *configs, *configs):
            count = len(load.asked)
            proxy.reload(config)
            until(lambda count=count: len(load.asked) > count + 40, "replies after it")  # type: ignore[misc]
    assert not load.lost
    assert {reply.rcode() for reply in load.replies()} == {dns.rcode.NOERROR}
    of_apex = {
        str(rdata)
        for reply in load.replies()
        if reply.question[0].name.to_text() == "example.com." and reply.question[0].rdtype == 1
        for rdata in reply.answer[0]
    }
    assert of_apex == {"203.0.113.1", "203.0.113.2"}, "never the placeholder, not even just after a change"
    assert max(asked.took_s for asked in load.asked) < 2, "nobody waited for the resolver's timeout"
    assert _address(proxy, "flat.example.net") == "203.0.113.1"
    assert proxy.metrics().value("config_reload_success") == 1


def test_a_reload_changes_access_and_upstream(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, internet))
    before = {labels["sha256"] for labels, _ in proxy.metrics().samples("config_info")}
    config = configuration(upstream=[("127.0.0.1", 9), nsd.address], zones=["example.net"], resolver=[internet.address])
    proxy.reload(config)
    assert proxy.ask(dns.message.make_query("example.com", "A")).rcode() == dns.rcode.REFUSED
    assert proxy.ask(dns.message.make_query("example.net", "MX")).rcode() == dns.rcode.NOERROR
    metrics = proxy.metrics()
    assert {labels["sha256"] for labels, _ in metrics.samples("config_info")} != before
    assert {labels["server"] for labels, _ in metrics.samples("upstream_up")} == {
        "127.0.0.1:9",
        f"127.0.0.1:{nsd.port}",
    }
    assert list(metrics.samples("rung")) == []


def test_a_warm_target_stays_warm(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """A reload that leaves a target in place does not ask for it again."""
    internet.set("warm.test", "A", ["203.0.113.3"])
    proxy = start(_configuration(nsd, internet, "warm.test"))
    for _ in range(3):
        proxy.reload(_configuration(nsd, internet, "warm.test", **{"flat.example.net": {"target": "two.test"}}))
        assert _address(proxy) == "203.0.113.3"
        proxy.reload(_configuration(nsd, internet, "warm.test"))
        assert _address(proxy) == "203.0.113.3"
    assert internet.asked["warm.test", "A"] == 1


def test_a_target_that_goes_and_comes_back_in_the_middle_of_its_resolution(
    nsd: Nsd, internet: FakeInternet, start: Start
) -> None:
    """Whatever becomes of the resolution that was under way, the target is resolved in the end."""
    with_it, without = _configuration(nsd, internet, "slow.test"), _configuration(nsd, internet)
    internet.set("slow.test", "A", ["203.0.113.4"])
    proxy = start(without)
    internet.late_s = 0.3
    try:
        for _ in range(3):
            asked = internet.asked["slow.test", "A"]
            proxy.reload(with_it)
            until(lambda asked=asked: internet.asked["slow.test", "A"] > asked, "its query")  # type: ignore[misc]
            proxy.reload(without)
            proxy.reload(with_it)
            until(lambda: _address(proxy) == "203.0.113.4", "its address")
            proxy.reload(without)
    finally:
        internet.late_s = 0.0


def test_a_bad_file_keeps_the_old_configuration(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    good = _configuration(nsd, internet)
    proxy = start(good)
    digest = {labels["sha256"] for labels, _ in proxy.metrics().samples("config_info")}
    for bad in (
        "not toml at all [",
        good.replace("[access]", "[acess]"),
        good.replace('timeout = "2s"', "timeout = 2", 1),
        good.replace('"one.test"', '"example.com"'),
        "",
    ):
        with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")]) as load:
            event = proxy.reload(bad, expect="reload_failed")
            until(lambda: len(load.asked) > 10, "replies after it")
        assert event["level"] in {"error", "critical"}
        assert event["error"]
        assert not load.lost
        assert _address(proxy) == "203.0.113.1"
        assert proxy.metrics().value("config_reload_success") == 0
        assert {labels["sha256"] for labels, _ in proxy.metrics().samples("config_info")} == digest
    proxy.reload(good)
    assert proxy.metrics().value("config_reload_success") == 1


def test_a_file_that_is_gone_keeps_the_old_configuration(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, internet))
    mark = proxy.mark
    proxy.path.unlink()
    proxy.send(signal.SIGHUP)
    proxy.wait_event("reload_failed", mark=mark)
    assert _address(proxy) == "203.0.113.1"


def test_many_signals_at_once(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    proxy = start(_configuration(nsd, internet))
    with Load(proxy.address, [("example.com", "A"), ("example.com", "MX")]) as load:
        for _ in range(50):
            proxy.send(signal.SIGHUP)
        proxy.wait_event("reloaded")
        until(lambda: len(load.asked) > 40, "replies after it")
    assert not load.lost
    assert _address(proxy) == "203.0.113.1"


def _is_held(proxy: Proxy) -> bool:
    """Tell whether the kernel keeps SIGHUP for it until it asks for it."""
    lines = Path(f"/proc/{proxy.pid}/status").read_text().splitlines()
    (blocked,) = (line.split()[1] for line in lines if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) & 1 << signal.SIGHUP - 1)


def test_signals_from_the_first_line_on_end_nothing_and_one_reload_follows(
    nsd: Nsd, internet: FakeInternet, tmp_path: Path
) -> None:
    """With enough names that the start takes long."""
    names: dict[str, Mapping[str, object]] = {
        f"n{number}.example.com": {"target": "one.test", "types": ["A"]} for number in range(3_000)
    }
    proxy = Proxy(tmp_path, _configuration(nsd, internet, "one.test", **names))
    proxy.launch()
    try:
        until(lambda: _is_held(proxy), "its first lines")
        until(lambda: _listens_unless_hung_up(proxy), "the end of the start")
        proxy.wait_event("reloaded")
        listening = proxy.since(0, "listening")[0]
        proxy.listening, proxy.http = [parse(written) for written in listening["dns"]], parse(listening["http"])
        until(lambda: _address(proxy, "n2999.example.com") == "203.0.113.1", "its address")
    finally:
        proxy.stop()


def _listens_unless_hung_up(proxy: Proxy) -> bool:
    """Tell whether it listens; if not, send it SIGHUP."""
    if proxy.since(0, "listening"):
        return True
    proxy.send(signal.SIGHUP)
    return False


def _open_descriptors(proxy: Proxy, resolver: tuple[str, int]) -> int:
    """Count them but for sockets to the resolver, which come and go."""
    lines = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    passing = {f"socket:[{fields[9]}]" for fields in lines if int(fields[2].split(":")[1], 16) == resolver[1]}
    links = [str(link.readlink()) for link in Path(f"/proc/{proxy.pid}/fd").iterdir() if link.is_symlink()]
    return len([link for link in links if link not in passing])


def test_a_reload_that_cannot_open_its_sockets_leaves_none_open(nsd: Nsd, internet: FakeInternet, start: Start) -> None:
    """The kernel connects no socket to 255.255.255.255; those to the server before it were open by then."""
    good = _configuration(nsd, internet)
    proxy = start(good)
    count = _open_descriptors(proxy, internet.address)
    wrong = configuration(upstream=[("127.0.0.1", 9), ("255.255.255.255", 53)], resolver=[internet.address])
    for _ in range(3):
        event = proxy.reload(wrong, expect="reload_failed")
        assert "cannot open a socket to every upstream server" in event["error"]
        assert _open_descriptors(proxy, internet.address) == count
        assert _address(proxy) == "203.0.113.1"
    proxy.reload(good)
    assert _open_descriptors(proxy, internet.address) == count
