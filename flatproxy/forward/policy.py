"""What becomes of a query: a frozen policy judges it. No socket and no clock; a reload makes a new one.

The common query costs one walk over its name, one dictionary look-up for flagged names and one look at its suffixes.
Everything unusual goes through `_judge_odd`, which may be slow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import dns.exception
import dns.name
from attrs import field, frozen

from flatproxy.table.answers import Answer, Responder
from flatproxy.table.changes import Feed
from flatproxy.table.table import Table
from flatproxy.table.zones import Zones
from flatproxy.wire import edns, names
from flatproxy.wire.peek import (
    HEADER,
    OPCODE,
    OPCODE_NOTIFY,
    OPCODE_UPDATE,
    QR,
    carries_only_opt,
    is_signed,
    question_end,
    question_of,
)
from flatproxy.wire.types import TYPE_AXFR, TYPE_IXFR, TYPE_TKEY

if TYPE_CHECKING:
    from flatproxy.forward.access import Networks
    from flatproxy.wire.landing import Landing
    from flatproxy.wire.prefixes import Prefixes

# Verdicts are plain integers: they are compared for every packet.
DROP: Final = 0
REFUSE: Final = 1
FORWARD: Final = 2
PRESERVE: Final = 3
"""Forward, but with the ID as it is: it is part of what was signed, or may be."""
FLATTEN: Final = 4

MAX_QUESTIONS = 8
"""Messages with more readable questions are refused: no server answers them, and reading them all costs time."""

_TRANSFERS = (TYPE_AXFR, TYPE_IXFR)
_GUARDED = frozenset(rdtype.to_bytes(2, "big") for rdtype in (*_TRANSFERS, TYPE_TKEY))


class Questions(Protocol):
    """The answers by flagged question (lower-cased qname, qtype, qclass in wire form): the table."""

    def get(self, key: bytes, view: str | None = None, /) -> Answer | None:
        """Return the answer to a question of a client in a view, None where there is none."""


Judgement = tuple[int, int, Responder | None, bytes]
"""The verdict, the end of the question (0: not a plain one), the answer where the verdict is FLATTEN, and the
question, its name in lower case (empty where it is not a plain one)."""


@frozen(kw_only=True)
class Policy:
    """Who may ask what. `zones` is None where every name is served; `table` maps flagged questions to answers.

    `signing` knows the names (wire form) whose zone is signed with DNSSEC; it changes as that is found out.
    """

    zones: frozenset[bytes] | None
    query: Networks
    transfer: Networks
    update: Networks
    notify: Networks
    table: Questions = field(factory=Table)
    signing: Zones = field(factory=lambda: Zones(Feed()))
    views: Prefixes[str] | None = None
    """Which view a client is in; None where there are no views."""

    def view_of(self, host: bytes) -> str | None:
        """Return the view that a client is in, None for none."""
        return None if self.views is None else self.views.get(host)

    def judge(self, message: bytes, host: bytes) -> Judgement:
        """Return what becomes of a message from a client at `host` (its octets)."""
        if host not in self.query:
            return (REFUSE if len(message) >= HEADER and not message[2] & QR else DROP), 0, None, b""
        verdict, end, answer = self._judge(message, host)
        return verdict, end, answer, question_of(message, end)

    def _judge(self, message: bytes, host: bytes) -> tuple[int, int, Responder | None]:
        if len(message) < HEADER or message[2] & QR:
            return DROP, 0, None
        if message[2] & OPCODE or message[4:6] != b"\0\1" or not (end := question_end(message)):
            return self._judge_odd(message, host), 0, None
        question = question_of(message, end)
        answer = self.table.get(question, self.view_of(host))
        if answer is not None:
            if not self.passes(message, question):
                return FLATTEN, end, answer.of_client(message, end, host)
        elif question[-4:-2] in _GUARDED:
            return self._judge_guarded(question, host), end, None
        elif self.zones is not None and not self._serves(question[:-4]):
            return REFUSE, end, None
        if carries_only_opt(message, end) or not is_signed(message):
            return FORWARD, end, None
        return PRESERVE, end, None

    def passes(self, message: bytes, question: bytes) -> bool:
        """Tell whether a query for a flagged name is the nameserver's to answer: odd, or without a signature for it."""
        end = HEADER + len(question)
        return not edns.is_whole(message, end) or (edns.wants_dnssec(message, end) and self._passes_unsigned(question))

    def must_sign(self, found: Landing) -> bool:
        """Tell whether what is put in a reply's place needs signatures."""
        return found.was_signed or (found.wants_dnssec and self.signing.is_signed(found.name))

    def must_stay(self, found: Landing) -> bool:
        """Tell whether a reply that lands on a flagged name goes on as it is, for want of a signature."""
        return self.must_sign(found) and not self.signing.can_sign(found.name, found.rdtype)

    def _passes_unsigned(self, question: bytes) -> bool:
        """Tell whether an answer would need a signature that cannot be made: the nameserver has one of its own."""
        name, rdtype = question[:-4], int.from_bytes(question[-4:-2], "big")
        return not self.signing.can_sign(name, rdtype) and self.signing.is_signed(name)

    def _serves(self, name: bytes) -> bool:
        """Tell whether this name (wire form, lower case) is in a served zone."""
        return self.zones is None or names.enclosing(name, self.zones) is not None

    def _judge_guarded(self, question: bytes, host: bytes) -> int:
        """Judge a plain question for a transfer or a key: these have lists of their own."""
        if question[-4:-2] == TYPE_TKEY.to_bytes(2, "big"):
            return PRESERVE if host in self.update else REFUSE  # its name is the key's, in no zone
        return PRESERVE if host in self.transfer and self._serves(question[:-4]) else REFUSE

    def _judge_odd(self, message: bytes, host: bytes) -> int:
        """Judge what is not a QUERY with one plain question: let nobody in by a side door, forward the rest."""
        opcode = (message[2] & OPCODE) >> 3
        if opcode == OPCODE_NOTIFY and host not in self.notify:
            return REFUSE
        if opcode == OPCODE_UPDATE and host not in self.update:
            return REFUSE
        questions = _questions(message)
        if len(questions) > MAX_QUESTIONS:
            return REFUSE
        for name, rdtype in questions:
            if rdtype == TYPE_TKEY:
                if host not in self.update:
                    return REFUSE
                continue
            if not self._serves(name) or (rdtype in _TRANSFERS and host not in self.transfer):
                return REFUSE
        return PRESERVE


def _questions(message: bytes) -> list[tuple[bytes, int]]:
    """Return name (lower case) and type of each question that can be read, pointers followed as a server might.

    One more than are judged at most: names that point at each other's pointers would cost their number's square.
    """
    offset = HEADER
    found = []
    for _ in range(min(int.from_bytes(message[4:6], "big"), MAX_QUESTIONS + 1)):
        try:
            name, used = dns.name.from_wire(message, offset)
        except (dns.exception.DNSException, ValueError):
            break
        end = offset + used + 4
        if end > len(message):
            break
        found.append((names.to_wire(name), int.from_bytes(message[end - 4 : end - 2], "big")))
        offset = end
    return found
