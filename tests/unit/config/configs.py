"""What the tests of the configuration start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from flatproxy.config.load import to_settings
from flatproxy.config.problems import Refusal
from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MINIMAL = """
[listen]
dns = ["127.0.0.1:0"]
[upstream]
servers = ["192.0.2.53"]
[access]
zones = ["example.com"]
"""


def minimal() -> dict[str, Any]:
    """What `tomllib` makes of MINIMAL."""
    return {
        "listen": {"dns": ["127.0.0.1:0"]},
        "upstream": {"servers": ["192.0.2.53"]},
        "access": {"zones": ["example.com"]},
    }


def flattened(**tables: object) -> dict[str, Any]:
    """MINIMAL with these other tables."""
    return {**minimal(), **tables}


def problems(raw: dict[str, Any]) -> tuple[Problem, ...]:
    try:
        to_settings(raw)
    except ConfigError as error:
        return error.problems
    return ()


def keys(raw: dict[str, Any]) -> list[str]:
    return [problem.key for problem in problems(raw)]


def outcome(read: Callable[[object], T], value: object) -> T | Refusal:
    """What a reader returns, or its refusal."""
    try:
        return read(value)
    except Refusal as refusal:
        return refusal
