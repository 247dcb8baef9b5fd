from __future__ import annotations

from typing import TYPE_CHECKING

import dns.name
import pytest
from hypothesis import assume, given
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


@given(
    st.lists(st.binary(min_size=1, max_size=63) | st.from_regex(rb"[a-zA-Z0-9_.-]{1,63}", fullmatch=True), max_size=8)
)
def test_a_text_is_what_dnspython_says(labels: list[bytes]) -> None:
    wire = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    assume(len(wire) <= 255)
    assert names.to_text(wire) == dns.name.from_wire(wire, 0)[0].to_text(omit_final_dot=bool(labels))


@pytest.mark.parametrize("octets", [b"", b"\3ab", WWW + b"\0", b"\xc0\0", b"\3abc", (b"\x3f" + b"a" * 63) * 4 + b"\0"])
def test_what_is_no_name_has_no_text(octets: bytes) -> None:
    with pytest.raises(WireError):
        names.to_text(octets)


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
