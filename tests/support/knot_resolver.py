"""Knot Resolver as a child process that validates: it forwards the zone that it is asked for to the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.query
from attrs import define, field

from .child import Child, program
from .lifetime import Startable
from .ports import Address, free_port
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CONFIG = """\
for _, name in ipairs({{'ta_update', 'ta_signal_query', 'priming', 'detect_time_skew', 'detect_time_jump'}}) do
    modules.unload(name)
end
modules.load('policy')
net.ipv6 = false
net.listen('{host}', {port}, {{ kind = 'dns' }})
cache.size = 10 * MB
cache.min_ttl(0)
cache.max_ttl(5)
trust_anchors.remove('.')
trust_anchors.add_file('{folder}/anchors', true)
policy.add(policy.suffix(policy.FORWARD({{'{authority}@{authority_port}'}}), policy.todnames({{'{zone}.'}})))
"""


@define(eq=False, kw_only=True)
class KnotResolver(Startable):
    """It denies by itself, too, what an NSEC record that it has seen does not list (RFC 8198)."""

    folder: Path
    zone: str
    authority: Address
    anchors: Sequence[str]
    """The zone's trusted keys: flags, protocol, algorithm, key."""
    host: str = "127.0.0.1"
    port: int = field(default=0, init=False)
    child: Child | None = field(default=None, init=False)

    def start(self) -> None:
        program("kresd")
        self.port = free_port(self.host)
        (self.folder / "anchors").write_text("".join(f"{self.zone}. 2 IN DNSKEY {each}\n" for each in self.anchors))
        config = self.folder / "kresd.conf"
        config.write_text(
            _CONFIG.format(
                host=self.host,
                port=self.port,
                folder=self.folder,
                zone=self.zone,
                authority=self.authority[0],
                authority_port=self.authority[1],
            )
        )
        command = ["kresd", "-n", "-c", str(config), str(self.folder)]
        child = self.child = Child.start(command, self.folder / "kresd.log")
        try:
            until(lambda: not child.alive or self._answers(), child.tail, 60)
        except BaseException:
            child.kill()
            raise
        assert child.alive, child.tail()

    def _answers(self) -> bool:
        try:
            dns.query.udp(dns.message.make_query("localhost", "A"), self.host, timeout=0.5, port=self.port)
        except (dns.exception.DNSException, OSError):
            return False
        return True

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
