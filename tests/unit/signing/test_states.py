from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.signing.states import LOOK_AGAIN_S, MAX_LOOK_S, KeyChange, KeyPhase, KeyRow, ZoneKeys
from tests.unit.signing.keyring import NOW, ZONE, key

if TYPE_CHECKING:
    from flatproxy.signing.keys import Key

OURS = key("ECDSAP256SHA256")
SECOND = key("ECDSAP256SHA256", 1)
OTHER = key("ECDSAP256SHA256", 2).rdata
"""The nameserver's own key."""
FOREIGN = key("RSASHA256").rdata
"""One of an algorithm of which we have no key."""


def zone_keys(*keys: Key) -> ZoneKeys:
    return ZoneKeys(ZONE, keys or (OURS,))


def active(*keys: Key) -> ZoneKeys:
    made = zone_keys(*keys)
    rdatas = [OTHER, *(each.rdata for each in made.keys)]
    made.learn(rdatas, 60, NOW - 100)
    made.learn(rdatas, 60, NOW)
    assert made.signers
    return made


def brief(changes: list[KeyChange]) -> list[tuple[str, str]]:
    return [(change.before.state.value, change.after.state.value) for change in changes]


class TestStates:
    def test_a_key_waits_for_the_ttl_before_it_signs(self) -> None:
        ours = zone_keys()
        assert brief(ours.learn([OTHER], 60, NOW)) == []
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 10)) == [("absent", "waiting")]
        assert ours.state(OURS).left_s(NOW + 30) == 40
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 69.5)) == []
        assert not ours.signers
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 70)) == [("waiting", "active")]
        assert list(ours.signers) == [OURS]
        assert ours.state(OURS).since == NOW + 70
        assert ours.state(OURS).left_s(NOW + 70) == 0

    def test_the_wait_is_for_the_ttl_of_the_set_without_the_key(self) -> None:
        ours = zone_keys()
        ours.learn([OTHER], 3600, NOW)
        ours.learn([OTHER, OURS.rdata], 60, NOW + 10)
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 3609)) == []
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 3610)) == [("waiting", "active")]

    def test_a_ttl_that_grows_meanwhile_counts(self) -> None:
        ours = zone_keys()
        ours.learn([OTHER, OURS.rdata], 60, NOW)
        ours.learn([OTHER, OURS.rdata], 600, NOW + 59)
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 100)) == []
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 600)) == [("waiting", "active")]

    def test_a_key_that_is_taken_out_signs_no_more_and_waits_again(self) -> None:
        ours = active()
        assert brief(ours.learn([OTHER], 60, NOW + 60)) == [("active", "absent")]
        assert not ours.signers
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW + 61)) == [("absent", "waiting")]
        assert brief(ours.learn([OTHER], 60, NOW + 62)) == [("waiting", "absent")]

    def test_silence_changes_nothing(self) -> None:
        ours = active()
        for later in range(100):
            ours.miss(NOW + 1_000 * later)
        assert list(ours.signers) == [OURS]

    def test_a_zone_that_is_not_signed_any_more(self) -> None:
        ours = active()
        assert brief(ours.learn([], 0, NOW + 60)) == [("active", "absent")]

    def test_a_clock_that_is_set_back_begins_the_wait_anew(self) -> None:
        ours = zone_keys()
        ours.learn([OTHER, OURS.rdata], 60, NOW)
        ours.learn([OTHER, OURS.rdata], 60, NOW - 86_400)
        assert brief(ours.learn([OTHER, OURS.rdata], 60, NOW - 86_400 + 60)) == [("waiting", "active")]

    def test_another_record_of_the_same_key_is_not_the_key(self) -> None:
        revoked = bytes((OURS.rdata[0], OURS.rdata[1] | 0x80)) + OURS.rdata[2:]
        assert brief(active().learn([OTHER, revoked], 60, NOW)) == [("active", "absent")]

    def test_a_higher_ttl_shortly_before_counts(self) -> None:
        ours = zone_keys()
        ours.learn([OTHER], 3600, NOW)
        ours.learn([OTHER], 60, NOW + 10)
        ours.learn([OTHER, OURS.rdata], 60, NOW + 70)
        assert ours.state(OURS).left_s(NOW + 70) == 3540

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 1000), st.integers(0, 500)), min_size=1, max_size=40))
    def test_whenever_it_signs_caches_have_forgotten_each_set_without_the_key(
        self, looks: list[tuple[bool, int, int]]
    ) -> None:
        ours, now, held_until, last_ttl_s = zone_keys(), NOW, NOW, 0
        for there, ttl_s, pause_s in looks:
            now += pause_s
            # Until this look the nameserver may have answered what it answered at the last one.
            held_until = max(held_until, now + last_ttl_s)
            last_ttl_s = 0 if there else ttl_s
            ours.learn([OTHER, OURS.rdata] if there else [OTHER], ttl_s, now)
            if ours.signers:
                assert there
                assert now >= held_until


