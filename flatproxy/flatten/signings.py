"""The keys of the configured zones: read while settings are prepared, put in force with them, kept over a restart.

The signing library is imported here, and only where a zone has keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flatproxy.config.problems import join
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flatproxy.config.settings import Dnssec
    from flatproxy.flatten.stores.store import Store
    from flatproxy.signing.keys import Key
    from flatproxy.signing.zone import ZoneSigning

    Keys = dict[bytes, tuple[Key, ...]]


def keys_of(dnssec: Mapping[bytes, Dnssec]) -> Keys:
    """Return the keys of each zone; `ConfigError` where one cannot be read or used, or the library is not there."""
    found: Keys = {}
    for zone, table in dnssec.items():
        place = join("dnssec", names.to_text(zone))
        from flatproxy.signing import library  # noqa: PLC0415 - an extra

        library.require(place)
        from flatproxy.signing.keys import read  # noqa: PLC0415 - an extra

        found[zone] = tuple(read(path, zone, f"{place}.key") for path in table.key)
    return found


def signings_of(keys: Keys, before: Mapping[bytes, ZoneSigning]) -> dict[bytes, ZoneSigning]:
    """Return what signs each zone; what is known of zones from before is kept."""
    made: dict[bytes, ZoneSigning] = {}
    for zone, pairs in keys.items():
        from flatproxy.signing.zone import ZoneSigning  # noqa: PLC0415 - an extra

        signing = before.get(zone)
        if signing is None:
            made[zone] = ZoneSigning.of(zone, pairs)
        else:
            signing.use(pairs)
            made[zone] = signing
    return made


def restore(signings: Mapping[bytes, ZoneSigning], kept: Iterable[tuple[Any, ...]]) -> None:
    """Take what a store knows of the keys' states."""
    if not signings:
        return
    from flatproxy.signing.states import KeyRow  # noqa: PLC0415 - an extra

    zone, algorithm, tag, state, since, held_until, ttl_s, off = range(8)
    rows = [
        KeyRow(
            zone=row[zone],
            algorithm=row[algorithm],
            tag=row[tag],
            state=row[state],
            since=row[since],
            held_until=row[held_until],
            ttl_s=row[ttl_s],
            off=row[off],
        )
        for row in kept
    ]
    for signing in signings.values():
        signing.restore(rows)


def keep(signing: ZoneSigning, store: Store) -> None:
    """Have the store keep the states of a zone's keys."""
    store.save_keys(
        (row.zone, row.algorithm, row.tag, row.state, row.since, row.held_until, row.ttl_s, row.off)
        for row in signing.keys.rows()
    )
