"""What `check` and `explain` say of names whose own record is kept in step: what the zone has, and whose it is.

The nameserver is asked whether it would take an update, with one that changes nothing; none other is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.config.problems import join
from flatproxy.diagnose import findings
from flatproxy.diagnose.asking import each
from flatproxy.errors import ConfigError, FlatproxyError
from flatproxy.sync.memory import recall
from flatproxy.sync.plan import synced_types
from flatproxy.sync.sets import agree, sets_text
from flatproxy.sync.updater import primary_of, synced
from flatproxy.wire import names

if TYPE_CHECKING:
    from flatproxy.config.rules import Rule
    from flatproxy.config.settings import Settings
    from flatproxy.diagnose.findings import Finding
    from flatproxy.sync.primary import Primary

NAMES_ASKED = 100
"""Names that `check` asks about at most."""


@define
class InStep:
    """The probe of the names with `sync = true`."""

    settings: Settings
    found: list[Finding] = field(factory=list)

    async def probe(self) -> None:
        """Look at each name in the zone, and ask whether it may be written."""
        rules = synced(self.settings)
        if not rules:
            return
        try:
            primary = primary_of(self.settings)
        except ConfigError as error:
            self.found += [findings.error(each.key, each.value, each.reason, each.write) for each in error.problems]
            return
        assert primary is not None
        await each(list(rules)[:NAMES_ASKED], lambda name: self._look_at(primary, name, rules[name]))
        if len(rules) > NAMES_ASKED:
            what = f"the first {NAMES_ASKED} of {len(rules)} names with sync = true were asked about"
            self.found.append(findings.info("sync", "", what))

    async def _look_at(self, primary: Primary, name: bytes, rule: Rule) -> None:
        key = f"{join('flatten', names.to_text(name))}.sync"
        try:
            found = await primary.read(name, synced_types(rule))
            if await primary.is_domain(name):
                what = "it is the apex of an Active Directory domain: its record is never written"
                self.found.append(findings.warning(key, sets_text(found), what, "sync = false"))
                return
            await primary.may_update(await primary.zone(name), name, found)
        except FlatproxyError as error:
            what = f"the zone's own record cannot be kept in step: {error}"
            self.found.append(findings.error(key, "true", what, "see docs/sync.md for what the nameserver needs"))
            return
        if not _is_ours(self.settings, name, found):
            what = "somebody else has written this into the zone: it is not written over"
            do = f"find out who; then: flatproxy sync --adopt {names.to_text(name)} --config FILE"
            self.found.append(findings.warning(key, sets_text(found), what, do))
            return
        what = f"is in the zone, and {primary.endpoint} takes updates signed with {primary.signer.name}"
        self.found.append(findings.fine(key, sets_text(found), what))


def _is_ours(settings: Settings, name: bytes, found: dict[int, frozenset[bytes]]) -> bool:
    """Tell whether what stands at a name is known to be ours, or nothing is known of it yet."""
    assert settings.state is not None
    noted = recall(settings.state.path, name)
    return noted is None or any(agree(ours, found) for ours in noted.ours)


async def in_step_words(settings: Settings, name: bytes, rule: Rule) -> str:
    """Return what `explain` says of a name's own record; empty where it is not kept in step."""
    if not rule.sync or settings.sync is None:
        return ""
    try:
        primary = primary_of(settings)
        assert primary is not None
        found = await primary.read(name, synced_types(rule))
        ours = _is_ours(settings, name, found)
    except FlatproxyError as error:
        return f"The zone's own record is to be kept in step, and is not known: {error}"
    whose = "which flatproxy may write over" if ours else "which somebody else has written: it stays"
    return f"The zone's own record is kept in step: it has {sets_text(found)}, {whose}."
