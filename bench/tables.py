"""Writes the tables of `docs/performance.md` from results, between its markers. Everything outside them is prose."""

from __future__ import annotations

import re
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import verdicts
from bench.verdicts import BEFORE_TARGETS, FIGURES, MEMORY_BYTES, MIB, START_S, TARGETS, Result, Target, figure, ratio
from bench.works import FLATPROXY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

TIMES = "\u00d7"
_VERDICT = {True: "met", False: "**missed**", None: ""}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def judged(result: Result, targets: Iterable[Target]) -> list[tuple[str, ...]]:
    """Return a row for each target: what was measured, and whether that is met."""
    rows: list[tuple[str, ...]] = []
    for target in targets:
        bound = "" if target.bound is None else f"{'≤' if target.less_is_better else '≥'} {target.bound:.2f} {TIMES}"
        row = (f"{target.work}: {FIGURES[target.figure]}", target.server, target.against, bound)
        got = ratio(result, target)
        if got is None:
            rows.append((*row, "not measured", "", ""))
        else:
            spread = f"{got.least:.2f} to {got.most:.2f}"
            rows.append((*row, f"{got.value:.2f} {TIMES}", spread, _VERDICT[target.met(got.value)]))
    return rows


_JUDGED = ("work", "server", "against", "target", "measured", "single rounds", "")


def before(result: Result) -> str:
    """Return the table of what flatproxy needs beside one of before."""
    return _table(_JUDGED, judged(result, BEFORE_TARGETS))


def targets(result: Result) -> str:
    """Return the table of targets and what was measured."""
    rows = judged(result, TARGETS)
    start = median(result["start_s"][FLATPROXY])
    starts = f"{min(result['start_s'][FLATPROXY])} to {max(result['start_s'][FLATPROXY])} s"
    rows.append(("start to first flattened answer", FLATPROXY, "", f"≤ {START_S:g} s", f"{start:.2f} s", starts,
                 _VERDICT[start <= START_S]))  # fmt: skip
    memory = result["rss_idle_bytes"][FLATPROXY]
    rows.append(("resident memory, idle", FLATPROXY, "", f"≤ {MEMORY_BYTES // MIB} MiB", f"{memory / MIB:.0f} MiB", "",
                 _VERDICT[memory <= MEMORY_BYTES]))  # fmt: skip
    return _table(_JUDGED, rows)


def figures(result: Result) -> str:
    """Return the table of medians behind the ratios."""
    rows = []
    for work, servers in result["works"].items():
        for server in servers:
            row = [work, server, f"{figure(result, work, server, 'qps'):,.0f}"]
            row.append(f"{figure(result, work, server, 'cpu_us'):.1f} µs")
            row.append(f"{_kernel_share(servers[server]):.0%}")
            has_latency = "median_ms" in servers[server][0]
            row += [
                f"{figure(result, work, server, name):.3f} ms" if has_latency else ""
                for name in ("median_ms", "p99_ms", "p999_ms")
            ]
            rows.append(row)
    return _table(("work", "server", "q/s", "CPU a query", "in the kernel", "median", "p99", "p99.9"), rows)


def _kernel_share(rounds: Sequence[Mapping[str, float]]) -> float:
    user, system = (sum(each[f"server_{mode}_s"] for each in rounds) for mode in ("user", "system"))
    return system / (user + system) if user + system else 0.0


def others(result: Result) -> str:
    """Return start-up times and memory of all servers."""
    rows = []
    for server, idle in result["rss_idle_bytes"].items():
        starts = result["start_s"].get(server)
        after = result["rss_after_bytes"][server]
        start = f"{median(starts):.2f} s" if starts else ""
        rows.append((server, start, f"{idle / MIB:.0f} MiB", f"{after / MIB:.0f} MiB"))
    return _table(("server", "start to first answer", "memory, idle", "memory after the load"), rows)


def growth(result: dict[str, Any]) -> str:
    """Return what names cost."""
    rows = []
    base = next(iter(result["names"].values()))["qps"]
    for count, names in result["names"].items():
        rows.append((
            f"{int(count):,}",
            f"{names['load_s']:.2f} s",
            f"{names['first_answer_s']:.2f} s",
            f"{names['all_flattened_s']:.2f} s",
            f"{names['rss_bytes'] / MIB:.0f} MiB",
            f"{names['bytes_a_name']}" if names["bytes_a_name"] else "",
            f"{names['qps']:,.0f}",
            f"{names['qps'] / base:.2f} {TIMES}",
            f"{median(each['cpu_us'] for each in names['rounds']):.1f} µs",
        ))  # fmt: skip
    head = (
        "names",
        "configuration loaded",
        "first answer",
        "all flattened",
        "memory",
        "octets a name",
        "q/s",
        "of one name",
        "CPU a query",
    )
    return _table(head, rows)


