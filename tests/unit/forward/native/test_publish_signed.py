"""Of signed answers the path in C is told those that were asked for, as long as their signature is right."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import dns.message
import pytest
from attrs import evolve

from flatproxy.config.guarding import Guarding
from flatproxy.signing import keys
from flatproxy.signing.zone import ZoneSigning
from flatproxy.table.ladder import Resolution
from flatproxy.wire.types import TYPE_A, TYPE_RRSIG
from tests.unit.forward.native.test_publish import RULE, SETTINGS, TARGET, Stand
from tests.unit.forward.surroundings import ZONE
from tests.unit.wire.messages import query

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = keys.generate(ZONE, "ED25519")
OTHER = b"\5other" + ZONE
DO = query("example.com", want_dnssec=True)


def found(rdatas: tuple[bytes, ...] = (bytes(4),), ttl_s: int = 20) -> Resolution:
    return Resolution(rdatas=rdatas, ttl_s=ttl_s, names=(), resolved_at=monotonic())


class Signed(Stand):
    """One whose zone is signed with a key of ours, and whose target is known."""

    wall = 1_800_000_000.0

    def begin(self) -> None:
        self.table.wall = lambda: self.wall
        self.signing = ZoneSigning.of(ZONE, (KEY,))
        self.signing.signer.use((KEY,))
        self.signing.there = {ZONE: frozenset({TYPE_A}), OTHER: frozenset({TYPE_A})}
        self.table.zones.sign_with({ZONE: self.signing})
        self.answer = self.said(self.take(SETTINGS))
        self.table.targets[TARGET, 1, Guarding()].settle(found(), "ok", 0.0)
        self.follow()

    def ask(self, message: bytes = DO) -> dns.message.Message:
        """Have Python reply, as to what is handed over, and the path be told."""
        end = len(query("example.com"))
        (answer,) = self.table.targets[TARGET, 1, Guarding()].answers
        made = answer.reply(message, end, monotonic(), udp=True)
        assert made is not None
        self.follow()
        return dns.message.from_wire(made)

    @property
    def layout(self) -> tuple[bytes, int, int, int, int] | None:
        """What it says now with DO=1, None where Python is to say it."""
        told = self.answer.told[-1]
        found: tuple[bytes, int, int, int, int] | None = told[0][0][6] if told else None
        return found

    def is_signed(self) -> bool:
        return self.layout is not None


@pytest.fixture
def stand() -> Signed:
    made = Signed()
    made.begin()
    return made


def _without_key(stand: Signed) -> None:
    stand.signing.signer.use(())


def _without_placeholder(stand: Signed) -> None:
    stand.signing.there[ZONE] = frozenset()


def test_it_is_signed_from_when_it_was_asked_for(stand: Signed) -> None:
    assert not stand.is_signed()
    stand.ask(query("example.com"))
    assert not stand.is_signed()
    reply = stand.ask()
    assert stand.layout is not None
    octets, answers, authorities, rotating, step = stand.layout
    assert (answers, authorities, rotating, step) == (2, 0, 1, 16)
    rrsig = reply.answer[1][0].to_wire()
    assert reply.answer[1].rdtype == TYPE_RRSIG
    assert octets.endswith(rrsig)
    assert stand.answer.told[-1][0][1][6] is None, "what is stale is signed in its time"


def test_what_is_found_next_is_signed_at_once(stand: Signed) -> None:
    stand.ask()
    before = stand.layout
    stand.table.targets[TARGET, 1, Guarding()].settle(found(rdatas=(b"\1\2\3\4",)), "ok", 0.0)
    assert stand.is_signed()
    assert stand.layout != before


@pytest.mark.parametrize("change", [_without_key, _without_placeholder])
def test_without_the_key_or_the_placeholder_it_is_not(stand: Signed, change: Callable[[Signed], None]) -> None:
    stand.ask()
    assert stand.is_signed()
    change(stand)
    stand.table.zones.version += 1
    stand.follow()
    assert not stand.is_signed()


def test_a_clock_that_was_set_calls_for_another_signature(stand: Signed) -> None:
    stand.ask()
    told = len(stand.answer.told)
    stand.wall += 3 * 86_400
    before = stand.layout
    stand.follow()
    assert len(stand.answer.told) == told + 1
    assert stand.layout != before


def test_a_rule_with_two_names_is_pythons(stand: Signed) -> None:
    """A signature is of one name."""
    stand.ask()
    assert stand.is_signed()
    both = evolve(SETTINGS, flatten={ZONE: RULE, OTHER: evolve(RULE)})
    assert stand.said(stand.take(both)) is stand.answer, "the one that the path has"
    assert not stand.is_signed()
    stand.ask()
    assert not stand.is_signed()
    stand.take(SETTINGS)
    stand.ask()
    assert stand.is_signed()


def test_what_is_denied_and_what_lasts_for_days_is_pythons(stand: Signed) -> None:
    stand.ask()
    target = stand.table.targets[TARGET, 1, Guarding()]
    target.settle(found(rdatas=()), "ok", 0.0)
    assert not stand.is_signed()
    target.settle(found(), "ok", 0.0)
    assert stand.is_signed()
    stand.take(evolve(SETTINGS, flatten={ZONE: evolve(RULE, max_ttl_s=10**6)}))
    target.settle(found(ttl_s=10**6), "ok", 0.0)
    stand.answer = stand.said(stand.take(evolve(SETTINGS, flatten={ZONE: evolve(RULE, max_ttl_s=10**6)})))
    stand.ask()
    assert not stand.is_signed()
