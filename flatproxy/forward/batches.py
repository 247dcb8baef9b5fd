"""Many datagrams in one system call: recvmmsg(2) and sendmmsg(2) through ctypes, plain calls where there are none.

A batch costs two copies and one call, whatever is in it; nothing here looks at a datagram.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import socket
from array import array
from itertools import accumulate
from struct import Struct
from typing import TYPE_CHECKING, Final, Literal, Protocol

from flatproxy.forward.socket_addresses import ADDRESS, CONTROL, control_of, read_control, sockaddr_of, socket_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flatproxy.forward.socket_addresses import Sockaddr

BATCH: Final = 64
"""Datagrams in one system call."""
MAX_DATAGRAM: Final = 65_535
_DATAGRAM = 65_600
"""Room for one: an odd number of cache lines, or all datagrams of a batch would compete for the same few."""
_OFFSETS = range(0, BATCH * _DATAGRAM, _DATAGRAM)
_CLIENT = ADDRESS + CONTROL
_NOTHING_YET = (errno.EAGAIN, errno.EINTR)


class Datagrams(Protocol):
    """Sends and receives for every socket of a process: one call at a time, so its memory is shared by all."""

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return what has come, up to `BATCH` datagrams; fewer mean that no more is there. `OSError` as recv(2)."""

    def clients(self, count: int, octets: int) -> list[Sockaddr]:
        """Return where the `count` datagrams last received came from: `ADDRESS` octets, with `CONTROL` ones or not."""

    def send(self, sock: socket.socket, datagrams: Sequence[bytes], clients: Sequence[Sockaddr] | None = None) -> int:
        """Send each to its client, or all to whom the socket is connected to; return how many could not be sent."""


class _Memory:
    """Memory that the kernel reads and writes. Slices of `octets` are copies, made at once."""

    def __init__(self, size: int) -> None:
        self.octets = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.octets))


class _Room:
    """Room for a batch: the datagrams, the octets of their clients, and struct iovec for each."""

    _WORD: Literal["Q", "I"] = "Q" if Struct("@P").size == 8 else "I"

    def __init__(self) -> None:
        self.data = _Memory(BATCH * _DATAGRAM)
        self.clients = _Memory(BATCH * _CLIENT)
        self._parts = _Memory(BATCH * 2 * Struct("@P").size)
        self._words = memoryview(self._parts.octets).cast(self._WORD)
        self._words[0::2] = array(
            self._WORD, range(self.data.address, self.data.address + BATCH * _DATAGRAM, _DATAGRAM)
        )
        self._words[1::2] = array(self._WORD, [_DATAGRAM] * BATCH)

    def headers(self, address: int, control: int) -> _Headers:
        """Return headers for this room whose names and control messages have these sizes, 0 for none."""
        size = address + control
        return _Headers(
            (
                self.clients.address + number * size if address else 0,
                address,
                self._parts.address + number * 2 * Struct("@P").size,
                1,
                self.clients.address + number * size + address if control else 0,
                control,
            )
            for number in range(BATCH)
        )

    def put(self, datagrams: Sequence[bytes]) -> None:
        """Lay the datagrams of a batch one behind the other, which takes no step in Python for each."""
        count = len(datagrams)
        lengths = array(self._WORD, map(len, datagrams))
        self.data.octets[: sum(lengths)] = b"".join(datagrams)
        self._words[0 : 2 * count : 2] = array(self._WORD, accumulate(lengths[:-1], initial=self.data.address))
        self._words[1 : 2 * count : 2] = lengths

    def put_clients(self, clients: Sequence[Sockaddr]) -> None:
        """Lay down where they go to; all have the same size."""
        octets = b"".join(clients)
        self.clients.octets[: len(octets)] = octets


