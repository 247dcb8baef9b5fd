"""What `flatproxy explain` found, as values that become text or JSON. It asks nobody anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from flatproxy.wire import names, types
from flatproxy.wire.client_subnet import Subnet, to_send
from flatproxy.wire.special import special_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flatproxy.config.rules import Address, Rule
    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.addresses import Probed
    from flatproxy.diagnose.prospects import Limit, OwnAnswer, Prospect
    from flatproxy.diagnose.traces import Walk
    from flatproxy.wire.prefixes import Network

_RANKS = {"pinned": 0, "fresh": 0, "held": 1, "stale": 2}
_NONE = 3


@frozen(kw_only=True)
class TypeReport:
    """One type of a flagged name: the walk, the TTL that comes of it (None where it found nothing), the answer now."""

    walk: Walk
    limit: Limit | None
    answer: Prospect
    scope: int | None = None
    """For how many bits of the network that the resolvers were told it holds; None where they were told none."""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        limit = self.limit
        return {
            "type": self.walk.rdtype,
            **self.walk.as_json(),
            "chain_ttl": self.walk.found.ttl_s if self.walk.found is not None else None,
            "ttl": limit.ttl_s if limit is not None else None,
            "ttl_limited_by": limit.by if limit is not None else None,
            "answer": self.answer.as_json(),
            "scope": self.scope,
        }


@frozen(kw_only=True)
class Contender:
    """One of several targets of a name, or the only one, and whether it is answered now, health left aside."""

    target: bytes
    types: tuple[TypeReport, ...]
    answered: bool = True

    @property
    def rank(self) -> int:
        """How good its addresses are: 0 fresh, 1 held, 2 stale, 3 none."""
        found = [each.answer for each in self.types if types.has_addresses(types.number_of(each.walk.rdtype))]
        return min((_RANKS.get(answer.rung, _NONE) for answer in found if answer.addresses), default=_NONE)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "target": names.to_text(self.target),
            "answered": self.answered,
            "types": [report.as_json() for report in self.types],
        }


def judged(contenders: Sequence[Contender], use: str) -> list[Contender]:
    """Return the targets of a name, those marked that are answered: as `table/choice.py` does, health left aside."""
    best = min(each.rank for each in contenders)
    if best == 0 and use == "all":
        return [evolve(each, answered=each.rank == 0) for each in contenders]
    first = next(each for each in contenders if each.rank == best)
    return [evolve(each, answered=each is first) for each in contenders]


@frozen(kw_only=True)
class Seen:
    """Which view a client is in, by which network; None for none. `own`: the name has a table for that view."""

    client: str
    view: str | None
    network: str | None
    own: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"client": self.client, "view": self.view, "network": self.network, "own_table": self.own}


def seen(settings: Settings, rule: Rule | None, client: Address) -> Seen:
    """Return which view a client is in, and what that means for a name."""
    around = [
        (network.prefixlen, str(network), view)
        for view, networks in settings.views.items()
        for network in networks
        if client in network
    ]
    _, network, view = max(around, default=(0, None, None))
    return Seen(client=str(client), view=view, network=network, own=rule is not None and view in dict(rule.views))


@frozen(kw_only=True)
class TailoredFor:
    """Whom an answer is tailored for: `network` as the query has it, or its client; `sent` is what resolvers are told.

    Nothing is sent where `why_not` says why.
    """

    network: str
    sent: Subnet | None = None
    why_not: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "network": self.network,
            "sent": str(self.sent) if self.sent is not None else None,
            "why_not": self.why_not or None,
        }


def tailored_for(settings: Settings, rule: Rule, client: Address | None, network: Network | None) -> TailoredFor | None:
    """Return whom the answer of a rule is tailored for; None where nobody's network is known."""
    resolver = settings.resolver
    if network is not None:
        own, text = Subnet.of(network.network_address.packed, network.prefixlen), str(network)
    elif client is not None and rule.client_subnet == "synthesize":
        own, text = None, str(client)
    else:
        return None
    if rule.client_subnet == "off":
        return TailoredFor(network=text, why_not='client_subnet is "off"')
    if not rule.is_tailored:
        return TailoredFor(network=text, why_not="what is pinned, of several targets, or checked is the same for all")
    packed = client.packed if client is not None else b""
    if own is None and (special := special_network(packed)) is not None:
        return TailoredFor(network=text, why_not=f"it is in {special}")
    sent = to_send(own, packed, resolver.subnet_v4, resolver.subnet_v6)
    return TailoredFor(network=text, sent=sent, why_not="" if sent is not None else "it has no bits")


@frozen(kw_only=True)
class Flattened:
    """A flagged name. `signed` names its zone where that is signed, `seen` the view of the client who asks."""

    name: str
    rule: Rule
    contenders: tuple[Contender, ...]
    signed: str | None
    health: tuple[Probed, ...] = ()
    """What one probe of each address has said, where these are checked."""
    keys: tuple[str, ...] = ()
    """What is known of our keys of that zone, in words."""
    seen: Seen | None = None
    tailored: TailoredFor | None = None
    sync: str = ""
    """What the zone's own record says, where it is kept in step."""

    @property
    def types(self) -> tuple[TypeReport, ...]:
        """The types of the target that is answered, the first of them where several are."""
        return next(each.types for each in self.contenders if each.answered)

    @property
    def ok(self) -> bool:
        """Whether the target resolves to an address, and no type of it fails."""
        walks = [report.walk for report in self.types]
        return all(walk.found is not None for walk in walks) and any(walk.addresses for walk in walks)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "verdict": "flattened",
            "tailored": self.tailored.as_json() if self.tailored is not None else None,
            "seen": self.seen.as_json() if self.seen is not None else None,
            "ok": self.ok,
            "target": names.to_text(next(each.target for each in self.contenders if each.answered)),
            "targets": [each.as_json() for each in self.contenders] if self.rule.targets else None,
            "health": [each.as_json() for each in self.health] if self.rule.health is not None else None,
            "types": [report.as_json() for report in self.types],
            "fallback": [str(address) for address in self.rule.fallback],
            "any": self.rule.any,
            "shadow": self.rule.shadow,
            "signed_zone": self.signed,
            "sync": self.sync or None,
            "keys": list(self.keys),
        }


@frozen(kw_only=True)
class Forwarded:
    """A name that is not flagged. `zone` is the one of access.zones that it is in, None where it is in none.

    `answers` are the nameserver's own, `landing` the flagged name that their CNAME reaches; `near` flagged names.
    """

    name: str
    zone: str | None
    answers: tuple[OwnAnswer, ...] = ()
    landing: str | None = None
    near: tuple[str, ...] = ()
    seen: Seen | None = None
    """The view of the client who asks, where that is why a flagged name is forwarded."""

    @property
    def ok(self) -> bool:
        """Whether a nameserver answered, where one is asked."""
        return all(answer.error is None for answer in self.answers)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "verdict": "refused" if self.zone is None else "forwarded",
            "ok": self.ok,
            "zone": self.zone,
            "answers": [answer.as_json() for answer in self.answers],
            "lands_on": self.landing,
            "near": list(self.near),
            "seen": self.seen.as_json() if self.seen is not None else None,
        }
