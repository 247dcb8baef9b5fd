"""`[flatten."NAME".health]`: how the addresses of a name's targets are checked, and what of it goes together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import evolve, fields, frozen

from flatproxy.config import names, values
from flatproxy.config.problems import Refusal, join, kind_of, problem, quoted
from flatproxy.config.rules import Check, Checking
from flatproxy.config.tables import TableReader
from flatproxy.errors import Problem
from flatproxy.wire import names as wire_names

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Final = {"http": 80, "https": 443}
_EXAMPLE = 'check = "https"'
_OF_HTTP = ("path", "host", "status")
_OF_HTTPS = ("verify", "ca_file")
_STATUS_EXAMPLE = '["200-399"]'


@frozen(kw_only=True)
class _Table(Check):
    """The table as it is written."""

    minimum: float = 0.5


def _path(value: object) -> str:
    example = '"/healthz"'
    path = values.text(value, "a path", example)
    if not path.startswith("/"):
        raise Refusal("the path of a URL begins with a slash", quoted(f"/{path}") if path.isprintable() else example)
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise Refusal("blanks, # and what is not ASCII do not stand in a URL", "it percent-encoded, like %20")
    return path


def _host(value: object) -> str:
    return wire_names.to_text(names.target(value))


def _status(value: object) -> tuple[int, int]:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    low, dash, high = text.partition("-") if isinstance(text, str) else ("", "", "")
    if not dash:
        high = low
    if not all(len(each) == 3 and each.isascii() and each.isdigit() for each in (low, high)):
        raise Refusal('a status is a string of one code or of two with a hyphen between, like "200-399"', '"200-399"')
    if not 100 <= int(low) <= 599 or not 100 <= int(high) <= 599:
        raise Refusal("statuses are 100 to 599", '"200-399"')
    if int(low) > int(high):
        raise Refusal("the lower one comes first", quoted(f"{high}-{low}"))
    return int(low), int(high)


def _ca_file(value: object) -> Path:
    example = '"/etc/ssl/internal-ca.pem"'
    path = values.text(value, "a path", example)
    if not path or "\0" in path:
        raise Refusal("not the path of a file", example)
    return Path(path)


def _share(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Refusal(f"a number is needed, not {kind_of(value)}", "0.5")
    if not 0 <= value <= 1:
        raise Refusal("a share is a number from 0 to 1", f"{value / 100:g}" if 1 < value <= 100 else "0.5")
    return float(value)


HEALTH: Final = TableReader(
    _Table,
    {
        "kind": values.choice(("tcp", "http", "https"), "addresses are checked by tcp, http or https"),
        "port": values.whole_number(1, 65_535, "443"),
        "host": _host,
        "path": _path,
        "status": values.array(_status, example=_STATUS_EXAMPLE, empty="without a status every answer is bad"),
        "verify": values.flag,
        "ca_file": _ca_file,
        "interval_s": values.whole_seconds(1, "1h", '"10s"'),
        "timeout_s": values.timeout('"3s"'),
        "fall": values.whole_number(1, 100, "3"),
        "rise": values.whole_number(1, 100, "2"),
        "minimum": _share,
    },
)
"""`[flatten."NAME".health]`."""


def read_health(raw: object, name: str, path: str, problems: list[Problem]) -> Checking | None:
    """Return what the table at `path`, under a flagged name, says; None where it is wrong, and `problems` says how."""
    if not isinstance(raw, dict):
        example = f"[{path}]\n{_EXAMPLE}"
        problems.append(problem(path, raw, Refusal(f"a table is needed, not {kind_of(raw)}", example)))
        return None
    known = len(problems)
    kind = raw.get("check")
    if kind == "tcp" and "port" not in raw:
        problems.append(Problem(key=join(path, "port"), reason='is required where check is "tcp"', write="port = 443"))
    table = HEALTH.read({"port": _PORTS.get(str(kind), 443), **raw}, path, problems)
    problems += _useless(raw, path)
    if table is None or len(problems) > known:
        return None
    if table.timeout_s >= table.interval_s:
        refusal = Refusal(f"not below interval, which is {table.interval_s:g}s", quoted(f"{table.interval_s / 2:g}s"))
        key = "timeout" if "timeout" in raw else "interval"
        if key == "interval":
            refusal = Refusal(f"not above timeout, which is {table.timeout_s:g}s", 'timeout = "500ms"')
        problems.append(problem(join(path, key), raw[key], refusal))
        return None
    check = Check(**{each.name: getattr(table, each.name) for each in fields(Check)})
    if check.kind != "tcp" and not check.host:
        check = evolve(check, host=name)
    return Checking(check=check, minimum=table.minimum)


def _useless(raw: Mapping[str, object], path: str) -> list[Problem]:
    """Return what stands in a table in vain."""
    kind = raw.get("check")
    vain = {"tcp": (*_OF_HTTP, *_OF_HTTPS), "http": _OF_HTTPS}.get(str(kind), ())
    found = [
        problem(
            join(path, key),
            raw[key],
            Refusal(f"of no use where check is {quoted(str(kind))}", 'check = "https", or leave the line out'),
        )
        for key in vain
        if key in raw
    ]
    if raw.get("verify") is False and "ca_file" in raw:
        refusal = Refusal("nothing is verified with it where verify is false", "one of the two")
        found.append(problem(join(path, "ca_file"), raw["ca_file"], refusal))
    return found
