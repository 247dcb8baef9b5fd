"""Flagged names from included files in a running process: at the start, over SIGHUP, and as `check` sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import dns.message
import dns.rcode

from tests.support.configuration import configuration
from tests.support.proxy import Proxy

from .commands import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.nsd import Nsd

Start = Callable[..., Proxy]

MANY = 20_000


def _including(nsd: Nsd, internet: FakeInternet, folder: Path) -> str:
    (folder / "conf.d").mkdir(exist_ok=True)
    internet.set("one.test", "A", ["203.0.113.1"])
    internet.set("two.test", "A", ["203.0.113.2"])
    main = configuration(upstream=[nsd.address], resolver=[internet.address], tables={"defaults": {"types": ["A"]}})
    return f'include = ["{folder}/conf.d/*.toml", "{folder}/names.txt"]\n{main}'


def _addresses(proxy: Proxy, name: str) -> list[str]:
    answer = proxy.ask(dns.message.make_query(name, "A")).answer
    return [str(rdata) for rrset in answer for rdata in rrset]


def test_a_reload_reads_the_included_files_again(
    nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path
) -> None:
    config = _including(nsd, internet, tmp_path)
    lines = tmp_path / "names.txt"
    lines.write_text("flat.example.net one.test\n")
    (tmp_path / "conf.d" / "a.toml").write_text('[flatten."example.com"]\ntarget = "two.test"\n')
    proxy = start(config)
    assert _addresses(proxy, "flat.example.net") == ["203.0.113.1"]
    assert _addresses(proxy, "example.com") == ["203.0.113.2"]

    lines.write_text("".join(f"n{number}.example.net one.test\n" for number in range(MANY)))
    (tmp_path / "conf.d" / "a.toml").unlink()
    proxy.reload(config)
    assert _addresses(proxy, f"n{MANY - 1}.example.net") == ["203.0.113.1"]
    assert _addresses(proxy, "flat.example.net") == ["192.0.2.1"], "the placeholder of the zone"
    whole = hashlib.sha256(proxy.path.read_bytes() + lines.read_bytes()).hexdigest()
    assert {labels["sha256"] for labels, _ in proxy.metrics().samples("config_info")} == {whole}


def test_a_wrong_line_leaves_all_as_it_was(nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path) -> None:
    lines = tmp_path / "names.txt"
    lines.write_text("flat.example.net one.test\n")
    proxy = start(_including(nsd, internet, tmp_path))
    lines.write_text("flat.example.net two.test\nother.example.net\n")
    failed = proxy.reload(proxy.config, "reload_failed")
    assert f"{lines}:2: " in failed["error"]
    assert _addresses(proxy, "flat.example.net") == ["203.0.113.1"]
    assert proxy.metrics().value("config_reload_success") == 0


def test_check_says_file_and_line(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(_including(nsd, internet, tmp_path))
    (tmp_path / "names.txt").write_text("# ours\nflat.example.net 192.0.2.1\n")
    done = run("check", "--config", str(path))
    assert done.code == 2
    assert f'{tmp_path}/names.txt:2: "flat.example.net": an IP address is not a name' in done.out + done.err


def test_check_looks_at_some_of_very_many_names_and_says_so(nsd: Nsd, internet: FakeInternet, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"
    path.write_text(_including(nsd, internet, tmp_path))
    for count, told in ((2_000, []), (5_000, [("info", "flatten")])):
        lines = [f"n{number}.example.net one.test\n" for number in range(count)]
        (tmp_path / "names.txt").write_text("".join(lines))
        done = run("check", "--config", str(path), "--json")
        assert done.code == 0
        assert [found for found in done.findings("info") if found[1] == "flatten"] == told
    (what,) = [found["what"] for found in done.json["findings"] if found["key"] == "flatten"]
    assert what.startswith("of the 5,000 flagged names, every 3. was looked at on the nameserver, 1,667 in all")
    looked_at = [found for found in done.json["findings"] if found["key"].startswith('flatten."n')]
    assert 1_000 < len(looked_at) < 2_000