def reloads(result: dict[str, Any]) -> str:
    """Return what clients saw of a reload under load."""
    rows = [
        (
            f"{int(count):,}",
            f"{names['reload']['took_s']:.2f} s",
            str(names["reload"]["lost"]),
            *(f"{names['reload'][f'{name}_ms']:.1f} ms" for name in ("median", "p99", "p999")),
            f"{names['reload']['plain_p999_ms']:.1f} ms",
        )
        for count, names in result["names"].items()
        if "reload" in names
    ]
    return _table(("names", "reload", "queries lost", "median", "p99", "p99.9", "p99.9 without a reload"), rows)


def refresh(result: dict[str, Any]) -> str:
    """Return what each phase brought, and below it what is said of several."""
    rows = []
    for name, each in result["phases"].items():
        kinds = (f"{share:.1%}" for share in each["samples"].values())
        seen = (
            f"{each[load]['median_ms']:.2f} / {each[load]['p99_ms']:.1f} ms, {each[load]['lost']} lost"
            for load in ("forwarded", "hot")
        )
        asked = (f"{each['asked']:,.0f}", f"{each['asked_most']:,}")
        rows.append((name, f"{each['seconds']:.0f} s", *asked, f"{each['cpu_share']:.0%}", *kinds, *seen))
    head = ("phase", "long", "questions a second", "at most", "CPU", "fresh", "stale", "cold")
    after = {key: _after(result[key]) for key in result if key.endswith("_s") and key != "ttl_s"}
    return (
        _table((*head, "forwarded, median / p99", "hot, median / p99"), rows)
        + f"\n\n{result['targets']:,} targets of two types, TTL {result['ttl_s']} s, "
        f"{result['rss_bytes'] / MIB:.0f} MiB. From a cold start every target was resolved {after['all_asked_s']}, "
        f"and 99 % of the answers fresh {after['converged_s']}. After the outage the hot targets were resolved "
        f"{after['hot_again_s']}, every target {after['all_again_s']}, and 99 % of the answers fresh "
        f"{after['fresh_again_s']}; the most questions a second were {result['herd']:.2f} {TIMES} the median of before."
    )


def _after(seconds: float | None) -> str:
    return "not while it was measured" if seconds is None else f"after {seconds:.1f} s"


def safety(result: dict[str, Any]) -> str:
    """Return each case beside the plain one of its group, the last one before it whose name begins with that word."""
    rows = []
    for name, case in result["cases"].items():
        if name.startswith("plain"):
            plain = case
        memory = f"{case['rss_before'] / MIB:.0f} → {case['rss_after'] / MIB:.0f} MiB"
        ratios = [f"{case[figure] / plain[figure]:.2f} {TIMES}" for figure in ("qps", "cpu_us")]
        rows.append((name, f"{case['qps']:,.0f}", ratios[0], f"{case['cpu_us']:.1f} µs", ratios[1], memory))
    return _table(("case", "q/s", "of plain", "CPU a query", "of plain", "memory before → after"), rows)


def circumstances(result: dict[str, Any]) -> str:
    """Return where and when it was measured."""
    machine, versions = result["machine"], result["versions"]
    load = " and ".join("/".join(f"{each:.2f}" for each in result[key]["load_average"]) for key in ("start", "end"))
    told = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "commit")
    text = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mib']:,} MiB, Linux {machine['kernel']}, "
        f"{machine['system']}. {told}; commit {versions['commit']}. {result['start']['at']} to {result['end']['at']}; "
        f"load average (1/5/15 minutes) at the start and the end: {load}."
    )
    if "before" in result:
        text += f" Before is commit {result['before']}."
    if not result.get("native", True):
        text += " No native packet path was built: both flavours of flatproxy are the same program."
    if "works" in result:
        text += f" {result['rounds']} rounds of {result['seconds']:g} s."
        lost = ", ".join(f"{name} {count}" for name, count in verdicts.lost(result).items())
        text += f" Queries lost over all rounds: {lost or 'none'}."
    return text


def filled(document: str, blocks: dict[str, str]) -> str:
    """Return the document with each block between its markers replaced; it is an error where markers are missing."""
    for name, block in blocks.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        parts = pattern.split(document)
        if len(parts) != 2:
            raise ValueError(f"{begin} … {end} stands {len(parts) - 1} times in the document")
        document = f"{parts[0]}{begin}\n{block}\n{end}{parts[1]}"
    return document
