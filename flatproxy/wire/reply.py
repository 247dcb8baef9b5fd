"""The replies that flatproxy makes itself: flattened answers, and errors in a query's own words.

Header rules: ID, opcode and RD are copied, QR is set, every other flag is 0 but AA in an answer (RFC 1035
section 4.1.1; CD too is cleared by an authoritative server, RFC 4035 section 3.1.6).
"""

from __future__ import annotations

from flatproxy.wire import edns
from flatproxy.wire.peek import HEADER, OPCODE, OPT_AT_ROOT, QR, RD, question_end

NOERROR = 0
FORMERR = 1
SERVFAIL = 2
NXDOMAIN = 3
REFUSED = 5
BADVERS = 16

_AA = 0x04
_TC = 0x02

_PLAIN_OPT = {False: edns.opt_record(dnssec_ok=False), True: edns.opt_record(dnssec_ok=True)}


def answer(query: bytes, end: int, counts: bytes, records: bytes, *, limit: int, options: bytes = b"") -> bytes:
    """Return an authoritative answer to a query that `edns.is_whole`.

    `counts` holds ANCOUNT and NSCOUNT (four octets), `records` their records, with 0xC00C pointing at the qname.
    What does not fit `limit` octets goes as TC=1 without records (RFC 2181 section 9). `options` are EDNS options.
    """
    opt = b""
    if len(query) > end:
        if query[end + 6]:
            return bad_version(query, end)
        dnssec_ok = query[end + 7] & 0x80 != 0
        opt = edns.opt_record(dnssec_ok=dnssec_ok, options=options) if options else _PLAIN_OPT[dnssec_ok]
    tail = b"\0\1" if opt else b"\0\0"
    flags = QR | _AA | query[2] & RD
    if end + len(records) + len(opt) > limit:
        return query[:2] + bytes((flags | _TC, 0)) + b"\0\1\0\0\0\0" + tail + query[HEADER:end] + opt
    return query[:2] + bytes((flags, 0)) + b"\0\1" + counts + tail + query[HEADER:end] + records + opt


def bad_version(query: bytes, end: int) -> bytes:
    """Return BADVERS with the highest version known, 0, and no records (RFC 6891 section 6.1.3)."""
    opt = edns.opt_record(dnssec_ok=edns.wants_dnssec(query, end), bad_version=True)
    return query[:2] + bytes((QR | query[2] & RD, 0)) + b"\0\1\0\0\0\0\0\1" + query[HEADER:end] + opt


def error_reply(query: bytes, rcode: int, extended: int | None = None) -> bytes:
    """Return an error reply of `rcode` below 16, with the question where it can be read.

    `extended` is an extended DNS error (RFC 8914), sent only where the query has a well-formed OPT record.
    """
    end = question_end(query) if query[4:6] == b"\0\1" else 0
    header = query[:2] + bytes((QR | query[2] & (OPCODE | RD), rcode))
    if not end:
        return header + bytes(8)
    if len(query) == end or not edns.is_whole(query, end):
        return header + b"\0\1\0\0\0\0\0\0" + query[HEADER:end]
    options = b"" if extended is None else edns.error_option(extended)
    opt = edns.opt_record(dnssec_ok=edns.wants_dnssec(query, end), options=options)
    return header + b"\0\1\0\0\0\0\0\1" + query[HEADER:end] + opt


def truncated(query: bytes) -> bytes:
    """Return an empty reply with TC=1, which sends a client to TCP; no larger than the query."""
    end = question_end(query) if query[4:6] == b"\0\1" else 0
    header = query[:2] + bytes((QR | _TC | query[2] & (OPCODE | RD), NOERROR))
    return header + (b"\0\1\0\0\0\0\0\0" + query[HEADER:end] if end else bytes(8))


def rcode(made: bytes) -> int:
    """Return the rcode of a reply, the upper bits of an OPT record right behind the question included.

    Those of a reply with records are not looked for: an extended rcode is an error, and comes without any.
    """
    code = made[3] & 0x0F
    if made[6:12] == b"\0\0\0\0\0\1":
        end = question_end(made)
        if end and made[end : end + 3] == OPT_AT_ROOT and len(made) > end + 5:
            code |= made[end + 5] << 4
    return code
