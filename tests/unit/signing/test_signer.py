from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.signing import signer
from flatproxy.signing.rrsig import VALID_S
from tests.unit.signing.keyring import NOW, ZONE, key, rrset, validate

ONE = (b"\xc0\0\2\1",)
TWO = (b"\xc0\0\2\1", b"\xc0\0\2\2")


def test_what_was_signed_once_is_not_signed_again() -> None:
    ours = signer.Signer((key(),))
    first = ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    assert ours.rrsigs(ZONE, 1, 60, (b"\xc0\0\2\1",), NOW + 1000) is first
    assert ours.made == 1


@pytest.mark.parametrize(
    ("owner", "rdtype", "ttl_s", "rdatas"),
    [
        (b"\1a" + ZONE, 1, 60, ONE),
        (ZONE, 13, 60, ONE),
        (ZONE, 1, 59, ONE),
        (ZONE, 1, 61, ONE),
        (ZONE, 1, 60, TWO),
    ],
)
def test_what_differs_is_signed_by_itself(owner: bytes, rdtype: int, ttl_s: int, rdatas: tuple[bytes, ...]) -> None:
    ours = signer.Signer((key(),))
    ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    ours.rrsigs(owner, rdtype, ttl_s, rdatas, NOW)
    assert ours.made == 2


def test_half_of_the_validity_later_it_is_signed_again() -> None:
    ours = signer.Signer((key(),))
    first = ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    assert ours.rrsigs(ZONE, 1, 60, ONE, NOW + VALID_S / 2) != first


def test_other_keys_sign_anew_and_the_same_ones_do_not() -> None:
    ours = signer.Signer((key(),))
    ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    ours.use((key(),))
    ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    assert ours.made == 1
    ours.use((key(number=1), key("RSASHA256")))
    made = ours.rrsigs(ZONE, 1, 60, ONE, NOW)
    validate(rrset(ZONE, 1, 60, ONE), made, ours.keys, NOW)


def test_no_more_than_so_many_are_kept() -> None:
    ours = signer.Signer(())  # nothing to sign with: only what is kept matters
    for number in range(signer.KEPT + 1):
        ours.rrsigs(b"\2" + number.to_bytes(2, "big") + b"\0", 1, 60, ONE, NOW)
    assert ours.made == signer.KEPT + 1
    ours.rrsigs(b"\2\0\1\0", 1, 60, ONE, NOW)
    assert ours.made == signer.KEPT + 1
    ours.rrsigs(b"\2\0\0\0", 1, 60, ONE, NOW)
    assert ours.made == signer.KEPT + 2


def test_what_cannot_be_signed_leaves_nothing_behind() -> None:
    ours = signer.Signer((key(),))
    for _ in range(2):
        with pytest.raises(WireError):
            ours.rrsigs(b"\3net\0", 1, 60, ONE, NOW)
    assert ours.made == 0


@settings(deadline=None)  # the keys are made meanwhile
@given(
    st.lists(
        st.tuples(
            st.sampled_from([ZONE, b"\1a" + ZONE]),
            st.sampled_from([1, 60]),
            st.sampled_from([ONE, TWO]),
            st.integers(-10_000, 300_000),
            st.integers(0, 1),
        ),
        max_size=20,
    )
)
def test_whatever_was_asked_before_each_one_validates(
    asked: list[tuple[bytes, int, tuple[bytes, ...], int, int]],
) -> None:
    ours, now = signer.Signer((key(),)), NOW
    for owner, ttl_s, rdatas, pause_s, number in asked:
        now += pause_s
        ours.use((key(number=number),))
        made = ours.rrsigs(owner, 1, ttl_s, rdatas, now)
        validate(rrset(owner, 1, ttl_s, rdatas), made, ours.keys, now)
