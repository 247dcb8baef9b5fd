"""What each resolver was like: how long its replies took, and how it failed. Plain numbers that a scrape reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import dns.message
import dns.rcode
from attrs import define, field

from flatproxy.counts import BucketTable
from flatproxy.errors import FlatproxyError, UpstreamTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping

REASONS: Final = ("timeout", "servfail", "refused", "other_rcode", "unreachable", "not_validated")
_BY_RCODE: Final[Mapping[int, str]] = {
    dns.rcode.NOERROR: "",
    dns.rcode.NXDOMAIN: "",
    dns.rcode.SERVFAIL: "servfail",
    dns.rcode.REFUSED: "refused",
}


@define
class ResolverTally:
    """One resolver's: `latency` of all its replies, `failures` by reason; then the next one was asked."""

    latency: BucketTable = field(factory=BucketTable)
    failures: dict[str, int] = field(factory=lambda: dict.fromkeys(REASONS, 0))

    def note(self, outcome: bytes | dns.message.Message | FlatproxyError, took_s: float) -> None:
        """Count what came of one query after `took_s` seconds."""
        if isinstance(outcome, FlatproxyError):
            self.failures["timeout" if isinstance(outcome, UpstreamTimeout) else "unreachable"] += 1
            return
        self.latency.add(took_s)
        rcode = outcome[3] & 0x0F if isinstance(outcome, bytes) else int(outcome.rcode())
        reason = _BY_RCODE.get(rcode, "other_rcode")
        if reason:
            self.failures[reason] += 1
