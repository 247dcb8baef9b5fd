"""Draws the plots of `docs/performance.md` as SVG. Needs matplotlib, from the extra `bench`."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench.comparison import DISTRIBUTION
from bench.verdicts import Result, figure, rounds
from bench.works import FLATPROXY

if TYPE_CHECKING:
    from pathlib import Path

THROUGHPUT: Final = ("forwarded UDP", "flattened UDP", "forwarded TCP", "mixed UDP")
_OURS: Final = "#1f6f8b"
_OTHERS: Final = "#b8bec4"
_LINES: Final = ("#1f6f8b", "#7fb7c9", "#d1495b", "#8d6a9f", "#b8bec4")


def write(result: Result, growth: dict[str, Any], folder: Path) -> None:
    """Write every plot; the same results give the same octets."""
    import matplotlib as mpl  # noqa: PLC0415 - optional: everything else works without it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "flatproxy"
    mpl.rcParams["font.size"] = 9
    mpl.rcParams["axes.spines.top"] = mpl.rcParams["axes.spines.right"] = False
    folder.mkdir(exist_ok=True)
    _save(_bars(result, "qps", "thousand queries a second", 1e-3), folder / "throughput.svg")
    _save(_bars(result, "cpu_us", "µs of CPU a query", 1.0), folder / "cpu.svg")
    _save(_latency(result), folder / "latency.svg")
    _save(_growth(growth), folder / "growth.svg")


def _save(drawing: Any, path: Path) -> None:  # noqa: ANN401 - a Figure of an optional library
    import matplotlib.pyplot as plt  # noqa: PLC0415

    drawing.tight_layout()
    drawing.savefig(path, metadata={"Date": None})
    plt.close(drawing)
    path.write_text("".join(f"{line.rstrip()}\n" for line in path.read_text().splitlines()))


def _bars(result: Result, name: str, label: str, scale: float) -> Any:  # noqa: ANN401
    """Draw the medians as bars, every single round as a dot."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    drawing, panels = plt.subplots(2, 2, figsize=(8.5, 5))
    for panel, work in zip(panels.flat, THROUGHPUT, strict=True):
        servers = list(result["works"][work])
        values = [figure(result, work, server, name) * scale for server in servers]
        colours = [_OURS if server.startswith(FLATPROXY) else _OTHERS for server in servers]
        panel.barh(servers, values, color=colours, height=0.6)
        for row, server in enumerate(servers):
            dots = [value * scale for value in rounds(result, work, server, name)]
            panel.plot(dots, [row] * len(dots), ".", color="black", markersize=4)
        panel.invert_yaxis()
        panel.set_title(work, loc="left", fontweight="bold")
        panel.set_xlabel(label)
    return drawing


def _latency(result: Result) -> Any:  # noqa: ANN401
    """Draw for each server the median over the rounds of each quantile."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    drawing, panels = plt.subplots(1, 2, figsize=(8.5, 3.4), sharey=True)
    for panel, work in zip(panels, ("latency, forwarded", "latency, flattened"), strict=True):
        for colour, (server, each) in zip(_LINES, result["works"][work].items(), strict=False):
            quantiles = [median(values) for values in zip(*(one["percentiles_ms"] for one in each), strict=True)]
            rarity = [1 / (1 - share) for share in DISTRIBUTION]
            panel.plot(rarity, quantiles, marker=".", label=server, color=colour)
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks([2, 10, 100, 1000], ["50 %", "90 %", "99 %", "99.9 %"])
        panel.set_title(f"{work}, 5,000 q/s", loc="left", fontweight="bold")
        panel.set_xlabel("share of the queries answered within")
        panel.legend(frameon=False)
    panels[0].set_ylabel("ms")
    return drawing


def _growth(growth: dict[str, Any]) -> Any:  # noqa: ANN401
    """Draw throughput, start and memory over the number of names."""
    import matplotlib.pyplot as plt  # noqa: PLC0415

    counts = [int(count) for count in growth["names"]]
    names = list(growth["names"].values())
    drawing, panels = plt.subplots(1, 3, figsize=(8.5, 2.8))
    drawn = (
        ("thousand queries a second", [each["qps"] / 1e3 for each in names]),
        ("s to the first answer", [each["first_answer_s"] for each in names]),
        ("MiB resident", [each["rss_bytes"] / 2**20 for each in names]),
    )
    for panel, (label, values) in zip(panels, drawn, strict=True):
        panel.plot(counts, values, marker="o", color=_OURS)
        panel.set_xscale("log")
        panel.set_ylim(bottom=0)
        panel.set_xlabel("flagged names")
        panel.set_title(label, loc="left")
    return drawing
