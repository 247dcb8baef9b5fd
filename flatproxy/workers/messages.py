"""What the control process and its workers say to each other. Plain values: nothing here sends or does anything.

Down go settings and what answers are made of, up go acknowledgements and counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.counts import Traffic
    from flatproxy.flatten.ladder import Resolution

TargetState = tuple[bytes, int, "Resolution | None", int, float]
"""A target: name, type, resolution, failures in a row, and until when it is cold (see `flatten.answers.Target`)."""
ZoneFact = tuple["bytes | None", bool]
"""Of a zone: its SOA record, None where it is known no more, and whether it is signed."""


@frozen(kw_only=True)
class Facts:
    """What answers are made of: all that is known, or what has changed. Times are monotonic, one clock for all."""

    targets: tuple[TargetState, ...] = ()
    zones: Mapping[bytes, ZoneFact] = field(factory=dict)


@frozen(kw_only=True)
class Prepare:
    """Make ready for these settings, which are the `number`-th, and answer `Prepared`."""

    number: int
    settings: Settings
    facts: Facts = Facts()


@frozen(kw_only=True)
class Switch:
    """Go over to the settings of this number, and answer `Switched`; before the first one nothing is read."""

    number: int
    facts: Facts = Facts()


@frozen
class Discard:
    """Forget what was made ready."""


@frozen(kw_only=True)
class Changed:
    """These facts have changed."""

    facts: Facts


@frozen
class Cover:
    """Read from the sockets of these workers as well, and of no others: they take nothing now."""

    numbers: frozenset[int]


@frozen
class Drain:
    """Take nothing new, end what is under way, and exit."""


@frozen(kw_only=True)
class Prepared:
    """It is ready to switch; `refusal` says why it is not, where it is not."""

    number: int
    refusal: str = ""


@frozen(kw_only=True)
class Switched:
    """The settings of this number are in force."""

    number: int


@frozen
class Leaving:
    """It was told by a signal to end: it reads nothing more, and drains."""


@frozen(kw_only=True)
class ServerReport:
    """One nameserver as one worker sees it; `answered`: it has ever answered."""

    endpoint: Endpoint
    up: bool
    answered: bool
    pending: int
    sent: int
    timeouts: int
    mismatched: int


@frozen(kw_only=True)
class Report:
    """What one worker has counted since it was started. With another `generation` the servers' counts began anew."""

    traffic: Traffic
    generation: int
    servers: tuple[ServerReport, ...]
    cpu_s: float


Message = Prepare | Switch | Discard | Changed | Cover | Drain | Prepared | Switched | Leaving | Report
