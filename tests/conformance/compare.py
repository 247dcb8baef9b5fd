"""Judging what came back: as B (the backend's direct answer), or one of a few errors that are allowed instead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.support import dnsio, packets
from tests.support.waiting import let_pass

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from tests.support.nameserver import Nameserver

    from .subject import Subject

ERRORS = frozenset({packets.FORMERR, packets.SERVFAIL, packets.NOTIMP, packets.REFUSED})
_ERRORS_A_SECOND = 48
_BACKLOG = 8  # Knot and BIND listen with a queue of ten: a burst beyond that waits a second for its next SYN
_MANY = {"udp": dnsio.udp_many, "tcp": dnsio.tcp_many}
Reply = bytes | None


def ask_both(
    subject: Subject,
    backend: Nameserver,
    messages: Sequence[bytes],
    transport: str = "udp",
    *,
    window: int = 16,
    errors: bool = False,
) -> list[tuple[bytes, Reply, Reply]]:
    """Send each message to the backend and through the subject; return (message, direct, through) of each.

    NSD keeps its error replies to a hundred a second, over all clients: with `errors` few are asked for in each.
    """
    many = _MANY[transport]
    if transport == "tcp" and backend.kind != "nsd":
        window = min(window, _BACKLOG)
    if errors and backend.kind == "nsd":
        out: list[tuple[bytes, Reply, Reply]] = []
        for at in range(0, len(messages), _ERRORS_A_SECOND):
            let_pass(1.01 - time.time() % 1)  # its count starts anew with each second of the clock
            some = messages[at : at + _ERRORS_A_SECOND]
            out += zip(
                some, many(backend.address, some, window=64), many(subject.address, some, window=64), strict=True
            )
        return out
    direct = many(backend.address, messages, window=window)
    return list(zip(messages, direct, many(subject.address, messages, window=window), strict=True))


def as_backend(
    subject: Subject,
    backend: Nameserver,
    messages: Sequence[bytes],
    transport: str = "udp",
    *,
    or_rcodes: Collection[int] = (),
    answered: bool = False,
    window: int = 16,
    errors: bool = False,
) -> None:
    """Hold every answer to be the backend's, octet for octet; `or_rcodes` are errors allowed instead.

    Where the backend is silent the subject may be so too, or say SERVFAIL. With `answered` it must not be silent.
    """
    triples = ask_both(subject, backend, messages, transport, window=window, errors=errors)
    if answered:
        assert all(direct is not None for _, direct, _ in triples), "the backend itself is silent"
    hold(triples, lambda message, direct, through: _is_as_backend(message, direct, through, or_rcodes))


def _is_as_backend(message: bytes, direct: Reply, through: Reply, or_rcodes: Collection[int]) -> bool:
    if direct is None:
        return through is None or is_error(message, through, {packets.SERVFAIL, *or_rcodes})
    return through == direct or is_error(message, through, or_rcodes)


def hold(
    triples: Iterable[tuple[bytes, Reply, Reply]], right: Callable[[bytes, Reply, Reply], bool], show: int = 3
) -> None:
    """Fail where `right` says no, showing the first few in full."""
    found = list(triples)
    wrong = [triple for triple in found if not right(*triple)]
    shown = "\n".join(
        f"sent    {brief(message)}\ndirect  {brief(direct)}\nthrough {brief(through)}"
        for message, direct, through in wrong[:show]
    )
    assert not wrong, f"{len(wrong)} of {len(found)} are wrong:\n{shown}"


def is_error(message: bytes, reply: Reply, rcodes: Collection[int]) -> bool:
    """Tell whether a reply is an error among `rcodes` for this message: its ID, QR=1, its opcode, no answer records."""
    return (
        reply is not None
        and len(reply) >= 12
        and reply[:2] == message[:2]
        and bool(packets.flags_of(reply) & packets.QR)
        and packets.opcode_of(reply) == packets.opcode_of(message)
        and packets.rcode_of(reply) in rcodes
        and reply[6:8] == b"\0\0"
    )


def brief(message: Reply) -> str:
    """Return a message as one line: length, ID, flags, rcode, counts, octets."""
    if message is None:
        return "silence"
    if len(message) < 12:
        return f"{len(message)} octets: {message.hex()}"
    counts = "/".join(str(int.from_bytes(message[at : at + 2], "big")) for at in (4, 6, 8, 10))
    head = f"{len(message)} octets, ID {packets.id_of(message):04x}, flags {packets.flags_of(message):04x}, {counts}"
    return f"{head}: {message[12:140].hex()} {message[12:60]!r}"
