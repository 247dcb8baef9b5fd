"""What the chain walk must know of the configuration: who is flagged, and which zones the nameserver serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    import dns.name
    import dns.rdatatype

    from flatproxy.config.rules import Rule


@frozen
class ConfiguredScope:
    """The scope of one configuration. Zones of `["."]` say nothing about who knows a name, so none is served then."""

    rules: Mapping[bytes, Rule]
    zones: frozenset[bytes]

    def target_of(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.name.Name | None:
        """Return the target of a flagged name, None for any other, and for one that is only rehearsed."""
        rule = self.rules.get(names.to_wire(name))
        return (
            names.to_name(rule.target) if rule is not None and not rule.shadow and rdtype.name in rule.types else None
        )

    def is_served(self, name: dns.name.Name) -> bool:
        """Tell whether the name is in a zone of the nameserver behind us."""
        return names.enclosing(names.to_wire(name), self.zones) not in (None, names.ROOT)
