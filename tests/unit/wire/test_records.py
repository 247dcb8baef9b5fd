from __future__ import annotations

from flatproxy.wire import records

THREE = [bytes([192, 0, 2, number]) for number in (1, 2, 3)]


def test_every_rotation_is_the_whole_set_in_its_order() -> None:
    rrset = records.address_records(1, 60, THREE)
    assert rrset.counts == b"\0\3\0\0"
    seen = [rrset.rotated(turn) for turn in range(4)]
    assert seen[0] == seen[3]
    for turn in range(3):
        order = THREE[turn:] + THREE[:turn]
        assert seen[turn] == b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + rdata for rdata in order)


def test_addresses_in_text() -> None:
    assert records.texts([THREE[0], b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"]) == ["192.0.2.1", "2001:db8::1"]
    assert str(records.texts(THREE[:2])) == "192.0.2.1, 192.0.2.2"
    assert str(records.texts([])) == "no address"


def test_private_addresses() -> None:
    assert records.is_private(bytes([10, 0, 0, 1]))
    assert not records.is_private(bytes([9, 9, 9, 9]))