class _Headers:
    """An array of struct mmsghdr."""

    _FIXED = Struct("@PIPNPNi0P")  # struct msghdr
    _WHOLE = Struct("@PIPNPNi0PI0P")  # and how long the datagram was

    def __init__(self, fields: Iterable[tuple[int, ...]]) -> None:
        self.fresh = b"".join(self._WHOLE.pack(*each, 0, 0) for each in fields)
        """As they are before a call, which writes into them."""
        self.memory = _Memory(len(self.fresh))
        self.memory.octets[:] = self.fresh
        words = memoryview(self.memory.octets).cast("I")
        self.lengths = words[self._FIXED.size // 4 :: self._WHOLE.size // 4]

    def address(self, first: int) -> int:
        """Return where the header of this number is."""
        return self.memory.address + first * self._WHOLE.size


class BatchedDatagrams:
    """`Datagrams` on Linux."""

    def __init__(self) -> None:
        """Set up the memory; `AttributeError` where the C library has no such calls."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg = libc.recvmmsg, libc.sendmmsg
        self._recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self._in = _Room()
        self._out = _Room()
        self._received = self._in.headers(ADDRESS, CONTROL)
        self._connected = self._out.headers(0, 0)
        self._addressed = self._out.headers(ADDRESS, 0)
        self._sourced = self._out.headers(ADDRESS, CONTROL)

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return what has come, up to `BATCH` datagrams; fewer mean that no more is there. `OSError` as recv(2)."""
        headers = self._received
        headers.memory.octets[:] = headers.fresh
        count = self._recvmmsg(sock.fileno(), headers.memory.address, BATCH, socket.MSG_DONTWAIT, None)
        if count < 0:
            code = ctypes.get_errno()
            if code in _NOTHING_YET:
                return []
            raise OSError(code, os.strerror(code))
        data = self._in.data.octets
        lengths = headers.lengths[:count].tolist()
        return [data[offset : offset + length] for offset, length in zip(_OFFSETS, lengths, strict=False)]

    def clients(self, count: int, octets: int) -> list[Sockaddr]:
        """Return where the `count` datagrams last received came from: `ADDRESS` octets, with `CONTROL` ones or not."""
        clients = self._in.clients.octets
        return [clients[offset : offset + octets] for offset in range(0, count * _CLIENT, _CLIENT)]

    def send(self, sock: socket.socket, datagrams: Sequence[bytes], clients: Sequence[Sockaddr] | None = None) -> int:
        """Send each to its client, or all to whom the socket is connected to; return how many could not be sent."""
        unsent = 0
        for start in range(0, len(datagrams), BATCH):
            batch = datagrams[start : start + BATCH]
            unsent += self._send(sock, batch, None if clients is None else clients[start : start + BATCH])
        return unsent

    def _send(self, sock: socket.socket, datagrams: Sequence[bytes], clients: Sequence[Sockaddr] | None) -> int:
        """Send a batch."""
        self._out.put(datagrams)
        headers = self._connected
        if clients is not None:
            self._out.put_clients(clients)
            headers = self._addressed if len(clients[0]) == ADDRESS else self._sourced
        sent = unsent = 0
        again = True
        while sent < len(datagrams):
            done = self._sendmmsg(sock.fileno(), headers.address(sent), len(datagrams) - sent, socket.MSG_DONTWAIT)
            if done > 0:
                sent, again = sent + done, True
            elif again and ctypes.get_errno() == errno.ECONNREFUSED:
                again = False  # what was refused is an earlier datagram of this socket: this one has yet to be tried
            else:
                sent, unsent, again = sent + 1, unsent + 1, True
        return unsent


class SingleDatagrams:
    """`Datagrams` anywhere: a call for each."""

    def __init__(self) -> None:
        self._clients: list[Sockaddr] = []

    def receive(self, sock: socket.socket) -> list[bytes]:
        """Return what has come, up to `BATCH` datagrams; fewer mean that no more is there. `OSError` as recv(2)."""
        received: list[bytes] = []
        self._clients = []
        try:
            while len(received) < BATCH:
                datagram, controls, _flags, address = sock.recvmsg(MAX_DATAGRAM, socket.CMSG_SPACE(20))
                received.append(datagram)
                told = control_of(*controls[0]) if controls else bytes(CONTROL)
                scope = address[3] if len(address) > 2 else 0
                self._clients.append(sockaddr_of(address[0], address[1], scope) + told)
        except BlockingIOError:
            pass
        except OSError:
            if not received:
                raise
        return received

    def clients(self, count: int, octets: int) -> list[Sockaddr]:
        """Return where the `count` datagrams last received came from: `ADDRESS` octets, with `CONTROL` ones or not."""
        return [client[:octets] for client in self._clients[:count]]

    def send(self, sock: socket.socket, datagrams: Sequence[bytes], clients: Sequence[Sockaddr] | None = None) -> int:
        """Send each to its client, or all to whom the socket is connected to; return how many could not be sent."""
        unsent = 0
        for number, datagram in enumerate(datagrams):
            client = clients[number] if clients is not None else None
            try:
                _send_one(sock, datagram, client)
            except ConnectionRefusedError:
                # What was refused is an earlier datagram of this socket: this one has yet to be tried.
                with contextlib.suppress(OSError):
                    _send_one(sock, datagram, client)
            except OSError:
                unsent += 1
        return unsent


def _send_one(sock: socket.socket, datagram: bytes, client: Sockaddr | None) -> None:
    if client is None:
        sock.send(datagram)
        return
    control = client[ADDRESS:]
    sock.sendmsg([datagram], [read_control(control)] if control else [], 0, socket_address(client))


def datagrams() -> Datagrams:
    """Return the faster kind that works here."""
    try:
        return BatchedDatagrams()
    except (AttributeError, OSError, TypeError):
        return SingleDatagrams()
