"""Knot Resolver as a child process that validates: it forwards the zone that it is asked for to the proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from .recursive import RecursiveResolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ports import Address

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
class KnotResolver(RecursiveResolver):
    """It denies by itself, too, what an NSEC record that it has seen does not list (RFC 8198)."""

    kind = "kresd"

    zone: str
    authority: Address
    anchors: Sequence[str]
    """The zone's trusted keys: flags, protocol, algorithm, key."""

    def configure(self) -> list[str]:
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
        return ["kresd", "-n", "-c", str(config), str(self.folder)]
