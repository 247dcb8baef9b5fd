from __future__ import annotations

from typing import TYPE_CHECKING

import dns.exception
import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Container

WWW = b"\3www\7example\3com\0"


def test_wire_and_text() -> None:
    assert names.to_text(WWW) == "www.example.com"
    assert names.to_text(names.ROOT) == "."
    assert names.to_wire(dns.name.from_text("WWW.Example.COM.")) == WWW


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ({WWW, b"\3com\0"}, WWW),
        ({b"\7example\3com\0", b"\0"}, b"\7example\3com\0"),
        ({b"\0"}, b"\0"),
        ({b"\3net\0", b"\6xample\3com\0"}, None),
        ((), None),
    ],
)
def test_the_nearest_that_encloses_a_name(known: Container[bytes], found: bytes | None) -> None:
    assert names.enclosing(WWW, known) == found


def test_the_root_is_enclosed_by_itself_alone() -> None:
    assert names.enclosing(names.ROOT, {names.ROOT}) == names.ROOT
    assert names.enclosing(names.ROOT, {WWW}) is None


@pytest.mark.parametrize("octets", [b"", b"\3ab", WWW + b"\0", b"\xc0\0"])
def test_what_is_no_name_is_an_error(octets: bytes) -> None:
    with pytest.raises(WireError):
        names.to_name(octets)


@given(st.lists(st.one_of(st.from_regex(rb"[A-Za-z0-9_-]{1,63}", fullmatch=True), st.binary(min_size=1, max_size=63))))
def test_the_text_is_dnspythons(labels: list[bytes]) -> None:
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    try:
        expected = dns.name.from_wire(wire, 0)[0].to_text(omit_final_dot=bool(labels))
    except dns.exception.DNSException:
        with pytest.raises(WireError):
            names.to_text(wire)
    else:
        assert names.to_text(wire) == expected


@pytest.mark.parametrize("wire", [b"", b"\3www", b"\3www\0x", b"\3ww", b"\x40" + b"a" * 64 + b"\0", b"\1.\0\1a\0"])
def test_what_is_no_name_has_no_text(wire: bytes) -> None:
    with pytest.raises(WireError):
        names.to_text(wire)
