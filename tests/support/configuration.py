"""A configuration file of flatproxy, written from values."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .ports import Address, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOOPBACK = ("127.0.0.0/8", "::1/128")


def configuration(
    *,
    upstream: Sequence[Address],
    resolver: Sequence[Address] = (("127.0.0.1", 9),),
    flatten: Mapping[str, Mapping[str, object]] | None = None,
    dns: Sequence[str] = ("127.0.0.1:0",),
    zones: Sequence[str] = ("example.com", "example.net", "signed.test", "dynamic.test"),
    tables: Mapping[str, Mapping[str, object]] | None = None,
    **more: Mapping[str, object],
) -> str:
    """Write a whole file. `more` and `tables` add keys to tables: `access={"transfer": [...]}`, `upstream_={...}`."""
    content: dict[str, dict[str, object]] = {
        "listen": {"dns": list(dns), "http": "127.0.0.1:0"},
        "upstream": {"servers": [text(address) for address in upstream], "timeout": "2s"},
        "access": {"zones": list(zones)},
        # What is told of the internet of the tests are addresses of documentation.
        "defaults": {"special": "allow"},
        "resolver": {"servers": [text(address) for address in resolver], "timeout": "5s"},
    }
    for name, extra in {**more, **(tables or {})}.items():
        content.setdefault(name.rstrip("_"), {}).update(extra)
    lines = [_table(name, keys) for name, keys in content.items()]
    lines += [_table(f'flatten."{name}"', keys) for name, keys in (flatten or {}).items()]
    return "\n".join(lines)


def _table(name: str, keys: Mapping[str, object]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {_written(value)}\n" for key, value in keys.items())


def _written(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_written(each)}" for key, each in value.items()) + "}"
    # Strings and lists of strings are written alike in JSON and TOML.
    return json.dumps(value)
