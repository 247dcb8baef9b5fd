"""Single values as a configuration writes them: words, durations, paths, and arrays of values. Nothing is coerced.

Each reader takes what TOML had, returns the value of the settings and raises `Refusal`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import TypeVar

from flatproxy.config.problems import ItemRefusals, Refusal, kind_of, quoted
from flatproxy.config.settings import Endpoint

T = TypeVar("T")
Reader = Callable[[object], T]

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_UNIT_S = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}


def text(value: object, what: str, example: str) -> str:
    """Return the value, which must be a string."""
    if not isinstance(value, str):
        raise Refusal(f"{what} is a string, not {kind_of(value)}", example)
    return value


def choice(options: tuple[str, ...], reason: str) -> Reader[str]:
    """Return a reader of one of these words; `reason` is said of any other."""

    def read(value: object) -> str:
        if isinstance(value, str) and value in options:
            return value
        near = [option for option in options if isinstance(value, str) and value.strip().lower() == option.lower()]
        raise Refusal(reason, " or ".join(quoted(option) for option in near or options))

    return read


def flag(value: object) -> bool:
    """Return the value, which must be true or false."""
    if not isinstance(value, bool):
        raise Refusal(f"true or false is needed, not {kind_of(value)}", "true or false, without quotes")
    return value


def whole_number(low: int, high: int, example: str) -> Reader[int]:
    """Return a reader of a whole number from `low` to `high`."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refusal(f"a whole number is needed, not {kind_of(value)}", example)
        if not low <= value <= high:
            raise Refusal(f"a number from {low} to {high} is needed", example)
        return value

    return read


def file_path(example: str) -> Reader[Path]:
    """Return a reader of the path of a file."""

    def read(value: object) -> Path:
        path = text(value, "a path", example)
        if not path or "\0" in path:
            raise Refusal("not the path of a file", example)
        return Path(path)

    return read


def key_path(value: object) -> Path:
    """Return the path of a pair of key files, without `.key` and `.private`."""
    example = '"/etc/flatproxy/keys/Kexample.com.+013+34567"'
    path = text(value, "a path", example)
    if not path or "\0" in path:
        raise Refusal("not the path of a pair of key files", example)
    return Path(path.removesuffix(".key").removesuffix(".private"))


def one_or_more(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """Return a reader of one value, or of an array of them without duplicates."""
    several = array(read, example="one of them, or an array", empty="there must be at least one")

    def read_all(value: object) -> tuple[T, ...]:
        return several(value) if isinstance(value, list) else (read(value),)

    return read_all


def timeout(example: str) -> Reader[float]:
    """Return a reader of a timeout in seconds, more than 0 and at most 60."""

    def read(value: object) -> float:
        span = parse_duration(value) if isinstance(value, str) else None
        if span is None:
            raise _no_duration(value, read, example)
        if not 0 < span <= 60:
            raise Refusal("a timeout is more than 0s and at most 60s", '"60s"' if span else example)
        return float(span)

    return read


def whole_seconds(low_s: int, high: str, example: str) -> Reader[int]:
    """Return a reader of a duration in whole seconds, from `low_s` to the duration `high`."""
    high_s = parse_duration(high)
    if high_s is None:
        raise ValueError(high)

    @lru_cache(maxsize=256)  # many names, few durations
    def whole(duration: str) -> int | None:
        span = parse_duration(duration)
        if span is None:
            return None
        if not low_s <= span <= high_s:
            raise Refusal(f"out of range: it is {low_s}s to {high}", quoted(high if span > high_s else f"{low_s}s"))
        if span.denominator != 1:
            raise Refusal("whole seconds only", quoted(f"{ceil(span)}s"))
        return int(span)

    def read(value: object) -> int:
        seconds = whole(value) if isinstance(value, str) else None
        if seconds is None:
            raise _no_duration(value, read, example)
        return seconds

    return read


def _no_duration(value: object, read: Reader[object], example: str) -> Refusal:
    """Return the refusal of what is not a duration; what was probably meant is suggested where `read` would take it."""
    meant = ""
    if isinstance(value, int | float) and 0 <= value < 10**9:
        meant = f"{value}s"
    elif isinstance(value, str):
        meant = "".join(value.split()).lower()
        meant += "s" if meant[-1:].isdigit() else ""
    try:
        write = quoted(meant) if meant and meant != value and read(meant) is not None else example
    except Refusal:
        write = example
    return Refusal('a duration is a string of a number and a unit (ms, s, m, h, d), like "1.8s"', write)


def parse_duration(duration: str) -> Fraction | None:
    """Return the exact seconds of `"1.8s"`; None where the text is not a duration."""
    found = _DURATION.fullmatch(duration)
    return Fraction(found[1]) * _UNIT_S[found[2]] if found else None


def array(read: Reader[T], *, example: str, empty: str = "") -> Reader[tuple[T, ...]]:
    """Return a reader of an array without duplicates; `empty` is said of one without items, where it must have some."""

    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            write = (
                f"[{quoted(value)}]"
                if isinstance(value, str) and not isinstance(_try(read, value), Refusal)
                else example
            )
            raise Refusal(f"an array of strings is needed, not {kind_of(value)}", write)
        if empty and not value:
            raise Refusal(empty, example)
        items: list[T] = []
        first: dict[T, int] = {}
        refusals: list[tuple[int, Refusal]] = []
        for index, item in enumerate(value):
            result = _try(read, item)
            # Several listeners may have port 0: each gets a port of its own.
            if not isinstance(result, Refusal) and first.setdefault(result, index) != index and not _any_port(result):
                result = Refusal(f"the same as item [{first[result]}]", "each only once: leave this one out")
            if isinstance(result, Refusal):
                refusals.append((index, result))
            else:
                items.append(result)
        if refusals:
            raise ItemRefusals(refusals)
        return tuple(items)

    return read_all


def _try(read: Reader[T], value: object) -> T | Refusal:
    try:
        return read(value)
    except Refusal as refusal:
        return refusal


def _any_port(value: object) -> bool:
    return isinstance(value, Endpoint) and value.port == 0
