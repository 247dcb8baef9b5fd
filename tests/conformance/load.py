"""Crowds of connections, the subject's memory meanwhile, and answers that prove themselves.

`own_answer` follows from the query alone, so whoever gets another's answer notices. What a
client does here is right by the RFCs; what is wrong with a test's clients belongs into the test.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
import zlib
from typing import TYPE_CHECKING, Self

from tests.support import dnsio, packets
from tests.support.scripted import plain

from . import zones

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.ports import Address
    from tests.support.scripted import Query

    from .subject import Subject

MIB = 1 << 20
_WILD_ADDRESS = bytes((192, 0, 2, 77))


def own_answer(message: bytes) -> bytes:
    """Return the one right answer to a query: an address that follows from its name."""
    address = zlib.crc32(packets.qname_of(message)).to_bytes(4, "big")
    return packets.answer(message, [packets.record(b"\xc0\x0c", packets.A, address)])


def own(query: Query) -> bytes | None:
    """Script a stub to give each query its own answer; what a nameserver ignores gets none."""
    usual = plain(query)
    return own_answer(query.data) if usual and packets.question_of(query.data) else usual


def is_own(message: bytes, reply: bytes) -> bool:
    """Tell whether a reply is this query's own answer, octet for octet."""
    return reply == own_answer(message)


def wild(index: int) -> str:
    """Return one of any number of names that the real nameservers answer alike."""
    return f"n{index}.wild.{zones.PLAIN}"


def is_wild(message: bytes, reply: bytes) -> bool:
    """Tell whether a reply is the right answer to an A query for a `wild` name."""
    return (
        reply[:2] == message[:2]
        and reply[3] & 15 == packets.NOERROR
        and packets.question_of(reply) == packets.question_of(message)
        and _WILD_ADDRESS in reply
    )


def whole_messages(stream: bytes) -> tuple[list[bytes], bytes]:
    """Return the messages of a TCP stream, and what is left over of one that was cut off."""
    out = []
    while len(stream) >= 2 and len(stream) >= (end := 2 + int.from_bytes(stream[:2], "big")):
        out.append(stream[2:end])
        stream = stream[end:]
    return out, stream


def read_messages(connection: dnsio.Connection, count: int, wait_s: float) -> tuple[list[bytes], bytes]:
    """Read until `count` whole messages are there, the stream ends (`closed` is set) or time runs out."""
    deadline = time.monotonic() + wait_s
    stream = bytearray()
    messages: list[bytes] = []
    while len(messages) < count and (left := deadline - time.monotonic()) > 0:
        connection.raw.settimeout(left)
        try:
            data = connection.raw.recv(65536)
        except TimeoutError:
            break
        except OSError:
            data = b""
        if not data:
            connection.closed = True
            break
        stream += data
        found, rest = whole_messages(bytes(stream))
        messages += found
        stream = bytearray(rest)
    return messages, bytes(stream)


class Crowd:
    """TCP connections that are opened at once and then left alone; one that is refused or closed is no error."""

    def __init__(
        self, where: Address, count: int, *, first: bytes = b"", sources: Sequence[str] = ("127.0.0.1",)
    ) -> None:
        """Open `count` connections in turn from the `sources` and send each the octets of `first`."""
        self.sockets: list[socket.socket] = []
        for index in range(count):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.bind((sources[index % len(sources)], 0))
            with contextlib.suppress(OSError):
                sock.connect(where)
            self.sockets.append(sock)
        self.say([first] * count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, texts: Sequence[bytes], wait_s: float = 3.0) -> None:
        """Send each connection its octets once it is open; those that do not open in time are left out."""
        deadline = time.monotonic() + wait_s
        with selectors.DefaultSelector() as selector:
            for sock, text in zip(self.sockets, texts, strict=True):
                selector.register(sock, selectors.EVENT_WRITE, text)
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    assert isinstance(key.fileobj, socket.socket)
                    selector.unregister(key.fileobj)
                    with contextlib.suppress(OSError):
                        key.fileobj.send(key.data)

    def hear(self, wait_s: float) -> list[bytes | None]:
        """Return the first whole message that comes on each connection, None where none does in time."""
        out: list[bytes | None] = [None] * len(self.sockets)
        streams = [b""] * len(self.sockets)
        deadline = time.monotonic() + wait_s
        with selectors.DefaultSelector() as selector:
            for index, sock in enumerate(self.sockets):
                selector.register(sock, selectors.EVENT_READ, index)
            while selector.get_map() and (left := deadline - time.monotonic()) > 0:
                for key, _ in selector.select(left):
                    assert isinstance(key.fileobj, socket.socket)
                    try:
                        data = key.fileobj.recv(65536)
                    except OSError:
                        data = b""
                    streams[key.data] += data
                    found, _ = whole_messages(streams[key.data])
                    if found:
                        out[key.data] = found[0]
                    if found or not data:
                        selector.unregister(key.fileobj)
        return out

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


class Peak:
    """In a `with` block: how far the subject's memory grows, looked at twenty times a second."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before = self._highest = subject.rss()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        """The octets that it has grown by at most; 0 where the process is not ours."""
        return self._highest - self._before

    def _look(self) -> None:
        while not self._over.wait(0.05):
            with contextlib.suppress(OSError):
                self._highest = max(self._highest, self._subject.rss())
