from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import dns.rdatatype
import pytest
from dns.exception import ValidationFailure
from hypothesis import given, settings
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.signing.rrsig import BACKDATED_S, VALID_S, sign
from tests.unit.signing.keyring import ALGORITHMS, NOW, ZONE, key, rrset, validate

if TYPE_CHECKING:
    from pathlib import Path

    from dns.rdtypes.ANY.RRSIG import RRSIG

A = 1
AAAA = 28
HINFO = 13
HTTPS = 65

labels = st.binary(min_size=1, max_size=20).map(lambda label: bytes((len(label),)) + label)
owners = st.lists(labels, max_size=5).map(lambda parts: b"".join(parts) + ZONE)


def character_string(octets: bytes) -> bytes:
    return bytes((len(octets),)) + octets


short = st.binary(max_size=30).map(character_string)
of_type = {
    A: st.binary(min_size=4, max_size=4),
    AAAA: st.binary(min_size=16, max_size=16),
    HINFO: st.tuples(short, short).map(b"".join),
    HTTPS: st.tuples(st.integers(1, 65_535), owners).map(lambda service: service[0].to_bytes(2, "big") + service[1]),
    15: st.tuples(st.integers(0, 65_535), owners).map(lambda exchange: exchange[0].to_bytes(2, "big") + exchange[1]),
    16: st.lists(short, min_size=1, max_size=3).map(b"".join),
}
rrsets = st.sampled_from(sorted(of_type)).flatmap(
    lambda rdtype: st.tuples(st.just(rdtype), st.lists(of_type[rdtype], min_size=1, max_size=6))
)
times = st.floats(0, 2**32 - 1 - VALID_S)


def parsed(wire: bytes) -> RRSIG:
    record: RRSIG = rrset(b"\0", dns.rdatatype.RRSIG, 0, [wire])[0]
    return record


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(deadline=None)  # the keys are made meanwhile
@given(owner=owners, records=rrsets, ttl_s=st.integers(0, 2**31 - 1), now=times.filter(lambda now: now > BACKDATED_S))
def test_what_is_signed_validates(
    algorithm: str, owner: bytes, records: tuple[int, list[bytes]], ttl_s: int, now: float
) -> None:
    rdtype, rdatas = records
    made = sign([key(algorithm)], owner, rdtype, ttl_s, rdatas, now=now)
    validate(rrset(owner, rdtype, ttl_s, rdatas), made.rdatas, [key(algorithm)], now)


@settings(deadline=None)  # the keys are made meanwhile
@given(owners, st.integers(0, 300))
def test_a_lower_ttl_and_another_letter_case_validate_too(owner: bytes, lower: int) -> None:
    made = sign([key()], owner, A, 300, [b"\xc0\0\2\1", b"\xc0\0\2\2"], now=NOW)
    sent = rrset(owner.upper(), A, lower, [b"\xc0\0\2\2", b"\xc0\0\2\1"])
    validate(sent, made.rdatas, [key()], NOW)


def test_the_fields() -> None:
    rrsig = parsed(sign([key()], b"\3www" + ZONE, A, 77, [b"\xc0\0\2\1"], now=NOW).rdatas[0])
    assert rrsig.signer.to_text() == "example.com."
    assert (rrsig.type_covered, rrsig.labels, rrsig.original_ttl, rrsig.key_tag) == (A, 3, 77, key().tag)
    assert (rrsig.inception, rrsig.expiration) == (int(NOW) - 3600, int(NOW) + 3 * 86_400)


def test_an_asterisk_is_no_label() -> None:
    owner = b"\1*" + ZONE
    made = sign([key()], owner, A, 77, [b"\xc0\0\2\1"], now=NOW)
    assert parsed(made.rdatas[0]).labels == 2
    validate(rrset(owner, A, 77, [b"\xc0\0\2\1"]), made.rdatas, [key()], NOW)


def test_each_algorithm_has_its_signature() -> None:
    ours = [key(algorithm) for algorithm in ALGORITHMS]
    made = sign(ours, ZONE, A, 300, [b"\xc0\0\2\1"], now=NOW)
    assert [parsed(wire).algorithm for wire in made.rdatas] == [each.algorithm for each in ours]
    validate(rrset(ZONE, A, 300, [b"\xc0\0\2\1"]), made.rdatas, ours, NOW)


