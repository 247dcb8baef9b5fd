"""What `[flatten."NAME"]` says of flagged names, as frozen values, and the names by their rules. No I/O lives here."""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Literal, NamedTuple

from attrs import field, frozen

from flatproxy.config.guarding import Guarding

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.wire.prefixes import Network

Address = IPv4Address | IPv6Address
ClientSubnet = Literal["off", "forward", "synthesize"]


@frozen(kw_only=True)
class Check:
    """How addresses are probed, and how often. Equal checks of one address are one probe.

    `host` is the name that an HTTP server is asked for and that its certificate must be good for, in text; `status` are
    the codes that are good, both ends included; `ca_file` None stands for the system's certificates.
    """

    kind: Literal["tcp", "http", "https"] = field(metadata={"key": "check"})
    port: int
    host: str = ""
    path: str = "/"
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    verify: bool = True
    ca_file: Path | None = None
    interval_s: float = 10.0
    timeout_s: float = 3.0
    fall: int = 3
    rise: int = 2


@frozen(kw_only=True)
class Checking:
    """`[flatten."NAME".health]`: with a smaller share than `minimum` of well addresses, all are answered."""

    check: Check
    minimum: float = 0.5


@frozen(kw_only=True, cache_hash=True)
class Rule:
    """One `[flatten."NAME"]` with `[defaults]` merged in. Equal rules are one object, whatever their number."""

    target: bytes
    types: frozenset[str] = frozenset({"A", "AAAA"})
    max_ttl_s: int = 300
    min_ttl_s: int = 0
    stale_for_s: int = 86400
    stale_ttl_s: int = 30
    any: Literal["hinfo", "forward"] = "hinfo"
    sync: bool = False
    sync_ttl_s: int = 60
    targets: tuple[bytes, ...] = ()
    """All of several targets, the first of which is `target`; none where there is one."""
    use: Literal["first", "all"] = "first"
    health: Checking | None = None
    hold_absent_s: int = 3600
    hold_change_s: int = 0
    special: Literal["refuse", "allow"] = "refuse"
    allow: tuple[Network, ...] = ()
    fallback: tuple[Address, ...] = ()
    client_subnet: ClientSubnet = "off"
    pin: tuple[Address, ...] = ()
    shadow: bool = False
    """Whether it is only rehearsed: clients get the nameserver's answer."""
    views: tuple[tuple[str, Rule | None], ...] = ()
    """What clients of a view are answered by, None where by the nameserver; of the others this rule is the one."""

    @property
    def all_targets(self) -> tuple[bytes, ...]:
        """The targets in their order."""
        return self.targets or (self.target,)

    @property
    def needs_choice(self) -> bool:
        """Whether what is answered depends on more than one target's resolution."""
        return not self.pin and bool(self.targets or self.health)

    @property
    def is_tailored(self) -> bool:
        """Whether networks get answers of their own. Not of several targets, nor where addresses must be checked."""
        return self.client_subnet != "off" and not (self.pin or self.needs_choice)

    @property
    def is_rehearsed(self) -> bool:
        """Whether some clients of its names get the nameserver's answer, and flatproxy's is compared with it."""
        return self.shadow or any(rule.shadow for _view, rule in self.views if rule is not None)

    @property
    def guarding(self) -> Guarding:
        """What is let through of the target's resolutions."""
        return Guarding(special=self.special == "allow", allow=self.allow, hold_change_s=self.hold_change_s)


NAMES_KEPT = 999
"""Names of a group beside the first one that can be shown without a look at all names."""


class Group(NamedTuple):
    """A rule object, the first of its names, up to `NAMES_KEPT` others, and how many there are in all."""

    rule: Rule
    first: bytes
    others: tuple[bytes, ...]
    size: int


class Rules(dict[bytes, Rule]):
    """The rule of each flagged name. It must not change once it is part of the settings."""

    added: tuple[bytes, ...] | None = None
    """The names that the rules before had not; None where there were none before."""

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The names by their rules; worked out once, which takes a while."""
        named: dict[int, list[bytes]] = {}
        rules: list[Rule] = []
        for name, rule in self.items():  # a plain loop, beside which other threads can run
            try:
                named[id(rule)].append(name)
            except KeyError:
                named[id(rule)] = [name]
                rules.append(rule)
        groups = []
        for rule in rules:
            first, *others = mine = named.pop(id(rule))
            groups.append(Group(rule, first, tuple(others[:NAMES_KEPT]), len(mine)))
        return tuple(groups)
