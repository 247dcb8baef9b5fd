"""A fleet's parts put together, from the settings: secrets, the way to the store, what it knows at the start."""

from __future__ import annotations

import asyncio
import socket
import threading
from importlib.metadata import version
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field, frozen
from twisted.logger import Logger

from flatproxy.config.secret_files import read_secret
from flatproxy.errors import ConfigError, Problem
from flatproxy.flatten.fleet.entry import Seal
from flatproxy.flatten.fleet.membership import Membership
from flatproxy.flatten.fleet.operations import BUCKETS, Read, StoreKeys, bucket_of
from flatproxy.flatten.fleet.presence import NodeRecord
from flatproxy.flatten.fleet.ranks import Ranks
from flatproxy.flatten.fleet.reasons import ENTRY_REASONS, STORE_REASONS, FleetCounts, StoreLost
from flatproxy.flatten.fleet.seats import Seats
from flatproxy.flatten.fleet.sharing import Sharing
from flatproxy.flatten.fleet.writer import WriterLease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from flatproxy.config import settings
    from flatproxy.counts import BucketTable
    from flatproxy.flatten.fleet.link import StoreLink
    from flatproxy.flatten.fleet.operations import Operation
    from flatproxy.flatten.fleet.sharing import Refreshing
    from flatproxy.table.held import History
    from flatproxy.table.ladder import Resolution
    from flatproxy.table.table import Adopted
    from flatproxy.table.target import Target

log = Logger()

SECRET_OCTETS: Final = 16
WARM_S: Final = 5.0
"""The start waits for so long at most for what a store knows."""
ENTRIES_AT_ONCE: Final = 500


def require_redis() -> None:
    """Return where redis-py is there, else raise a `ConfigError`."""
    try:
        import redis.asyncio  # noqa: PLC0415 - it may be missing
    except ImportError as error:
        problem = Problem(
            key="fleet",
            reason="a fleet needs the package redis, which is not installed or too old",
            write="the same, after: pip install 'flatproxy[fleet]'",
        )
        raise ConfigError(problems=(problem,)) from error
    del redis


@frozen(kw_only=True)
class StoreAccess:
    """How a fleet's store is reached and believed: all that the settings say, secrets read."""

    config: settings.Fleet
    node: str
    seal: Seal = field(repr=False)
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, config: settings.Fleet) -> StoreAccess:
        """Return it from the settings; `ConfigError` where a file cannot be used, or redis-py is missing."""
        require_redis()
        secret = read_secret(config.secret_file, "fleet.secret_file", SECRET_OCTETS)
        password = None
        if config.password_file is not None:
            password = read_secret(config.password_file, "fleet.password_file", 1).decode(errors="replace")
        if config.ca_file is not None:
            _see_readable(config.ca_file)
        node = config.node or socket.gethostname() or "node"
        return cls(config=config, node=node, seal=Seal(secret, config.prefix), password=password)

    @property
    def keys(self) -> StoreKeys:
        """The keys of the fleet."""
        return StoreKeys(self.config.prefix)

    def link(self, counts: FleetCounts) -> StoreLink:
        """Return a way to the store, not opened yet."""
        from flatproxy.flatten.fleet.link import StoreLink  # noqa: PLC0415 - redis-py only where there is a fleet

        ca_file = str(self.config.ca_file) if self.config.ca_file is not None else None
        timeout_s = self.config.timeout_s
        return StoreLink(self.config.store, self.password, ca_file, timeout_s, self.keys, latency=counts.latency)


def _see_readable(path: Path) -> None:
    try:
        with path.open("rb"):
            return
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        problem = Problem(key="fleet.ca_file", value=f'"{path}"', reason=reason, write="a file of certificates (PEM)")
        raise ConfigError(problems=(problem,)) from None


