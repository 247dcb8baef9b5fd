"""Probes of the resolvers: is each one somebody else than flatproxy, does it answer, does it recurse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.name
import dns.rdatatype
from attrs import define, field

from flatproxy.config.settings import EncryptedServer, Endpoint
from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import each
from flatproxy.diagnose.self_loop import own_endpoint
from flatproxy.errors import ChainError, FlatproxyError
from flatproxy.flatten.resolvers.plain import expand, is_own_address
from flatproxy.wire import names

if TYPE_CHECKING:
    import dns.message

    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.asking import Asking
    from flatproxy.diagnose.findings import Finding

_GOOD = (
    "answers, and is not flatproxy by its address or its answers (a loop through another service that flattens by "
    "itself cannot be seen from here)"
)
_ITSELF = "write a resolver that is not flatproxy: it would ask itself for the targets"


def speaks_for_the_zone(response: dns.message.Message) -> bool:
    """Tell whether the answer for a flagged name comes from its nameserver or flatproxy, and not from a resolver."""
    return bool(response.flags & dns.flags.AA and not response.flags & dns.flags.RA)


@define
class Resolvers:
    """The probes, and what they found. `endpoints` are the servers that a target may be asked of, in order."""

    settings: Settings
    asking: Asking
    found: list[Finding] = field(factory=list)
    endpoints: list[Endpoint | EncryptedServer] = field(factory=list)
    _keys: dict[Endpoint | EncryptedServer, tuple[str, str]] = field(factory=dict)

    def gather(self) -> None:
        """Find out who the resolvers are; no query is sent."""
        for index, server in enumerate(self.settings.resolver.servers):
            key = f"resolver.servers[{index}]"
            try:
                endpoints = expand([server])
            except ChainError as error:
                do = "write the address of a resolver, or make /etc/resolv.conf name one"
                self.found.append(findings.error(key, str(server), str(error), do))
                continue
            for endpoint in endpoints:
                value = f"system ({endpoint})" if server == "system" else str(endpoint)
                listen = self.settings.listen
                at, where = (endpoint, "dns") if isinstance(endpoint, Endpoint) else (endpoint.endpoint, "tls")
                own = own_endpoint(at, listen.dns if where == "dns" else listen.tls, is_own_address)
                if own is not None:
                    what = f"flatproxy listens there itself ({own} in listen.{where})"
                    self.found.append(findings.error(key, value, what, _ITSELF))
                elif endpoint not in self._keys and self._can_be_asked(endpoint, key, value):
                    self._keys[endpoint] = key, value
                    self.endpoints.append(endpoint)

    def _can_be_asked(self, server: Endpoint | EncryptedServer, key: str, value: str) -> bool:
        try:
            self.asking.opened(server)
        except FlatproxyError as error:
            do = "see to it: without that flatproxy does not start"
            self.found.append(findings.error(key, value, str(error).removeprefix(f"{server} "), do))
            return False
        return True

    async def probe(self) -> None:
        """Probe every one that is not flatproxy."""
        if self.settings.flatten:
            await each(self.endpoints, self._probe_one)

    async def _probe_one(self, endpoint: Endpoint | EncryptedServer) -> None:
        key, value = self._keys[endpoint]
        flagged = next(iter(self.settings.flatten))
        silence = ""
        answers = []
        for name, rdtype in ((dns.name.root, dns.rdatatype.NS), (names.to_name(flagged), dns.rdatatype.A)):
            try:
                answers.append(await self.asking.resolver(endpoint, name, rdtype))
            except FlatproxyError as error:
                silence = str(error).removeprefix(f"{endpoint}: ")
        if not answers:
            do = "write a resolver that answers this machine, or let firewalls pass UDP and TCP port 53 to it"
            if isinstance(endpoint, EncryptedServer):
                kind = "UDP" if endpoint.scheme == "quic" else "TCP"
                do = f"see to address, name and resolver.ca_file, and let firewalls pass {kind} port "
                do += str(endpoint.endpoint.port)
            self.found.append(findings.warning(key, value, f"does not answer: {silence}", do))
        elif any(speaks_for_the_zone(answer) for answer in answers if answer.question[0].name != dns.name.root):
            what = f"it answers for {names.to_text(flagged)} as its nameserver does, and offers no recursion"
            what += ": it is flatproxy or the nameserver under another address"
            self.found.append(findings.error(key, value, what, _ITSELF))
        elif not any(answer.flags & dns.flags.RA for answer in answers):
            what = "it offers no recursion (RA is clear), so it resolves only what it serves itself"
            self.found.append(findings.warning(key, value, what, "write a recursive resolver"))
        else:
            self.found.append(findings.fine(key, value, _GOOD))
