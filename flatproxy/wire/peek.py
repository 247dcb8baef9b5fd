"""Reads the little that forwarding needs of a message, without parsing it.

A message stays `bytes`; nothing here allocates more than a slice. Whatever these functions cannot follow they
call not plain, and the caller forwards it untouched. RFC 1035 section 4.1 is the source of every offset.
"""

from __future__ import annotations

from struct import Struct

from flatproxy.errors import WireError
from flatproxy.wire.types import TYPE_SIG, TYPE_TSIG

HEADER = 12
MAX_NAME = 255

QR = 0x80
OPCODE = 0x78
RD = 0x01

OPCODE_NOTIFY = 4
OPCODE_UPDATE = 5

_COUNTS = Struct("!4H")
_RR_FIXED = Struct("!HHIH")
_NO_RECORDS = bytes(6)
_ONE_ADDITIONAL = b"\0\0\0\0\0\1"
OPT_AT_ROOT = b"\0\0\x29"
"""What an OPT record begins with: its owner and type (RFC 6891 section 6.1.2)."""


def question_end(message: bytes) -> int:
    """Return the offset just past the first question, or 0 where its name is not plain labels or it is cut."""
    offset = HEADER
    try:
        while length := message[offset]:
            if length > 63:
                return 0
            offset += length + 1
    except IndexError:
        return 0
    end = offset + 5
    return end if end <= len(message) and offset < HEADER + MAX_NAME else 0


def question_of(message: bytes, end: int) -> bytes:
    """Return the first question with its name in lower case (RFC 4343); empty where `end` is 0: it is not plain."""
    # Type and class are numbers: HTTPS is 65, which is the letter A.
    return message[HEADER : end - 4].lower() + message[end - 4 : end] if end else b""


def carries_only_opt(message: bytes, end: int) -> bool:
    """Tell whether nothing follows the question but, perhaps, what begins as an OPT record at the root."""
    counts = message[6:12]
    return counts == _NO_RECORDS or (counts == _ONE_ADDITIONAL and message[end : end + 3] == OPT_AT_ROOT)


def skip_name(message: bytes, offset: int) -> int:
    """Return the offset just past the name at `offset`, a pointer counting as its end; `WireError` where it is cut."""
    try:
        while length := message[offset]:
            if length >= 0xC0:
                offset += 1
                break
            if length > 63:
                raise WireError(f"label type {length >> 6} at octet {offset}")
            offset += length + 1
    except IndexError:
        raise WireError(f"name cut at octet {offset}") from None
    if offset >= len(message):
        raise WireError(f"name cut at octet {offset}")
    return offset + 1


def is_signed(message: bytes) -> bool:
    """Tell whether the last record is a TSIG (RFC 8945 section 5.1) or a SIG(0) (RFC 2931 section 3).

    A message that cannot be followed to its last record counts as not signed.
    """
    try:
        rdtype, rdata = _last_record(message)
    except WireError:
        return False
    return rdtype == TYPE_TSIG or (rdtype == TYPE_SIG and message[rdata : rdata + 2] == b"\0\0")


def _last_record(message: bytes) -> tuple[int, int]:
    """Return type and rdata offset of the last record, (0, 0) where there is none; `WireError` where it is cut."""
    if len(message) < HEADER:
        raise WireError("header cut")
    questions, *records = _COUNTS.unpack_from(message, 4)
    offset, rdtype, rdata = HEADER, 0, 0
    for _ in range(questions):
        offset = skip_name(message, offset) + 4
    for _ in range(sum(records)):
        fixed = skip_name(message, offset)
        rdata = fixed + _RR_FIXED.size
        if rdata > len(message):
            raise WireError(f"record cut at octet {fixed}")
        rdtype, _rdclass, _ttl, length = _RR_FIXED.unpack_from(message, fixed)
        offset = rdata + length
    if offset > len(message):
        raise WireError("record cut at the end")
    return rdtype, rdata


def answers(reply: bytes, question: bytes) -> bool:
    """Tell whether `reply` answers the query with this lower-cased first question (RFC 5452 section 9.1).

    The ID is the caller's to match. A reply without a question counts where it is an error without a record, as
    servers send it to what they cannot read. NSD cuts such a reply behind its header, and leaves QDCOUNT as it was.
    """
    if len(reply) < HEADER or not reply[2] & QR:
        return False
    if reply[4:6] == b"\0\0" or len(reply) == HEADER:
        return reply[3] & 0x0F != 0 and reply[6:8] == b"\0\0"
    return not question or question_of(reply[: HEADER + len(question)], HEADER + len(question)) == question


def first_answer_type(reply: bytes, end: int) -> int:
    """Return the type of the first record of the answer section, 0 where there is none or it is cut."""
    if reply[6:8] == b"\0\0":
        return 0
    try:
        fixed = skip_name(reply, end)
        return reply[fixed] << 8 | reply[fixed + 1]
    except (WireError, IndexError):
        return 0
