from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest

from flatproxy.wire import edns, records, reply
from tests.unit.wire.messages import end_of, query

ADDRESSES = records.record_set(1, 60, [b"\xc6\x33\x64\1", b"\xc6\x33\x64\2"])


def answer(message: bytes, *, limit: int = 512, options: bytes = b"") -> dns.message.Message:
    made = reply.answer(message, end_of(message), ADDRESSES.counts, ADDRESSES.rotated(0), limit=limit, options=options)
    return dns.message.from_wire(made)


class TestAnswer:
    def test_it_is_authoritative_and_has_the_question_as_it_was_asked(self) -> None:
        made = answer(query("ExAmPlE.com", id=77))
        assert made.id == 77
        assert made.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD
        assert made.question[0].name.to_text() == "ExAmPlE.com."
        assert sorted(rdata.to_text() for rdata in made.answer[0]) == ["198.51.100.1", "198.51.100.2"]
        assert made.answer[0].ttl == 60

    def test_of_the_flags_rd_alone_is_copied(self) -> None:
        message = bytearray(query())
        message[2], message[3] = 0x07, 0xF0
        assert answer(bytes(message)).flags == dns.flags.QR | dns.flags.AA | dns.flags.RD
        message[2] = 0x06
        assert answer(bytes(message)).flags == dns.flags.QR | dns.flags.AA

    def test_opt_only_if_asked_with_do_as_asked(self) -> None:
        assert answer(query()).opt is None
        asked = answer(query(use_edns=0, want_dnssec=True))
        assert (asked.edns, asked.payload, asked.ednsflags) == (0, 1232, dns.flags.DO)
        assert answer(query(use_edns=0)).ednsflags == 0

    def test_a_later_version_is_badvers_without_records(self) -> None:
        made = answer(query(use_edns=3))
        assert (made.rcode(), made.edns, made.answer) == (dns.rcode.BADVERS, 0, [])
        assert not made.flags & dns.flags.AA

    def test_what_does_not_fit_is_cut_to_nothing(self) -> None:
        whole = len(query()) + len(ADDRESSES.rotated(0))
        assert answer(query(), limit=whole).answer
        cut = answer(query(), limit=whole - 1)
        assert cut.flags & dns.flags.TC
        assert not cut.answer

    def test_options_are_sent(self) -> None:
        made = answer(query(use_edns=0), options=edns.error_option(edns.EDE_STALE))
        option = made.options[0]
        assert isinstance(option, dns.edns.EDEOption)
        assert option.code == 3


class TestError:
    def test_it_has_question_id_and_opcode(self) -> None:
        message = query(id=5)
        made = dns.message.from_wire(reply.error_reply(message, reply.REFUSED))
        assert (made.id, made.rcode()) == (5, dns.rcode.REFUSED)
        assert made.flags & ~0xF == dns.flags.QR | dns.flags.RD
        assert made.question

    def test_an_extended_error_only_with_opt(self) -> None:
        assert dns.message.from_wire(reply.error_reply(query(), reply.SERVFAIL, 23)).opt is None
        made = dns.message.from_wire(reply.error_reply(query(use_edns=0), reply.SERVFAIL, 23))
        option = made.options[0]
        assert isinstance(option, dns.edns.EDEOption)
        assert option.code == 23

    @pytest.mark.parametrize(
        "message", [query()[:14], bytes(4) + b"\0\2" + bytes(6), query()[:2] + b"\x28" + query()[3:5]]
    )
    def test_a_question_that_cannot_be_read_is_left_out(self, message: bytes) -> None:
        message = message.ljust(12, b"\0")
        made = reply.error_reply(message, reply.FORMERR)
        assert len(made) == 12
        assert made[:2] == message[:2]
        assert made[2] & 0x80
        assert made[2] & 0x78 == message[2] & 0x78


def test_a_truncated_reply_is_no_larger_than_its_query() -> None:
    made = reply.truncated(query(use_edns=0))
    assert len(made) <= len(query(use_edns=0))
    parsed = dns.message.from_wire(made)
    assert parsed.flags & dns.flags.TC
    assert (parsed.rcode(), parsed.opcode()) == (dns.rcode.NOERROR, dns.opcode.QUERY)


def test_the_rcode_counts_the_extended_bits() -> None:
    bad = query(use_edns=2)
    assert reply.rcode(reply.bad_version(bad, end_of(bad))) == 16
    assert reply.rcode(reply.error_reply(query(), reply.REFUSED)) == 5