@pytest.mark.parametrize("later", [-BACKDATED_S - 2, VALID_S + 1])
def test_the_validator_sees_a_wrong_clock(later: int) -> None:
    made = sign([key()], ZONE, A, 300, [b"\xc0\0\2\1"], now=NOW)
    with pytest.raises(ValidationFailure):
        validate(rrset(ZONE, A, 300, [b"\xc0\0\2\1"]), made.rdatas, [key()], NOW + later)


def test_the_validator_sees_a_wrong_key_and_wrong_records() -> None:
    made = sign([key()], ZONE, A, 300, [b"\xc0\0\2\1"], now=NOW)
    with pytest.raises(ValidationFailure):
        validate(rrset(ZONE, A, 300, [b"\xc0\0\2\1"]), made.rdatas, [key(number=1)], NOW)
    with pytest.raises(ValidationFailure):
        validate(rrset(ZONE, A, 300, [b"\xc0\0\2\2"]), made.rdatas, [key()], NOW)


def test_renewal_is_due_when_half_is_over_or_the_clock_was_set_back() -> None:
    made = sign([key()], ZONE, A, 300, [b"\xc0\0\2\1"], now=NOW)
    half = (VALID_S + BACKDATED_S) / 2 - BACKDATED_S
    assert not made.needs_renewal(NOW)
    assert not made.needs_renewal(NOW + half - 2)
    assert made.needs_renewal(NOW + half)
    assert not made.needs_renewal(NOW - BACKDATED_S)
    assert made.needs_renewal(NOW - BACKDATED_S - 1)


@pytest.mark.parametrize(
    ("owner", "rdatas"),
    [(b"\7example\3net\0", [b"\0\1\0"]), (b"\3com\0", [b"\0\1\0"]), (ZONE, []), (ZONE, [b"\0\1"])],
)
def test_what_cannot_be_signed(owner: bytes, rdatas: list[bytes]) -> None:
    with pytest.raises(WireError):
        sign([key()], owner, 15, 300, rdatas, now=NOW)


def test_times_are_counted_around_at_the_end_of_32_bits() -> None:
    rrsig = parsed(sign([key()], ZONE, A, 300, [b"\xc0\0\2\1"], now=2**32 - 1).rdatas[0])
    assert (rrsig.inception, rrsig.expiration) == (2**32 - 1 - BACKDATED_S, VALID_S - 1)


@pytest.mark.skipif(shutil.which("ldns-verify-zone") is None, reason="ldns-verify-zone is not installed")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("broken", [False, True])
def test_ldns_verifies_a_zone_that_was_signed_here(algorithm: str, broken: bool, tmp_path: Path) -> None:
    ours = key(algorithm)
    soa = b"\2ns" + ZONE + b"\4host" + ZONE + b"\0\0\0\1" + 4 * b"\0\0\1\0"
    https = b"\0\1\0" + b"\0\1\0\3\2h2" + b"\0\4\0\4\xc0\0\2\1"
    sets = {6: [soa], 2: [b"\2ns\4test\0"], A: [b"\xc0\0\2\1"], AAAA: [bytes(15) + b"\1"], HTTPS: [https]}
    sets |= {HINFO: [b"\7RFC8482\0"], 48: [ours.rdata]}
    bitmap = bytearray(9)
    for rdtype in (*sets, 46, 47):
        bitmap[rdtype >> 3] |= 0x80 >> (rdtype & 7)
    nsec = ZONE + b"\0\x09" + bytes(bitmap)
    sets[47] = [nsec]
    now = 1_900_000_000.0
    lines = []
    for rdtype, rdatas in sets.items():
        made = sign([ours], ZONE, rdtype, 256, rdatas, now=now)
        shown = [b"\xc0\0\2\2"] if broken and rdtype == A else rdatas
        lines += [rrset(ZONE, rdtype, 256, shown).to_text(), rrset(ZONE, 46, 256, made.rdatas).to_text()]
    path = tmp_path / "zone"
    path.write_text("\n".join(lines) + "\n")
    run = subprocess.run(
        ["ldns-verify-zone", "-t", "20300318000000", path], capture_output=True, text=True, check=False
    )
    assert (run.returncode == 0) is not broken, run.stdout + run.stderr
    assert ("Bogus" in run.stdout + run.stderr) is broken
