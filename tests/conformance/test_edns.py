"""EDNS as it is asked and as it should not be, odd counts, letter case."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support import dnsio, packets
from tests.support.packets import edns, option

from . import compare, zones

if TYPE_CHECKING:
    from tests.support.nameserver import Nameserver
    from tests.support.scripted import Query, Scripted

    from .arena import Launch, MakeStub, Pair
    from .subject import Subject

_COOKIE, _NSID, _ECS, _KEEPALIVE = 10, 3, 8, 11
_ECS_ZERO = option(_ECS, struct.pack("!HBB", 1, 0, 0))
_ECS_24 = option(_ECS, struct.pack("!HBB", 1, 24, 0) + bytes((192, 0, 2)))


def both_ways(subject: Subject, backend: Nameserver, messages: list[bytes], *, answered: bool = False) -> None:
    for transport in ("udp", "tcp"):
        compare.as_backend(subject, backend, messages, transport, answered=answered)


@pytest.mark.must
def test_015_later_edns_versions(pair: Pair) -> None:
    messages = [
        packets.query(zones.PLAIN, packets.SOA, opt=edns(version=version, flags=flags, options=options))
        for version in (1, 2, 100, 255)
        for flags in (0, packets.DO, 0x0080)
        for options in (b"", option(100))
    ]
    both_ways(pair.subject, pair.backend, messages, answered=True)
    for message in messages:
        found = dnsio.udp(pair.subject.address, message)
        assert extended_rcode(found) == packets.BADVERS


def opt_of(message: bytes | None) -> bytes | None:
    """Return the OPT record of a reply that has no other record behind it, None where there is none."""
    at = (message or b"").rfind(b"\0\0\x29")
    return None if message is None or at < 12 or message[10:12] == b"\0\0" else message[at:]


def extended_rcode(message: bytes | None) -> int | None:
    found = opt_of(message)
    if message is None:
        return None
    return packets.rcode_of(message) | (found[5] << 4 if found else 0)


@pytest.mark.must
def test_016_unknown_options_and_flags(pair: Pair) -> None:
    codes = (0, 4, 13, 20, 100, 26946, 65001, 65535)
    opts = [edns(options=option(code, b"marker" * n)) for code in codes for n in (0, 1, 20)]
    opts += [edns(flags=flags) for flags in (0x4000, 0x0001, 0x7FFF, 0xFFFF)]
    messages = [packets.query(name, opt=opt) for opt in opts for name in (zones.PLAIN, f"nowhere.{zones.PLAIN}")]
    both_ways(pair.subject, pair.backend, messages, answered=True)
    for message in messages:
        found = dnsio.udp(pair.subject.address, message)
        assert found is not None
        assert b"marker" not in found
        opt = opt_of(found)
        assert opt is not None
        assert not int.from_bytes(opt[7:9], "big") & 0x7FFF


@pytest.mark.must
def test_017_known_options(pair: Pair) -> None:
    chain = packets.name(zones.PLAIN)
    options = [
        option(_NSID),
        _ECS_ZERO,
        _ECS_24,
        option(9),
        option(12, bytes(64)),
        option(13, chain),
        option(14, b"\0\1"),
    ]
    messages = [
        packets.query(name, rdtype, opt=edns(4096, options=found))
        for found in [*options, b"".join(options)]
        for name, rdtype in ((zones.PLAIN, packets.SOA), (zones.SIGNED, packets.A), (f"no.{zones.PLAIN}", packets.A))
    ]
    both_ways(pair.subject, pair.backend, messages, answered=True)


@pytest.mark.must
def test_017_cookies(proxy: Subject, nsd: Nameserver) -> None:
    def cookie_from(where: tuple[str, int], sent: bytes) -> bytes:
        reply = dnsio.udp(where, packets.query(zones.PLAIN, opt=edns(options=option(_COOKIE, sent))))
        opt = opt_of(reply)
        assert opt is not None
        assert opt[11:13] == b"\0\x0a", "the first option back is a cookie"
        return opt[15:]

    mine = bytes(range(8))
    direct, through = cookie_from(nsd.address, mine), cookie_from(proxy.address, mine)
    assert through[:8] == mine
    assert len(through) == len(direct) == 24
    # NSD gives a cookie back unchanged that is its own and young, and makes a new one else (RFC 9018 section 4.3).
    assert cookie_from(proxy.address, through) == through
    forged = mine + through[8:16] + bytes(8)
    assert cookie_from(proxy.address, forged) != forged


def broken_edns() -> list[bytes]:
    """Queries whose OPT record is wrong in one way each."""
    good = edns()
    long_option = struct.pack("!HH", 65001, 200) + b"short"
    opts = [
        edns(options=option(_COOKIE, bytes(7))),
        edns(options=option(_COOKIE, bytes(41))),
        edns(options=option(_COOKIE, bytes(12))),
        edns(options=option(_COOKIE)),
        edns(options=long_option),
        edns(options=b"\0"),
        good[:9] + b"\0\x64",
        good[:9] + b"\xff\xff" + b"x" * 40,
        b"\x01a\0" + good[1:],
        b"\xc0\x0c" + good[1:],
        *(edns(options=option(_ECS, data)) for data in (
            b"", b"\0", b"\0\1\x18", struct.pack("!HBB", 1, 33, 0) + bytes(5), struct.pack("!HBB", 9, 24, 0) + bytes(3),
            struct.pack("!HBB", 1, 24, 24) + bytes((192, 0, 2)), struct.pack("!HBB", 1, 24, 0) + bytes(4),
            struct.pack("!HBB", 1, 20, 0) + bytes((192, 0, 2, 255)), struct.pack("!HBB", 2, 129, 0) + bytes(17),
        )),
    ]  # fmt: skip
    out = [packets.query(zones.PLAIN, opt=opt) for opt in opts]
    asked = packets.question(zones.PLAIN)
    out += [
        packets.header(77, packets.RD, (1, 0, 0, 2)) + asked + good + good,
        packets.header(78, packets.RD, (1, 0, 0, 2)) + asked + good + edns(version=1),
        packets.header(79, packets.RD, (1, 1, 0, 0)) + asked + good,
        packets.header(80, packets.RD, (1, 0, 1, 0)) + asked + good,
        packets.header(81, packets.RD, (1, 0, 0, 3)) + asked + good,
    ]
    out += [packets.query(zones.PLAIN, opt=good)[:-cut] for cut in (1, 2, 5, 8, 10)]
    return out


@pytest.mark.must
def test_018_broken_edns(pair: Pair) -> None:
    def as_wary_as_backend(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        if compare.is_error(message, through, compare.ERRORS):
            return True
        if direct is None or through is None:
            return through is None and direct is None
        same = packets.rcode_of(through) == packets.rcode_of(direct)
        return same and through[:2] == message[:2] and (through[6:8] == direct[6:8])

    for transport in ("udp", "tcp"):
        compare.hold(
            compare.ask_both(pair.subject, pair.backend, broken_edns(), transport, window=64, errors=True),
            as_wary_as_backend,
        )


def silent(query: Query) -> None:
    """Answer nothing."""


@pytest.mark.must
def test_019_opt_only_where_asked(pair: Pair) -> None:
    names = [zones.full(name) for name in ("", "nowhere", "sub", "t3k")] + ["elsewhere.test", "."]
    for many in (dnsio.udp_many, dnsio.tcp_many):
        for rdtype in (packets.A, packets.TXT, packets.ANY):
            bare = many(pair.subject.address, [packets.query(name, rdtype) for name in names])
            assert [opt_of(reply) for reply in bare] == [None] * len(names)
            asked = many(pair.subject.address, [packets.query(name, rdtype, opt=edns()) for name in names])
            assert all(opt_of(reply) is not None for reply in asked)


@pytest.mark.must
def test_019_opt_only_where_asked_in_own_answers(start: Launch, stub: Scripted) -> None:
    """REFUSED for a name outside, SERVFAIL for a backend that says nothing."""
    stub.answer = silent
    lonely = start(stub, zones=(zones.PLAIN,), upstream_timeout="500ms")
    for name in ("elsewhere.example", zones.PLAIN):
        assert opt_of(dnsio.udp(lonely.address, packets.query(name), 3)) is None
        reply = dnsio.udp(lonely.address, packets.query(name, opt=edns()), 3)
        assert reply is None or opt_of(reply) is not None


@pytest.mark.must
def test_020_letter_case_is_kept(pair: Pair) -> None:
    rng = random.Random(20)
    for name in (zones.PLAIN, f"mail.{zones.PLAIN}", f"nowhere.{zones.PLAIN}", f"many.{zones.SIGNED}") * 5:
        wire = bytes(
            octet ^ 0x20 if chr(octet).isalpha() and rng.random() < 0.5 else octet for octet in packets.name(name)
        )
        for ask in (dnsio.udp, dnsio.tcp):
            reply = ask(pair.subject.address, packets.query(wire))
            assert reply is not None
            assert reply[12 : 12 + len(wire)] == wire


@pytest.mark.must
def test_020_lower_case_from_the_backend(start: Launch, make_stub: MakeStub) -> None:
    def in_lower_case(query: Query) -> bytes:
        reply = packets.answer(query.data, [packets.record(b"\xc0\x0c", packets.A, bytes((192, 0, 2, 9)))])
        end = packets.question_end(reply)
        return reply[:12] + reply[12:end].lower() + reply[end:]

    subject = start(make_stub(in_lower_case))
    for ask in (dnsio.udp, dnsio.tcp):
        reply = ask(subject.address, packets.query("MiXeD.ExAmPlE.TeSt"))
        assert reply is not None
        assert reply[6:8] == b"\0\1"


@pytest.mark.should
def test_021_two_questions(pair: Pair) -> None:
    two = [
        packets.header(ident, packets.RD, (2, 0, 0, 0))
        + packets.question(zones.PLAIN)
        + packets.question(other, rdtype)
        for ident, (other, rdtype) in enumerate(((zones.PLAIN, 1), (zones.PLAIN, 28), (f"mail.{zones.PLAIN}", 1)))
    ]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, two, transport, or_rcodes={packets.FORMERR}, errors=True)


@pytest.mark.must
def test_022_junk_behind_a_query(pair: Pair) -> None:
    rng = random.Random(22)
    hidden = (b"\0", rng.randbytes(20), rng.randbytes(900), edns(flags=packets.DO), edns(version=1))
    names = ((zones.PLAIN, packets.A), (f"t3k.{zones.PLAIN}", packets.TXT), (f"nowhere.{zones.SIGNED}", packets.A))
    messages = [packets.query(*name) + junk for name in names for junk in hidden]
    messages += [packets.query(*name, opt=edns()) + junk for name in names for junk in hidden]
    for transport in ("udp", "tcp"):
        compare.as_backend(pair.subject, pair.backend, messages, transport, or_rcodes={packets.FORMERR}, errors=True)


@pytest.mark.must
def test_023_records_in_a_query(pair: Pair) -> None:
    extra = packets.record(zones.PLAIN, packets.A, bytes((192, 0, 2, 66)))
    messages = [
        packets.header(77, packets.RD, counts) + packets.question(name) + extra
        for counts in ((1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1))
        for name in (zones.PLAIN, f"nowhere.{zones.PLAIN}")
    ]

    def same_rcode(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        if compare.is_error(message, through, {packets.FORMERR}):
            return True
        return (direct and packets.rcode_of(direct)) == (through and packets.rcode_of(through))

    for transport in ("udp", "tcp"):
        compare.hold(compare.ask_both(pair.subject, pair.backend, messages, transport, errors=True), same_rcode)
