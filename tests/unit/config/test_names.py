from __future__ import annotations

import string
import tomllib
from typing import TYPE_CHECKING

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.config import names
from flatproxy.config.problems import Refusal

from .configs import outcome

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_LABEL = "a" * 63
LONGEST = ".".join([LONG_LABEL] * 3 + ["a" * 61])

READERS = [names.zone, names.target, names.flagged_name]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("example.com", b"\x07example\x03com\0"),
        ("example.com.", b"\x07example\x03com\0"),
        ("Example.COM", b"\x07example\x03com\0"),
        ("com", b"\x03com\0"),
        ("_dmarc.a-b.example.com", b"\x06_dmarc\x03a-b\x07example\x03com\0"),
        ("xn--bcher-kva.example", b"\x0dxn--bcher-kva\x07example\0"),
        ("1.2.0.192.in-addr.arpa", b"\x011\x012\x010\x03192\x07in-addr\x04arpa\0"),
        ("0/25.2.0.192.in-addr.arpa", b"\x040/25\x012\x010\x03192\x07in-addr\x04arpa\0"),
        ("192.0.2", b"\x03192\x010\x012\0"),
        ("256.0.0.1", b"\x03256\x010\x010\x011\0"),
        (r"a\.b.example", b"\x03a.b\x07example\0"),
        (r"\065\032\\.example", b"\x03a \\\x07example\0"),
        (r"\000\255.example", b"\x02\x00\xff\x07example\0"),
        (r"a\:b.example", b"\x03a:b\x07example\0"),
        (LONG_LABEL, b"\x3f" + LONG_LABEL.encode() + b"\0"),
        (LONGEST, dns.name.from_text(LONGEST).to_wire()),
        (LONGEST + ".", dns.name.from_text(LONGEST).to_wire()),
    ],
)
def test_a_name_becomes_its_lower_case_wire_form(read: Callable[[object], bytes], text: str, wire: bytes) -> None:
    assert read(text) == wire


def test_the_root_is_a_zone_and_nothing_else() -> None:
    assert names.zone(".") == b"\0"
    for read in (names.target, names.flagged_name):
        with pytest.raises(Refusal, match="the root"):
            read(".")


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("value", "reason", "write"),
    [
        ("", "empty", '"'),
        (5, "a string, not an integer", '"'),
        (True, "a string, not a boolean", '"'),
        (["a"], "a string, not an array", '"'),
        ("bücher.example", "ASCII", '"xn--bcher-kva.example"'),
        ("Bücher.Example.", "ASCII", '"xn--bcher-kva.example."'),
        ("☃.example", "ASCII", '"xn--n3h.example"'),
        ("a。b", "ASCII", '"a.b"'),
        ("ü" * 70, "ASCII", "xn-- form"),
        ("\ud800", "ASCII", "xn-- form"),
        ("ü @.example", "ASCII", "xn-- form"),
        ("a" * 64, "longer than 63 octets", "63"),
        ("a" * 64 + ".example", "longer than 63 octets", "63"),
        (LONGEST + "a", "longer than 255 octets", "255"),
        ("a." * 127 + "aa", "longer than 255 octets", "255"),
        (r"\097" * 64, "longer than 63 octets", "63"),
        ("a..b", "a label is empty", '"a.b"'),
        (".a", "a label is empty", '"a"'),
        ("a..", "a label is empty", '"a"'),
        ("..", "a label is empty", '"."'),
        (r"a\256.b", "escape", "backslash"),
        (r"a\25", "escape", "backslash"),
        ("a\\", "escape", "backslash"),
        ("192.0.2.1", "an IP address", "fallback"),
        ("192.0.2.1.", "an IP address", "fallback"),
        ("2001:db8::1", "an IP address", "fallback"),
        ("[2001:db8::1]", "an IP address", "fallback"),
        ("https://lb.example.net/path", "a URL", '"lb.example.net"'),
        ("lb.example.net:443", "no port", '"lb.example.net"'),
        (" example.com", "spaces", '"example.com"'),
        ("example.com\n", "spaces", '"example.com"'),
        ("exam ple.com", "spaces", r"\032"),
        ("a\tb", "control characters", r"\032"),
        ("a\0", "control characters", r"\032"),
        ("a:b:c.example", "colons", r"\:"),
        ("@", "zone files", "in full"),
        ("*.example.com", "wildcard", ""),
        (r"\*.example.com", "wildcard", ""),
    ],
)
def test_what_is_not_a_name_is_refused(read: Callable[[object], bytes], value: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        read(value)
    assert reason in caught.value.reason
    assert write in caught.value.write
    assert caught.value.write


def test_a_wildcard_zone_is_told_that_a_zone_covers_what_is_below() -> None:
    with pytest.raises(Refusal) as caught:
        names.zone("*.example.com")
    assert caught.value.write == '"example.com"'


@given(st.text(string.ascii_letters + string.digits + "-_./", min_size=1, max_size=70))
def test_names_agree_with_dnspython(text: str) -> None:
    try:
        expected = dns.name.from_text(text).canonicalize().to_wire()
    except (dns.name.EmptyLabel, dns.name.LabelTooLong):
        expected = None
    found = outcome(names.zone, text)
    if isinstance(found, Refusal):
        assert expected is None or "an IP address" in found.reason
    else:
        assert found == expected


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    found = outcome(names.zone, text)
    if isinstance(found, Refusal):
        assert found.write
    else:
        assert dns.name.from_wire(found, 0)[0].canonicalize().to_wire() == found


@given(st.text(min_size=1).filter(lambda text: not text.isascii()))
def test_the_a_label_form_that_is_suggested_is_accepted(text: str) -> None:
    refusal = outcome(names.zone, text)
    assert isinstance(refusal, Refusal)
    if refusal.write.startswith('"'):
        found = outcome(names.zone, tomllib.loads(f"a = {refusal.write}")["a"])
        assert isinstance(found, bytes) or "wildcard" in found.reason
