from __future__ import annotations

from flatproxy.diagnose.check_text import render
from flatproxy.diagnose.findings import Finding, Report, TargetReport, error, fine, warning
from flatproxy.diagnose.text import WIDTH
from flatproxy.diagnose.traces import Walk
from flatproxy.errors import UpstreamTimeout
from flatproxy.flatten.chain import Found


def lines(*findings: Finding, targets: tuple[TargetReport, ...] = ()) -> list[str]:
    return list(render(Report(file="flatproxy.toml", findings=findings, targets=targets)))


def target(name: str, *walks: Walk, names: tuple[str, ...] = ("example.com",)) -> TargetReport:
    return TargetReport(target=name, names=names, walks=walks)


def addresses(rdtype: str, *chain: str) -> Walk:
    rdata = bytes(3) + b"\1" if rdtype == "A" else bytes(15) + b"\1"
    return Walk(rdtype=rdtype, found=Found(rdatas=(rdata,), ttl_s=30, names=chain, outcome="addresses"))


def test_nothing_found_is_one_line() -> None:
    assert lines() == ["flatproxy.toml: fine"]


def test_each_finding_says_where_what_and_what_to_do() -> None:
    assert lines(
        error("upstream.servers[0]", "192.0.2.53:53", "does not answer", "start it"),
        fine("resolver.servers[0]", "192.0.2.1:53", "answers"),
    ) == [
        "Nameservers",
        "  ERROR    upstream.servers[0]  192.0.2.53:53",
        "             does not answer",
        "             → start it",
        "",
        "Resolvers",
        "  ok       resolver.servers[0]  192.0.2.1:53",
        "             answers",
        "",
        "flatproxy.toml: not as it should be (1 error, 0 warnings)",
    ]


def test_findings_that_differ_in_their_place_only_are_told_once() -> None:
    found = [warning(f'flatten."{number}.test"', "", "no such name", "add it") for number in range(1000)]
    text = lines(*found)
    assert len(text) == 1 + 4 + 1 + 2 + 1 + 1
    assert text[1] == '  warning  flatten."0.test"'
    assert text[2] == '           flatten."1.test"'
    assert text[5] == "           and 996 more (--json lists them)"
    assert text[-1] == "flatproxy.toml: fine, but look at the warnings (0 errors, 1000 warnings)"


def test_a_target_shows_its_chain_once_where_both_types_share_it() -> None:
    chain = ("lb.test", "edge.test")
    assert lines(targets=(target("lb.test", addresses("A", *chain), addresses("AAAA", *chain)),)) == [
        "Targets",
        "  lb.test  for example.com",
        "    A     TTL 30  0.0.0.1",
        "    AAAA  TTL 30  ::1",
        "    chain: lb.test → edge.test",
        "",
        "flatproxy.toml: fine",
    ]


def test_chains_that_differ_are_told_apart() -> None:
    text = lines(
        targets=(target("lb.test", addresses("A", "lb.test", "a.test"), addresses("AAAA", "lb.test", "b.test")),)
    )
    assert text[4:6] == ["    chain (A): lb.test → a.test", "    chain (AAAA): lb.test → b.test"]


def test_what_fails_comes_first_and_the_rest_is_counted() -> None:
    good = [target(f"{number}.test", addresses("A", f"{number}.test")) for number in range(100)]
    text = lines(targets=(*good, target("bad.test", Walk(rdtype="A", error=UpstreamTimeout("slow")))))
    assert text[1:3] == ["  bad.test  for example.com", "    A  slow"]
    assert "  and 61 more (--json lists them)" in text


def test_lines_stay_within_the_width() -> None:
    text = lines(
        warning("upstream.servers[0]", "192.0.2.53:53", "what " * 80, "do " * 80),
        targets=(target("lb.test", addresses("A", *(f"hop{number}.example.test" for number in range(16)))),),
    )
    assert max(map(len, text)) <= WIDTH