class TestNextQuestion:
    @pytest.mark.parametrize(("ttl_s", "pause_s"), [(0, 1), (1, 1), (60, 60), (300, 300), (86_400, 300)])
    def test_as_often_as_the_ttl_says(self, ttl_s: int, pause_s: int) -> None:
        ours = zone_keys()
        ours.learn([OTHER], ttl_s, NOW)
        assert ours.ask_at == NOW + pause_s

    def test_the_first_is_due_at_once(self) -> None:
        assert zone_keys().ask_at < NOW

    def test_a_waiting_key_is_looked_at_when_it_has_waited(self) -> None:
        ours = zone_keys()
        ours.learn([OTHER, OURS.rdata], 310, NOW)
        ours.learn([OTHER, OURS.rdata], 310, NOW + 300)
        assert ours.ask_at == NOW + 310

    def test_after_silence_soon(self) -> None:
        ours = active()
        ours.miss(NOW)
        assert ours.ask_at == NOW + LOOK_AGAIN_S < NOW + MAX_LOOK_S


class TestAlgorithms:
    def test_one_in_the_zone_that_none_of_ours_covers(self) -> None:
        ours = active()
        ours.learn([OTHER, OURS.rdata, FOREIGN], 60, NOW + 60)
        assert not ours.signers
        assert "RSASHA256" in ours.off
        assert ours.state(OURS).state is KeyPhase.ACTIVE
        ours.learn([OTHER, OURS.rdata], 60, NOW + 120)
        assert list(ours.signers) == [OURS]
        assert not ours.off

    def test_one_that_only_our_key_has(self) -> None:
        ours = zone_keys()
        for later in (0, 60):
            ours.learn([FOREIGN, OURS.rdata], 60, NOW + later)
        assert not ours.signers
        assert "ECDSAP256SHA256" in ours.off

    def test_a_rollover_of_algorithms_with_two_keys(self) -> None:
        rsa = key("RSASHA256", 1)
        ours = zone_keys(OURS, rsa)
        for later in (0, 60):
            ours.learn([OTHER, FOREIGN, OURS.rdata, rsa.rdata], 60, NOW + later)
        assert ours.signers == (OURS, rsa)

    def test_of_two_active_keys_of_one_algorithm_the_first_signs(self) -> None:
        assert active(SECOND, OURS).signers == (SECOND,)

    def test_keys_that_sign_no_zone_do_not_count(self) -> None:
        ours = active()
        ours.learn([OTHER, OURS.rdata, bytes((0, 0)) + FOREIGN[2:], b""], 60, NOW + 60)
        assert list(ours.signers) == [OURS]


class TestRestart:
    def test_an_active_key_signs_at_once(self) -> None:
        again = zone_keys()
        again.restore(active().rows())
        assert list(again.signers) == [OURS]
        assert again.state(OURS) == active().state(OURS)

    def test_a_waiting_key_waits_on(self) -> None:
        before = zone_keys()
        before.learn([OTHER, OURS.rdata], 60, NOW)
        again = zone_keys()
        again.restore(before.rows())
        assert brief(again.learn([OTHER, OURS.rdata], 60, NOW + 60)) == [("waiting", "active")]

    def test_signing_stays_off(self) -> None:
        before = active()
        before.learn([OTHER, OURS.rdata, FOREIGN], 60, NOW)
        again = zone_keys()
        again.restore(before.rows())
        assert not again.signers

    def test_only_rows_of_its_keys_and_that_make_sense_are_taken(self) -> None:
        (good,) = active().rows()
        again = zone_keys()
        rows = [evolve(good, zone=b"\0"), evolve(good, tag=good.tag ^ 1), evolve(good, algorithm=8)]
        again.restore([*rows, evolve(good, state="odd")])
        assert not again.signers
        again.restore([good])
        assert list(again.signers) == [OURS]

    def test_a_row_says_what_it_is_about(self) -> None:
        ours = active()
        assert ours.rows() == [
            KeyRow(zone=ZONE, algorithm=13, tag=OURS.tag, state="active", since=NOW, held_until=NOW - 40, ttl_s=60),
        ]
