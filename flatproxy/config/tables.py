"""One table of the file to one class of the settings, by cattrs. It looks at one table at a time and at no file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from cattrs import Converter, override
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn

from flatproxy.config import addresses, names, values
from flatproxy.config.problems import key_of, problems_of
from flatproxy.config.settings import Access, Limits, Listen, Resolver, Rule, State, Upstream
from flatproxy.wire import types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flatproxy.config.values import Reader
    from flatproxy.errors import Problem

T = TypeVar("T")

_NETWORKS = values.each(addresses.network, example='["192.0.2.0/24", "2001:db8::/32"]')
_DEFAULT_TYPES = Rule(target=b"").types
_types = values.each(
    values.choice(types.TEXTS, f"only {' and '.join(types.TEXTS)} can be flattened"),
    example='["A", "AAAA"]',
    empty="without a type nothing is flattened",
)


def _read_types(value: object) -> frozenset[str]:
    return _DEFAULT_TYPES if value == ["A", "AAAA"] else frozenset(_types(value))


read_listen_dns = addresses.listen_endpoint(addresses.DNS_PORT)
read_listen_http = addresses.listen_endpoint(9353)
read_zones = values.each(
    names.zone,
    example='["example.com"], with the zones of the nameserver; or ["."] for every name',
    empty="without a zone every query is refused",
)

_READERS: dict[type, dict[str, Reader[Any]]] = {
    Listen: {
        "dns": values.each(
            read_listen_dns, example='["0.0.0.0:53", "[::]:53"]', empty="without an address nobody can ask"
        ),
        "http": read_listen_http,
        "proxy_from": _NETWORKS,
    },
    Upstream: {
        "servers": values.each(
            addresses.server, example='["192.0.2.53:53"]', empty="without a server nothing can be forwarded"
        ),
        "timeout_s": values.timeout('"2s"'),
        "proxy_protocol": values.flag,
    },
    Access: {
        "zones": read_zones,
        "query": _NETWORKS,
        "transfer": _NETWORKS,
        "update": _NETWORKS,
        "notify": _NETWORKS,
    },
    Resolver: {
        "servers": values.each(
            addresses.resolver, example='["system"]', empty="without a server no target can be resolved"
        ),
        "timeout_s": values.timeout('"1.8s"'),
    },
    Rule: {
        "target": names.target,
        "types": _read_types,
        "max_ttl_s": values.whole_seconds(1, "7d", '"300s"'),
        "min_ttl_s": values.whole_seconds(0, "7d", '"0s"'),
        "stale_for_s": values.whole_seconds(0, "365d", '"1d"'),
        "stale_ttl_s": values.whole_seconds(0, "7d", '"30s"'),
        "any": values.choice(("hinfo", "forward"), "ANY is answered with HINFO or forwarded"),
        "fallback": values.each(addresses.address, example='["192.0.2.10", "2001:db8::10"]'),
    },
    Limits: {
        "responses_per_second": values.count(0, 1_000_000, "50, or 0 for no limit"),
        "slip": values.count(0, 10, "2, or 0 to drop all that is too much"),
        "queries_per_second": values.count(0, 1_000_000, "1000, or 0 for no limit"),
    },
    State: {"path": values.file_path},
}


def _hook(read: Reader[T]) -> Callable[[object, object], T]:
    """Return the reader as cattrs calls it, with a type that the reader already knows."""
    return lambda value, _: read(value)


def _converter() -> Converter:
    converter = Converter(detailed_validation=True, forbid_extra_keys=True)
    for table, readers in _READERS.items():
        overrides = {
            attribute: override(rename=key_of(attribute), struct_hook=_hook(read))
            for attribute, read in readers.items()
        }
        # mypy sees the overrides as the options that they stand beside.
        hook: Callable[..., Any] = make_dict_structure_fn(table, converter, **overrides)  # type: ignore[arg-type]
        converter.register_structure_hook(table, hook)
    return converter


_CONVERTER = _converter()


def reader_of(table: type[T]) -> Callable[[Mapping[str, object]], T]:
    """Return what structures a table without looking for its hook each time; it raises cattrs' errors."""
    hook = _CONVERTER.get_structure_hook(table)
    return lambda raw: hook(raw, table)


def structure(table: type[T], raw: Mapping[str, object], path: str, problems: list[Problem]) -> T | None:
    """Return the table as its class; where that fails, None, and what is wrong is added to `problems`."""
    try:
        return _CONVERTER.structure(raw, table)
    except BaseValidationError as error:
        problems.extend(problems_of(error, raw, path))
        return None
