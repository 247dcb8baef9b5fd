from __future__ import annotations

import dns.message
import dns.rdatatype
import dns.tsig
import dns.tsigkeyring
import pytest

from flatproxy.errors import WireError
from flatproxy.wire import peek
from tests.unit.wire.messages import end_of, query, response

HEADER = bytes(12)
QUESTION = b"\7example\3com\0\0\1\0\1"


class TestQuestionEnd:
    def test_it_is_behind_the_first_question(self) -> None:
        assert peek.question_end(query()) == end_of(query())

    def test_the_root_is_a_name(self) -> None:
        assert peek.question_end(HEADER + b"\0\0\2\0\1") == 17

    @pytest.mark.parametrize(
        "tail",
        [b"", b"\7exam", QUESTION[:-1], b"\xc0\x0c\0\1\0\1", b"\x40" + bytes(80), b"\x3f" * 300],
        ids=["nothing", "cut label", "cut class", "pointer", "odd label", "too long"],
    )
    def test_what_is_not_plain_is_0(self, tail: bytes) -> None:
        assert peek.question_end(HEADER + tail) == 0

    def test_a_name_of_255_octets_is_plain_and_one_of_256_is_not(self) -> None:
        name = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
        assert len(name) == 255
        assert peek.question_end(HEADER + name + b"\0\1\0\1") == 12 + 255 + 4
        longer = (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0"
        assert peek.question_end(HEADER + longer + b"\0\1\0\1") == 0


class TestSignatures:
    def test_tsig_is_one(self) -> None:
        message = dns.message.make_query("example.com", "A")
        message.use_tsig(dns.tsigkeyring.from_text({"key.": "c2VjcmV0"}))
        assert peek.is_signed(message.to_wire())

    def test_sig0_is_one(self) -> None:
        sig = b"\0\0\x18\0\xff\0\0\0\0\0\x12" + bytes(18)
        assert peek.is_signed(query()[:10] + b"\0\1" + query()[12:] + sig)

    def test_a_sig_of_a_type_is_none(self) -> None:
        sig = b"\0\0\x18\0\xff\0\0\0\0\0\x12" + b"\0\1" + bytes(16)
        assert not peek.is_signed(query()[:10] + b"\0\1" + query()[12:] + sig)

    @pytest.mark.parametrize(
        "message", [b"", HEADER, query(), query(use_edns=0), query()[:10] + b"\0\1" + query()[12:]]
    )
    def test_others_are_none(self, message: bytes) -> None:
        assert not peek.is_signed(message)


class TestAnswers:
    QUERY = query("ExAmPle.com")
    LOWER = QUERY[12:].lower()

    def test_letter_case_does_not_matter(self) -> None:
        assert peek.answers(response(self.QUERY), self.LOWER)
        assert peek.answers(response(query("example.COM")), self.LOWER)

    @pytest.mark.parametrize("other", [query("example.net"), query(rdtype="AAAA"), query(rdclass="CH")])
    def test_another_question_is_no_answer(self, other: bytes) -> None:
        assert not peek.answers(response(other), self.LOWER)

    def test_a_query_is_no_answer(self) -> None:
        assert not peek.answers(self.QUERY, self.LOWER)

    @pytest.mark.parametrize("promised", [0, 1])
    @pytest.mark.parametrize(("rcode", "counts"), [(1, True), (2, True), (4, True), (5, True), (0, False)])
    def test_without_a_question_an_error_counts(self, rcode: int, counts: bool, promised: int) -> None:
        """Also where the header promises a question that is not there."""
        assert peek.answers(b"\0\0\x80" + bytes([rcode, 0, promised]) + bytes(6), self.LOWER) is counts

    def test_without_a_question_nothing_with_a_record_counts(self) -> None:
        assert not peek.answers(b"\0\0\x80\2\0\0\0\1" + bytes(4) + b"\0\0\1\0\1\0\0\0\0\0\0", self.LOWER)


class TestNames:
    def test_a_pointer_ends_a_name(self) -> None:
        assert peek.skip_name(b"\1a\xc0\x0c\0", 0) == 4

    @pytest.mark.parametrize("octets", [b"", b"\3ab", b"\1a", b"\1a\xc0", b"\x80a"])
    def test_a_cut_or_odd_one_is_an_error(self, octets: bytes) -> None:
        with pytest.raises(WireError):
            peek.skip_name(octets, 0)


def test_the_first_answers_type() -> None:
    asked = query("www.example.com")
    assert peek.first_answer_type(response(asked, ["www.example.com. 60 IN CNAME example.com."]), end_of(asked)) == 5
    assert peek.first_answer_type(response(asked), end_of(asked)) == 0
    assert peek.first_answer_type(response(asked)[:6] + b"\0\1" + bytes(4) + asked[12:], end_of(asked)) == 0


class TestQuestion:
    @pytest.mark.parametrize("rdtype", ["A", "HTTPS", "SVCB", "TYPE90", "TYPE16705"])
    def test_letters_are_lowered_and_numbers_are_not(self, rdtype: str) -> None:
        """HTTPS is type 65, the letter A."""
        asked = query("eXample.COM", rdtype)
        number = dns.rdatatype.from_text(rdtype).to_bytes(2, "big")
        assert peek.question_of(asked, len(asked)) == b"\7example\3com\0" + number + b"\0\1"

    def test_what_is_not_plain_has_none(self) -> None:
        assert peek.question_of(query(), 0) == b""

    def test_a_reply_for_the_type_in_the_other_case_is_none(self) -> None:
        asked, other = query(rdtype="HTTPS"), query(rdtype="TYPE97")
        assert peek.answers(response(asked), peek.question_of(asked, len(asked)))
        assert not peek.answers(response(other), peek.question_of(asked, len(asked)))
