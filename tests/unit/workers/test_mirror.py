from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from flatproxy.config.settings import Rule
from flatproxy.flatten.answers import Answer, question
from flatproxy.flatten.ladder import Resolution
from flatproxy.wire import records
from flatproxy.wire.peek import TYPE_A
from flatproxy.workers.messages import Facts
from flatproxy.workers.mirror import Mirror
from tests.unit.workers.test_channel import SETTINGS

if TYPE_CHECKING:
    from flatproxy.config.settings import Settings

NAME = b"\7example\3com\0"
SHOP = b"\4shop" + NAME
LB, CDN = b"\2lb\4test\0", b"\3cdn\4test\0"
ONE, TWO = b"\xcb\0\x71\1", b"\xcb\0\x71\2"
SOA = records.record(NAME, 6, 60, b"\2ns\0\4host\0" + bytes(20))
COLD_UNTIL = 100.0


def settings(**targets: bytes) -> Settings:
    """Settings that flag these names, `apex` and `shop`, for A alone."""
    names = {"apex": NAME, "shop": SHOP}
    rules = {names[key]: Rule(target=target, types=frozenset({"A"})) for key, target in targets.items()}
    return evolve(SETTINGS, flatten=rules)


def found(address: bytes, at: float = 0.0) -> Resolution:
    return Resolution(rdatas=(address,), ttl_s=60, names=("lb.test",), resolved_at=at)


def state(target: bytes, resolution: Resolution | None, failures: int = 0) -> Facts:
    return Facts(targets=((target, TYPE_A, resolution, failures, COLD_UNTIL),))


def answer(mirror: Mirror, name: bytes = NAME) -> Answer:
    made = mirror.table[question(name, TYPE_A)]
    assert isinstance(made, Answer)
    return made


def said(mirror: Mirror, name: bytes = NAME, now: float = 1.0) -> tuple[bytes, ...] | None:
    rrset = answer(mirror, name).rrset(now)
    return tuple(rrset[1]) if rrset is not None else None


def serving(facts: Facts, **targets: bytes) -> Mirror:
    mirror = Mirror()
    mirror.prepare(settings(**(targets or {"apex": LB})), facts)
    mirror.switch(Facts())
    return mirror


def test_nothing_is_in_force_before_the_switch() -> None:
    mirror = Mirror()
    mirror.prepare(settings(apex=LB), state(LB, found(ONE)))
    assert not mirror.table
    mirror.switch(Facts())
    assert said(mirror) == (ONE,)


def test_a_change_is_seen_at_once() -> None:
    mirror = serving(state(LB, found(ONE)))
    assert said(mirror) == (ONE,)
    assert not mirror.take(state(LB, found(TWO)))
    assert said(mirror) == (TWO,)


def test_a_change_between_the_two_steps_is_not_lost() -> None:
    mirror = serving(state(LB, found(ONE)))
    mirror.prepare(settings(apex=LB, shop=CDN), Facts())
    mirror.take(state(LB, found(TWO)))
    mirror.take(state(CDN, found(ONE)))
    assert said(mirror) == (TWO,), "the table in force has it"
    mirror.switch(Facts())
    assert said(mirror) == (TWO,)
    assert said(mirror, SHOP) == (ONE,)


def test_who_waits_for_a_cold_target_is_let_go_when_it_is_known() -> None:
    called: list[bytes] = []
    mirror = serving(state(LB, None))
    assert answer(mirror).wait(1.0, lambda: called.append(b"") if said(mirror) == (ONE,) else None)
    assert mirror.waits()
    mirror.take(state(LB, found(ONE)))
    assert called == [b""]
    assert not mirror.waits()


def test_who_waits_is_let_go_when_it_failed() -> None:
    called: list[bool] = []
    mirror = serving(state(LB, None))
    assert answer(mirror).wait(1.0, lambda: called.append(True))
    mirror.take(state(LB, None, failures=1))
    assert called == [True]
    assert not answer(mirror).wait(1.0, lambda: None), "it is no use to wait any more"


def test_who_waits_is_let_go_in_time_without_a_word() -> None:
    """The control process may have died: nobody waits for longer than the resolver's timeout."""
    called: list[bool] = []
    mirror = serving(state(LB, None))
    assert answer(mirror).wait(1.0, lambda: called.append(True))
    mirror.tick(COLD_UNTIL - 0.1)
    assert not called
    mirror.tick(COLD_UNTIL)
    assert called == [True]


def test_a_new_target_takes_its_state_with_the_switch() -> None:
    mirror = serving(state(LB, found(ONE)))
    mirror.prepare(settings(apex=LB, shop=CDN), Facts())
    mirror.switch(state(CDN, None))
    called: list[bool] = []
    assert answer(mirror, SHOP).wait(1.0, lambda: called.append(True))
    mirror.tick(COLD_UNTIL)
    assert called == [True]


def test_a_target_that_goes_lets_its_waiters_go_and_is_forgotten() -> None:
    called: list[bool] = []
    mirror = serving(state(LB, None))
    assert answer(mirror).wait(1.0, lambda: called.append(True))
    mirror.prepare(settings(apex=CDN), Facts())
    assert not called
    mirror.switch(state(CDN, found(TWO)))
    assert called == [True]
    assert said(mirror) == (TWO,)
    mirror.prepare(settings(apex=LB), Facts())
    mirror.switch(Facts())
    assert said(mirror) is None, "what was known of it is not known any more"


def test_what_was_discarded_leaves_nothing_behind() -> None:
    mirror = serving(state(LB, found(ONE)))
    mirror.prepare(settings(apex=CDN), Facts())
    mirror.discard()
    mirror.take(state(CDN, found(TWO)))
    assert said(mirror) == (ONE,)
    mirror.prepare(settings(apex=LB), Facts())
    mirror.switch(Facts())
    assert said(mirror) == (ONE,)


def test_a_thousand_reloads_leave_one_answer_behind() -> None:
    mirror = serving(state(LB, found(ONE)))
    for _ in range(1_000):
        mirror.prepare(settings(apex=LB), Facts())
        mirror.switch(Facts())
    assert len(answer(mirror).target.answers) == 1


def test_zones_by_the_deepest_that_is_known() -> None:
    mirror = serving(Facts(), apex=LB, shop=LB)
    signed = mirror.signed
    assert mirror.soa(SHOP) is None
    assert not mirror.take(Facts(zones={NAME: (SOA, False)})), "nothing is signed"
    assert answer(mirror, SHOP).soa(SHOP) == SOA
    assert SHOP not in signed
    assert mirror.take(Facts(zones={NAME: (SOA, True)}))
    assert SHOP in signed
    assert NAME in signed
    assert b"\3org\0" not in signed
    assert mirror.take(Facts(zones={SHOP: (b"shop", False)})) is False
    assert mirror.soa(SHOP) == b"shop"
    assert SHOP not in signed, "a zone of its own, which is not signed"
    mirror.take(Facts(zones={SHOP: (None, False)}))
    assert SHOP in signed, "a zone no more"
    assert mirror.take(Facts(zones={NAME: (None, False)}))
    assert mirror.signed is signed
    assert SHOP not in signed
    assert not list(signed)
