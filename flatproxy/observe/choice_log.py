"""The log's lines about what is answered of a name: its addresses, the target they come from, and their health."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.logger import Logger

from flatproxy.table.changes import ChoiceChanged, HealthChanged
from flatproxy.wire import names, types

if TYPE_CHECKING:
    from flatproxy.table.answers import TargetAnswer
    from flatproxy.table.choice import Pick
    from flatproxy.table.selection import Selection

log = Logger()


def say(change: ChoiceChanged | HealthChanged) -> None:
    """Write what has changed."""
    if isinstance(change, HealthChanged):
        _say_health(change)
    else:
        _say_choice(change)


def say_addresses(answer: TargetAnswer, old: tuple[bytes, ...], new: tuple[bytes, ...]) -> None:
    """Write that a name is answered with other addresses."""
    target = answer.target
    log.info(
        "{name} {type}: {old} → {new}{others}",
        event="address_change",
        name=names.to_text(answer.first_name),
        type=target.type_text,
        old=types.rdata_texts(target.rdtype, old),
        new=types.rdata_texts(target.rdtype, new),
        others=others(answer.names),
        target=str(target),
    )


def _say_choice(change: ChoiceChanged) -> None:
    selection, before = change.selection, change.before
    for answer in selection.answers:
        rdtype = answer.target.rdtype
        old = before.rdatas.get(rdtype, ()) if before is not None else ()
        new = change.after.rdatas.get(rdtype, ())
        if set(old) != set(new):
            say_addresses(answer, old, new)
    places = ((), False) if before is None else (before.targets, before.failing_open)
    after = (change.after.targets, change.after.failing_open)
    if after != (places if before is not None else ((0,), False)):
        log.info(
            "{name}: {old} → {new}{because}{others}",
            event="target_change",
            name=names.to_text(selection.answers[0].first_name),
            old=_targets(selection, before),
            new=_targets(selection, change.after),
            failing_open=change.after.failing_open,
            because=", all of its addresses, too few being well" if change.after.failing_open else "",
            others=others(selection.answers[0].names),
        )


def _targets(selection: Selection, choice: Pick | None) -> str:
    if choice is None:
        return "none"
    return " ".join(names.to_text(selection.rule.all_targets[place]) for place in choice.targets)


def _say_health(change: HealthChanged) -> None:
    check, selections = change.check, change.selections
    log.info(
        "{address} {check} port {port}{host}: {state}{because}{names}",
        event="health_change",
        address=str(ip_address(change.address)),
        check=check.kind,
        port=check.port,
        host=f" as {check.host}" if check.host else "",
        state="well" if change.is_well else "sick",
        because=f" ({change.reason})" if change.reason else "",
        name=names.to_text(selections[0].names[0]) if selections else "",
        names=f", for {names.to_text(selections[0].names[0])}{others(len(selections))}" if selections else "",
    )


def others(count: int) -> str:
    """Say how many names there are besides the one that is named."""
    return f" (and {count - 1} more names)" if count > 1 else ""
