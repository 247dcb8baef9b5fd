"""What `check` says of a fleet's store: can this machine use it, as this user, and do their clocks agree.

It takes a lease of its own for a second and publishes nothing: no node looks at what it writes.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Final

from flatproxy.diagnose import findings
from flatproxy.errors import ConfigError
from flatproxy.flatten.fleet.entry import SKEW_S
from flatproxy.flatten.fleet.joining import StoreAccess
from flatproxy.flatten.fleet.operations import Claim, Clock, Digested, Hold, Inquire, Nodes, Read, ReadChanges
from flatproxy.flatten.fleet.reasons import FleetCounts, StoreLost

if TYPE_CHECKING:
    from flatproxy.config.settings import Settings, StoreAddress
    from flatproxy.diagnose.findings import Finding
    from flatproxy.flatten.fleet.link import StoreLink

PROBED: Final = "check"
PROBED_MS: Final = 1_000
_DO: Final = {
    "timeout": "look whether it is overloaded; raise [fleet] timeout where it is far away",
    "connection": "see that it runs, and that name, port and ca_file fit",
    "auth": "give the user a password and commands as docs/fleet.md has them",
    "full": "give it more maxmemory",
    "readonly": 'name its Sentinels or the cluster, as in "redis+sentinel://s1.example.net:26379/mymaster/0"',
    "skew": "set both clocks by NTP",
}


async def about_store(settings: Settings) -> list[Finding]:
    """Return what is found, nothing without `[fleet]`."""
    if settings.fleet is None:
        return []
    try:
        access = StoreAccess.of(settings.fleet)
    except ConfigError as error:
        return [findings.error(each.key, each.value, each.reason, each.write) for each in error.problems]
    link = access.link(FleetCounts())
    value = _in_words(settings.fleet.store)
    try:
        await link.open()
        skew_s = await _use(access, link)
    except StoreLost as error:
        what = f"cannot be used, so this node goes on alone: {error.reason}: {error}"
        return [findings.error("fleet.store", value, what, _DO.get(error.reason, "see docs/fleet.md"))]
    finally:
        await link.close()
    return [findings.fine("fleet.store", value, f"can be used; its clock is {skew_s:+.1f} s from the one here")]


async def _use(access: StoreAccess, link: StoreLink) -> float:
    """Use all that a node uses; return how far the store's clock is ahead. Raises `StoreLost`."""
    [clock] = await link.run([Clock()])
    skew_s = int(clock[0]) + int(clock[1]) / 1_000_000 - time()
    if abs(skew_s) > SKEW_S:
        raise StoreLost("skew", f"its clock is {skew_s:+.0f} s from the one here")
    token = f"{access.node}/check".encode()
    for operation in (Nodes(), Digested(), Read((PROBED,)), ReadChanges(0, 0), Claim(PROBED, 0, token, PROBED_MS)):
        await link.run([operation])
    await link.run([Hold(PROBED, token, PROBED_MS), Inquire(PROBED, ())])
    return skew_s


def _in_words(store: StoreAddress) -> str:
    return store.path or ", ".join(f"{host}:{port}" for host, port in store.servers)