@define(eq=False)
class FleetNode:
    """A node of the fleet, from `start` to `stop`. `digest` is that of the configuration in force."""

    access: StoreAccess
    counts: FleetCounts
    ranks: Ranks
    membership: Membership
    sharing: Sharing
    seats: Seats
    writer: WriterLease
    digest: str = ""
    _since: float = field(factory=time)

    @classmethod
    def of(cls, access: StoreAccess, refreshing: Refreshing, timeout_s: float, rest: Callable[[], None]) -> FleetNode:
        """Return a node that has not begun; `timeout_s` is that of resolvers, `rest` is called between two pieces."""
        counts, ranks = FleetCounts(), Ranks(access.node)
        ranks.see(())
        membership = Membership(
            node=access.node,
            seal=access.seal,
            ranks=ranks,
            counts=counts,
            make_way=lambda: access.link(counts),
            rest=rest,
        )
        sharing = Sharing(
            seal=access.seal,
            node=access.node,
            ranks=ranks,
            counts=counts,
            asking=membership,
            refreshing=refreshing,
            clock=monotonic,
            timeout_s=timeout_s,
        )
        seats = Seats(access.seal, access.node, ranks, counts, membership, monotonic)
        writer = WriterLease(access.node, membership, monotonic)
        node = cls(access, counts, ranks, membership, sharing, seats, writer)
        membership.record, membership.member = node.record, node
        return node

    def hear_of(self, place: str, version: int) -> None:
        """Note that there may be a newer entry."""
        if not self.seats.hear_of(place, version):
            self.sharing.hear_of(place, version)

    def rejoin(self, now: float) -> None:
        """Put into the store what it may not have."""
        self.sharing.rejoin(now)
        self.seats.rejoin()
        self.writer.rejoin()

    def go_alone(self, now: float) -> None:
        """Go on without the store."""
        self.sharing.go_alone(now)

    def leave(self) -> Sequence[Operation]:
        """Give up what this node holds."""
        return [*self.seats.leave(), *self.writer.leave()]

    def digests(self) -> str:
        """Return digests of what this node answers."""
        return self.sharing.digests()

    def details(self, parts: Iterable[int]) -> dict[str, Any]:
        """Return what this node answers for some parts."""
        return self.sharing.details(parts)

    def record(self, instance: str, seen: float) -> NodeRecord:
        """Return what it says of itself, at a time of the store's clock."""
        return NodeRecord(
            name=self.access.node,
            version=version("flatproxy"),
            instance=instance,
            since=round(self._since, 3),
            seen=seen,
            digest=self.digest,
            leases=self.leases,
        )

    @property
    def leases(self) -> int:
        """How many leases this node holds."""
        return self.sharing.leases(monotonic()) + self.seats.held + self.writer.held

    @property
    def joined(self) -> bool:
        """Whether the store can be used."""
        return self.membership.joined

    @property
    def nodes(self) -> int:
        """How many nodes are here, this one included; 1 while it is alone."""
        return self.membership.count

    @property
    def resolutions(self) -> dict[str, int]:
        """Resolutions by who made them."""
        return {"own": self.counts.own, "fleet": self.counts.fleet}

    @property
    def errors(self) -> dict[str, int]:
        """How often the store was lost, by reason."""
        return {reason: self.counts.errors[reason] for reason in STORE_REASONS}

    @property
    def refused(self) -> dict[str, int]:
        """Entries that were not believed, by reason."""
        return {reason: self.counts.refused[reason] for reason in ENTRY_REASONS}

    @property
    def latency(self) -> BucketTable:
        """How long the store took."""
        return self.counts.latency

    def follow(self, adopted: Adopted) -> None:
        """Share other targets from now on."""
        self.sharing.follow(adopted.new, adopted.gone)

    def warm(self) -> dict[Target, tuple[Resolution, History]]:
        """Return what the store knows of the targets; nothing where it cannot be read. It waits, `WARM_S` at most."""
        found: dict[str, object] = {}
        began, places = monotonic(), list(self.sharing.places)
        thread = threading.Thread(target=lambda: asyncio.run(self._read(places, found)), daemon=True)
        thread.start()
        thread.join(WARM_S + self.access.config.timeout_s)
        now = monotonic()
        if found:
            self.membership.hold_until = now + self.access.config.timeout_s
        known = self.sharing.warm(dict(found), now)
        log.info(
            "{entries} of {targets} targets are known from the fleet's store, after {seconds} s",
            event="fleet_warm",
            entries=len(known),
            targets=len(places),
            seconds=round(monotonic() - began, 2),
        )
        return known

    async def _read(self, places: list[str], found: dict[str, object]) -> None:
        """Read entries until that is all, the store is lost, or it takes too long."""
        link = self.access.link(self.counts)
        try:
            async with asyncio.timeout(WARM_S):
                await link.open()
                await self.membership.beat(link)
                since_ms = int((monotonic() + self.membership.offset) * 1000)
                for part in _parts(places):
                    [raws] = await link.run([Read(part)])
                    found.update(zip(part, raws, strict=True))
                self.membership.since_ms = [since_ms] * BUCKETS
        except (StoreLost, TimeoutError) as error:
            # It is tried again, and counted, when the node joins.
            log.info("the fleet's store could not be read at the start: {error}", event="fleet_cold", error=str(error))
        except Exception:  # noqa: BLE001 - the start must not fail by what a store answers
            log.failure("the fleet's store could not be understood", event="fleet_failed")
        finally:
            await link.close()

    def start(self) -> None:
        """Begin to take part."""
        self.membership.start()

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.sharing.tick(now)
        self.seats.tick(now)
        self.writer.tick(now)

    async def stop(self) -> None:
        """Say goodbye and end."""
        await self.membership.stop()


def _parts(places: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the fields in parts that are read at once, each of one bucket."""
    buckets: dict[int, list[str]] = {}
    for place in places:
        buckets.setdefault(bucket_of(place), []).append(place)
    return [
        tuple(bucket[start : start + ENTRIES_AT_ONCE])
        for bucket in buckets.values()
        for start in range(0, len(bucket), ENTRIES_AT_ONCE)
    ]
