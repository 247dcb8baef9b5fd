"""How the pages look: templates, style and script, read once from the package. Everything that is shown is escaped."""

from __future__ import annotations

from importlib import resources
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE: Final = "flatproxy.observe.pages"
_FILES: Final = {
    b"/style.css": (b"text/css; charset=utf-8", "style.css"),
    b"/page.js": (b"text/javascript; charset=utf-8", "page.js"),
    b"/icon.svg": (b"image/svg+xml", "icon.svg"),
    b"/api/openapi.json": (b"application/json", "openapi.json"),
}
DASH: Final = "\N{EN DASH}"
"""What stands where there is nothing to say."""
PIECE_S: Final = 0.001
"""A page is rendered in pieces of about this time."""
_UNITS = (("d", 86400), ("h", 3600), ("min", 60))


def span(seconds: float | None) -> str:
    """Return a duration as people say it: `3 d`, `2 h`, `95 s`; a dash where there is none."""
    if seconds is None:
        return DASH
    unit, size = next(((unit, size) for unit, size in _UNITS if seconds >= 2 * size), ("s", 1))
    return f"{int(seconds // size)} {unit}"


def latency(seconds: float | None) -> str:
    """Return a short duration in milliseconds; a dash where there is none."""
    if seconds is None:
        return DASH
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2g} s"


def share(part: float | None) -> str:
    """Return a share in percent: never 0 where it is not, a dash where there is none."""
    if part is None:
        return DASH
    return f"{part:.1%}" if part >= 0.001 or not part else "< 0.1%"


def clock(moment: str, at: str) -> str:
    """Return a time of a report made at `at`, without its date where that is today's."""
    day, time = moment.removesuffix("Z").split("T")
    return time if at.startswith(day) else f"{day} {time}"


def name_path(name: str) -> str:
    """Return the path of a name's page."""
    return f"/names/{quote(name, safe='')}"


def listing_path(query: str, page: int) -> str:
    """Return the path of a page of names."""
    return "/?" + urlencode({"query": query, "page": page} if query else {"page": page})


class Look:
    """What does not change while the service runs. `files` has kind and octets by path."""

    def __init__(self) -> None:
        static = resources.files(_PACKAGE) / "static"
        self.files = {path: (kind, (static / file).read_bytes()) for path, (kind, file) in _FILES.items()}
        self._templates = Environment(
            loader=PackageLoader(_PACKAGE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {
            "span": span,
            "latency": latency,
            "share": share,
            "clock": clock,
            "name_path": name_path,
        }
        self._templates.globals["listing_path"] = listing_path
        for template in ("overview.html", "name.html"):  # compiled before anybody waits for it
            self._templates.get_template(template)

    def rendered(self, template: str, values: dict[str, Any]) -> Iterator[str]:
        """Yield a page in pieces."""
        began, parts = perf_counter(), []
        for part in self._templates.get_template(template).generate(values):
            parts.append(part)
            if perf_counter() - began > PIECE_S:
                yield "".join(parts)
                began, parts = perf_counter(), []
        yield "".join(parts)
