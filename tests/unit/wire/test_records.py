from __future__ import annotations

from flatproxy.wire import records

THREE = [bytes([192, 0, 2, number]) for number in (1, 2, 3)]


def test_every_rotation_is_the_whole_set_in_its_order() -> None:
    rrset = records.record_set(1, 60, THREE)
    assert rrset.counts == b"\0\3\0\0"
    seen = [rrset.rotated(turn) for turn in range(4)]
    assert seen[0] == seen[3]
    for turn in range(3):
        order = THREE[turn:] + THREE[:turn]
        assert seen[turn] == b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + rdata for rdata in order)


def test_records_of_different_lengths_are_rotated_whole() -> None:
    rdatas = [b"\0\1\0", b"\0\2\3lb1\0", b"\0\3\5lb-22\0"]
    rrset = records.record_set(65, 7, rdatas)
    for turn in range(4):
        start = turn % 3
        order = rdatas[start:] + rdatas[:start]
        assert rrset.rotated(turn) == b"".join(
            b"\xc0\x0c\0\x41\0\1\0\0\0\7" + len(rdata).to_bytes(2, "big") + rdata for rdata in order
        )
