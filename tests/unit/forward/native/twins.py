"""Both packet paths given the same octets: what Python's policy says of a message, and what the path in C does."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

from attrs import define, field

from flatproxy.forward import policy as python
from flatproxy.forward.access import Networks
from flatproxy.wire import landing, records, reply
from flatproxy.wire.edns import udp_limit
from flatproxy.wire.peek import (
    HEADER,
    OPCODE,
    answers,
    carries_only_opt,
    question_end,
)
from flatproxy.wire.types import TYPE_AXFR, TYPE_IXFR, TYPE_TKEY
from tests.unit.forward.native.standing import ADDRESSES, LOOPBACK, Standing, layout, saying, wire
from tests.unit.forward.surroundings import Fixed
from tests.unit.forward.surroundings import policy as policy_of
from tests.unit.wire.messages import query

if TYPE_CHECKING:
    import random
    import socket

    from flatproxy.forward.native._core import Handed

TTL = 30
FLAGGED = ("example.com", "flat.example.com")
OUTSIDE = query("marker.example.net", id=0xFEFE)
"""Refused by either path, so that silence is known by the reply to it."""


def _stage() -> tuple[int, int, int, int, bool, tuple[bytes, int, int, int, int], None]:
    return 2**62, 0, TTL, -1, False, layout(), None


@define(eq=False)
class Twins:
    """A path in C, and Python's policy of the same configuration."""

    rng: random.Random
    standing: Standing = field(init=False)
    client: socket.socket = field(init=False)
    policy: python.Policy = field(init=False)

    def __attrs_post_init__(self) -> None:
        answer = saying(_stage())
        self.standing = Standing({name: {1: answer} for name in FLAGGED}, networks=[(LOOPBACK, LOOPBACK)])
        self.client = self.standing.client()
        self.policy = policy_of(
            query=Networks([ip_network("127.0.0.1/32")]),
            table={wire(name) + b"\0\1\0\1": Fixed() for name in FLAGGED},
        )

    def close(self) -> None:
        self.standing.close()

    def query(self, message: bytes) -> None:
        """Hold what becomes of a client's datagram against what Python says."""
        verdict, end, _answer, _question = self.policy.judge(message, LOOPBACK)
        self.client.send(message)
        self.client.send(OUTSIDE)
        replies = self._replies()
        forwarded, handed = self._forwarded(), self._handed()
        told = f"{message.hex()}: {verdict}, {[made.hex() for made in replies]}, {forwarded}, {handed}"
        if handed:
            assert (len(handed), replies, forwarded) == (1, [], []), told
            assert handed[0].message == message, told
            assert verdict in (python.PRESERVE, python.FORWARD, python.REFUSE), told
            assert verdict == python.PRESERVE or not self._is_plain(message), told
        elif verdict == python.DROP:
            assert (replies, forwarded) == ([], []), told
        elif verdict == python.REFUSE:
            assert (replies, forwarded) == ([reply.error_reply(message, reply.REFUSED)], []), told
        elif verdict == python.FLATTEN:
            assert len(replies) == 1, told
            assert replies[0] in self._answers(message, end), told
        else:
            assert (verdict, [each[2:] for each, _peer in forwarded], replies) == (
                python.FORWARD,
                [message[2:]],
                [],
            ), told
            self._finish(message, forwarded[0])

    def reply(self, asked: bytes, came: bytes) -> None:
        """Hold what becomes of a nameserver's datagram against what Python says; the true reply ends the matter."""
        self.client.send(asked)
        sent, peer = self.standing.forwarded()
        came = sent[:2] + came[2:] if self.rng.random() < 0.95 else came
        question = asked[HEADER:].lower() if len(asked) < 300 else b""
        self.standing.nameservers[0].sendto(came, peer)
        matches = came[:2] == sent[:2] and answers(came, question)
        back = asked[:2] + came[2:]
        if not matches:
            self._finish(asked, (sent, peer))
            return
        self.client.send(OUTSIDE)
        replies, handed = self._replies(), self._handed()
        while not replies and not handed:  # the two came by different sockets
            self.client.send(OUTSIDE)
            replies, handed = self._replies(), self._handed()
        lands = landing.may_land(back, question) and landing.find(back, self._is_flagged(question)) is not None
        assert [*replies, *(each.came for each in handed)] == [back], f"{asked.hex()} {came.hex()}"
        assert handed or not lands, f"{asked.hex()} {came.hex()}"

    def _is_flagged(self, question: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN202
        return lambda name: self.policy.table.get(name + question[-4:]) is not None

    def _is_plain(self, message: bytes) -> bool:
        """Tell whether the path in C must not hand this over: one question of no guarded type, and what may be OPT."""
        end = question_end(message)
        guarded = (TYPE_AXFR, TYPE_IXFR, TYPE_TKEY)
        is_one = not message[2] & OPCODE and message[4:6] == b"\0\1" and end > 0
        return is_one and int.from_bytes(message[end - 4 : end - 2]) not in guarded and carries_only_opt(message, end)

    def _answers(self, message: bytes, end: int) -> list[bytes]:
        made = records.record_set(1, TTL, ADDRESSES)
        limit = udp_limit(message, end)
        return [
            reply.answer(message, end, made.counts, made.rotated(turn), limit=limit) for turn in range(len(ADDRESSES))
        ]

    def _replies(self) -> list[bytes]:
        """Return what comes before the marker."""
        found = []
        while (made := self.client.recv(65535)) != reply.error_reply(OUTSIDE, reply.REFUSED):
            found.append(made)
        return found

    def _forwarded(self) -> list[tuple[bytes, tuple[str, int]]]:
        sock, found = self.standing.nameservers[0], []
        sock.setblocking(False)
        try:
            while True:
                found.append(sock.recvfrom(65535))
        except BlockingIOError:
            return found
        finally:
            sock.settimeout(10)

    def _handed(self) -> list[Handed]:
        return list(self.standing.path.take())

    def _finish(self, asked: bytes, forwarded: tuple[bytes, tuple[str, int]]) -> None:
        """Answer what is under way, so that the next message finds nothing of this one."""
        sent, peer = forwarded
        true = sent[:2] + bytes((sent[2] | 0x80,)) + sent[3:]
        self.standing.nameservers[0].sendto(true, peer)
        if self.client.recv(65535) != asked[:2] + true[2:]:
            raise AssertionError(f"{asked.hex()} was not answered")
