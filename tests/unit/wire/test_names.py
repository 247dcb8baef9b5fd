from __future__ import annotations

import dns.name
import pytest

from flatproxy.errors import WireError
from flatproxy.wire import names

WWW = b"\3www\7example\3com\0"


def test_wire_and_text() -> None:
    assert names.to_text(WWW) == "www.example.com"
    assert names.to_text(names.ROOT) == "."
    assert names.to_wire(dns.name.from_text("WWW.Example.COM.")) == WWW


def test_suffixes_go_down_to_the_root() -> None:
    assert names.suffixes(WWW) == [WWW, b"\7example\3com\0", b"\3com\0", b"\0"]


def test_the_closest_of_the_enclosing_names() -> None:
    apex, parent = b"\7example\3com\0", b"\3com\0"
    assert names.enclosing(WWW, {parent, apex}) == apex
    assert names.enclosing(WWW, {WWW, apex}) == WWW
    assert names.enclosing(WWW, {names.ROOT}) == names.ROOT
    assert names.enclosing(WWW, {b"\7example\3net\0", b"\1w" + apex}) is None


@pytest.mark.parametrize("octets", [b"", b"\3ab", WWW + b"\0", b"\xc0\0"])
def test_what_is_no_name_is_an_error(octets: bytes) -> None:
    with pytest.raises(WireError):
        names.to_name(octets)
