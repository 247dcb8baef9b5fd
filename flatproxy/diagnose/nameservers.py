"""Probes of the nameservers: is each one somebody else, does it answer for the served zones, does it recurse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rcode
import dns.rdatatype
from attrs import define, field

from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import each
from flatproxy.diagnose.self_loop import own_endpoint
from flatproxy.diagnose.served import UDP, ZoneProbe
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.resolvers.plain import is_own_address
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dns.message

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.diagnose.asking import Asking
    from flatproxy.diagnose.findings import Finding


def recurses(response: dns.message.Message) -> bool:
    """Tell whether the response to a query with RD=1, for a name outside the zones, shows recursion."""
    if response.rcode() == dns.rcode.REFUSED:
        return False
    return bool(response.flags & dns.flags.RA or (response.answer and not response.flags & dns.flags.AA))


@define
class Nameservers:
    """The probes, and what they found. `usable` holds the servers that answer over UDP, in order."""

    settings: Settings
    asking: Asking
    found: list[Finding] = field(factory=list)
    _answering: set[Endpoint] = field(factory=set)

    @property
    def usable(self) -> list[Endpoint]:
        """The servers that answer over UDP, in order of preference."""
        return [endpoint for endpoint in self.settings.upstream.servers if endpoint in self._answering]

    async def probe(self) -> None:
        """Probe every server."""
        await each(enumerate(self.settings.upstream.servers), self._probe_one)

    async def _probe_one(self, indexed: tuple[int, Endpoint]) -> None:
        index, endpoint = indexed
        key = f"upstream.servers[{index}]"
        own = own_endpoint(endpoint, self.settings.listen.dns, is_own_address)
        if own is not None:
            what = f"flatproxy listens there itself ({own} in listen.dns) and would be its own nameserver"
            self.found.append(findings.error(key, str(endpoint), what, "write the nameserver's address"))
            return
        probe = ZoneProbe(self.settings, self.asking, key, endpoint)
        await probe.run()
        self.found += probe.findings()
        if UDP not in probe.silent:
            self._answering.add(endpoint)
            await self._probe_recursion(key, endpoint)

    async def _probe_recursion(self, key: str, endpoint: Endpoint) -> None:
        for name, rdtype in _outside(self.settings):
            try:
                response = await self.asking.nameserver(endpoint, name, rdtype, recursion=True)
            except FlatproxyError:
                continue  # silence is a fine answer to what is none of its business
            if recurses(response):
                self.found.append(_recursion(key, endpoint, everything=names.ROOT in self.settings.access.zones))
                return


def _outside(settings: Settings) -> Iterator[tuple[dns.name.Name, dns.rdatatype.RdataType]]:
    """Yield questions that a nameserver of these zones knows nothing about: the root's nameservers, and a target."""
    yield dns.name.root, dns.rdatatype.NS
    zones = frozenset(settings.access.zones) - {names.ROOT}
    for rule in settings.flatten.values():
        for target in rule.all_targets:
            if names.enclosing(target, zones) is None:
                yield names.to_name(target), dns.rdatatype.A
            return


def _recursion(key: str, endpoint: Endpoint, *, everything: bool) -> Finding:
    what = (
        "it recurses for this machine. It sees flatproxy's address in place of the client's, so its own list of who "
        "may use recursion lets everybody in"
    )
    what += (
        ', and access.zones = ["."] passes every name on: an open resolver'
        if everything
        else "; only access.zones keeps this from being an open resolver"
    )
    do = (
        "switch recursion off on it (BIND: recursion no; Windows DNS: Disable recursion), or take flatproxy's address "
        "out of the list; clients that need a resolver must ask another one"
    )
    return findings.warning(key, str(endpoint), what, do)
