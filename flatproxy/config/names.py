"""Domain names as a configuration writes them. It reads text; the DNS is never asked."""

from __future__ import annotations

import re
from ipaddress import ip_address

import dns.exception
import dns.name

from flatproxy.config.problems import Refusal, kind_of, quoted
from flatproxy.wire.names import ROOT

# Most names: they need no parser, which counts with a hundred thousand of them. The last label starts with a letter, so
# that no address is among them.
_PLAIN = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)*[A-Za-z][A-Za-z0-9_-]{0,62}\.?")
_LONGEST_PLAIN = 253
_ESCAPE = re.compile(r"\\(?:[0-9]{3}|.)")
_STRAY = re.compile(r"[\x00-\x20\x7f:]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/:]+)")
_HOST_AND_PORT = re.compile(r"([^:]+):[0-9]+")
_ADDRESS_LIKE = re.compile(r"[0-9.]+|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?")


def zone(value: object) -> bytes:
    """Return the wire form of a zone's name; `"."` stands for every name."""
    wire = _name(value, '"example.com"')
    if wire.startswith(b"\1*"):
        raise Refusal("a zone covers every name below it and needs no wildcard", quoted(str(value)[2:] or "."))
    return wire


def target(value: object) -> bytes:
    """Return the wire form of a target, a host name."""
    example = '"lb.example.net"'
    wire = _name(value, example)
    if wire == ROOT:
        raise Refusal("the root is no host", f"the host name whose addresses are the answer, like {example}")
    if wire.startswith(b"\1*"):
        raise Refusal("a wildcard is no host", f"one host name, like {example}")
    return wire


def flagged_name(value: object) -> bytes:
    """Return the wire form of a flagged name."""
    example = '"example.com"'
    wire = _name(value, example)
    if wire == ROOT:
        raise Refusal("the root cannot be flattened", f"the name that is to be answered, like [flatten.{example}]")
    if wire.startswith(b"\1*"):
        raise Refusal("flagged names are exact, a wildcard matches nothing", "each name that is meant")
    return wire


def _name(value: object, example: str) -> bytes:
    if not isinstance(value, str):
        raise Refusal(f"a name is a string, not {kind_of(value)}", example)
    if not value:
        raise Refusal("the name is empty", example)
    if not value.isascii():
        raise Refusal("DNS names are ASCII", _a_labels(value))
    return _wire(value)


def is_plain(text: str) -> bool:
    """Tell whether a name is written as most are: letters, digits and hyphens, ending in what is no address."""
    return len(text) <= _LONGEST_PLAIN and _PLAIN.fullmatch(text) is not None


def _wire(text: str) -> bytes:
    """Return the lower-case wire form of an ASCII name (RFC 1035 sections 3.1 and 5.1, RFC 4343 section 3)."""
    if is_plain(text):
        labels = text.lower().removesuffix(".").encode().split(b".")
        return b"".join([bytes((len(label),)) + label for label in labels]) + ROOT
    _refuse_lookalikes(text)
    try:
        return dns.name.from_text(text).canonicalize().to_wire() or ROOT
    except dns.name.LabelTooLong:
        raise Refusal("a label is longer than 63 octets", "a name whose labels have at most 63 octets") from None
    except dns.name.NameTooLong:
        raise Refusal("the name is longer than 255 octets", "a name of at most 255 octets") from None
    except dns.name.EmptyLabel:
        raise Refusal("a label is empty", quoted(".".join(part for part in text.split(".") if part) or ".")) from None
    except dns.exception.DNSException:
        raise Refusal(
            r"an escape is neither \DDD (000 to 255) nor \ and one character", "two backslashes for one"
        ) from None


def _refuse_lookalikes(text: str) -> None:
    """Refuse what would be a name by the letter, and is meant as something else."""
    if text == "@":
        raise Refusal("@ has a meaning in zone files only", "the name in full")
    if _ADDRESS_LIKE.fullmatch(text) and _is_address(text.rstrip(".")):
        reason = "an IP address is not a name"
        raise Refusal(reason, "a host name; a fixed address belongs in the zone itself, or in fallback")
    if found := _URL.match(text):
        raise Refusal("a URL is not a name", quoted(found[1]))
    if found := _HOST_AND_PORT.fullmatch(text):
        raise Refusal("a name has no port", quoted(found[1]))
    if _STRAY.search(_ESCAPE.sub("", text)):
        stripped = text.strip()
        write = r"a name without them, or escape them: \032 is a space, \: a colon"
        raise Refusal(
            "spaces, colons and control characters do not belong in a name",
            write if not stripped or _STRAY.search(_ESCAPE.sub("", stripped)) else quoted(stripped),
        )


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        return False
    return True


def _a_labels(text: str) -> str:
    """Return the A-label form of an internationalised name (RFC 5890), in quotes; a description where it has none."""
    for codec in (dns.name.IDNA_2008_UTS_46, dns.name.IDNA_2003):
        try:
            meant = dns.name.from_text(text, idna_codec=codec).to_text(omit_final_dot=not text.endswith("."))
            _wire(meant)
        except (dns.exception.DNSException, UnicodeError, Refusal):
            continue
        if "\\" not in meant:
            return quoted(meant)
    return "the name in ASCII: letters, digits and hyphens, or its xn-- form"
