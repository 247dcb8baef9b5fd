"""Active Directory domains among the flagged names: whether clients inside still find their domain controllers."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import Patience, each
from flatproxy.diagnose.flagged import MOST_NAMES, key_of
from flatproxy.diagnose.text import count
from flatproxy.errors import FlatproxyError
from flatproxy.flatten.controllers import PRIVATE, controllers_of, hidden_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.findings import Finding
    from flatproxy.flatten.chain import Asker
    from flatproxy.wire.prefixes import Prefixes


@define
class Directories:
    """The probes, and what they found. `upstream` returns whom to ask."""

    settings: Settings
    upstream: Callable[[], Asker]
    found: list[Finding] = field(factory=list)
    _patience: Patience = field(factory=Patience)
    _views: Prefixes[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._views = self.settings.view_prefixes()

    async def probe(self) -> None:
        """Ask for the controllers of the flagged names; where they are very many, of the first ones."""
        await each(islice(self.settings.flatten.items(), MOST_NAMES), self._probe_one)

    async def _probe_one(self, item: tuple[bytes, Rule]) -> None:
        name, rule = item
        hidden = hidden_from(rule, self._views)
        if not hidden or self._patience.is_over():
            return
        try:
            there = await controllers_of(name, self.upstream())
        except FlatproxyError:
            self._patience.note(answered=False)  # `FlaggedNames` has said that it does not answer
            return
        self._patience.note(answered=True)
        if there:
            self.found.append(_finding(name, there, hidden))


def _finding(name: bytes, there: int, hidden: list[str]) -> Finding:
    what = (
        f"it is an Active Directory domain with {count(there, 'controller')}: clients that look for these at the name "
        f"itself (LDAP and SMB without SRV, macOS, DFS) get the target's addresses in {', '.join(hidden)}"
    )
    networks = ", ".join(f'"{network}"' for network in PRIVATE)
    do = f'[views.inside] with clients = [{networks}], and [{key_of(name)}.views.inside] with action = "pass"'
    return findings.error(key_of(name), "", what, do)
