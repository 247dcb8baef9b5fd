"""One probe of each address of a target, as its health checks would make it: what they would find now.

A running flatproxy needs several failures in a row before an address is sick; this says only how one probe ends.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import frozen

from flatproxy.diagnose.asking import each
from flatproxy.errors import NoWay, ProbeFailed
from flatproxy.flatten.health.preparing import prober_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flatproxy.config.rules import Check
    from flatproxy.config.settings import Settings

MOST_ADDRESSES = 2_000
"""More are not probed."""


@frozen
class Probed:
    """What a probe of an address has said: how it failed, nothing where it did not."""

    check: Check
    address: bytes
    failure: str = ""
    unknown: bool = False
    """It could not be sent from here, for the reason in `failure`."""

    @property
    def text(self) -> str:
        """The address as it is written."""
        return str(ip_address(self.address))

    @property
    def words(self) -> str:
        """How it went."""
        if self.unknown:
            return f"no probe can be sent from here: {self.failure}"
        return f"fails: {self.failure}" if self.failure else "well"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        result = "unknown" if self.unknown else "fails" if self.failure else "well"
        return {"address": self.text, "check": self.check.kind, "result": result, "failure": self.failure or None}


async def probe(settings: Settings, wanted: Iterable[tuple[Check, bytes]]) -> dict[tuple[Check, bytes], Probed]:
    """Probe each of these once; `ConfigError` where a check cannot be made, as with a `ca_file` that is none."""
    found: dict[tuple[Check, bytes], Probed] = {}
    prober = prober_for(settings.flatten)

    async def one(item: tuple[Check, bytes]) -> None:
        failure, unknown = "", False
        try:
            if prober is not None:
                await prober.probe(*item)
        except ProbeFailed as error:
            failure = str(error)
        except NoWay as error:
            failure, unknown = str(error), True
        found[item] = Probed(*item, failure, unknown)

    await each(list(dict.fromkeys(wanted))[:MOST_ADDRESSES], one)
    return found
