"""The query log: dnstap messages over Frame Streams, written by a thread of its own. Nobody waits for it.

What it is told waits in a bounded queue; where that is full, or the reader has gone, messages are dropped and counted.
protobuf's and Frame Streams' Python libraries do the format: the extra `flatproxy[dnstap]`, imported here alone.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from time import monotonic
from typing import TYPE_CHECKING, Final
from zlib import crc32

import dnstap_pb
from attrs import define, field
from fstrm import FSTRM_CONTROL_ACCEPT, FSTRM_CONTROL_FINISH, FSTRM_CONTROL_STOP, FstrmCodec
from twisted.logger import Logger

if TYPE_CHECKING:
    from typing import BinaryIO

    from flatproxy.config.settings import Dnstap
    from flatproxy.wire.tap import TappedMessage

log = Logger()

CONTENT: Final = b"protobuf:dnstap.Dnstap"
QUEUED: Final = 10_000
"""Messages that wait for the writer."""
READER_S: Final = 5.0
"""A reader that takes nothing for so long is left."""
REOPEN_S: Final = 2.0
_GOODBYE_S: Final = 0.5
_AT_ONCE: Final = 64
_TYPES: Final = {"auth_query": 1, "auth_response": 2, "resolver_query": 3, "resolver_response": 4}
_PROTOCOLS: Final = {"udp": 1, "tcp": 2, "tls": 3, "https": 4, "quic": 7}


@define(eq=False)
class DnstapWriter:
    """From `start` to `stop`; `tell` may be called from the loop's thread only."""

    settings: Dnstap
    dropped: int = 0
    _queue: queue.Queue[TappedMessage | None] = field(factory=lambda: queue.Queue(QUEUED))
    _thread: threading.Thread | None = None
    _is_over: threading.Event = field(factory=threading.Event)

    def tell(self, told: TappedMessage) -> None:
        """Take note of a message, or count it where there is no room.

        One in `sample` is kept, by its ID and question: so a query is kept with its reply.
        """
        message = told.message
        if self.settings.sample > 1 and crc32(message[:2] + message[12:30].lower()) % self.settings.sample:
            return
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            self.dropped += 1

    def start(self) -> None:
        """Begin to write."""
        self._thread = threading.Thread(target=self._run, name="dnstap", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, for a moment at most, and end."""
        self._is_over.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)
        if self._thread is not None:
            self._thread.join(2 * _GOODBYE_S)

    def _run(self) -> None:
        was_lost = False
        while not self._is_over.is_set():
            try:
                with contextlib.closing(_open(self.settings)) as stream:
                    log.info("dnstap: writing to {where}", event="dnstap_open", where=self.settings.where)
                    was_lost = False
                    self._write(stream)
            except (OSError, EOFError) as error:
                if not was_lost:
                    log.warn(
                        "dnstap: {where}: {error}", event="dnstap_lost", where=self.settings.where, error=str(error)
                    )
                was_lost = True
                self._is_over.wait(REOPEN_S)

    def _write(self, stream: _Stream) -> None:
        while True:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _AT_ONCE:
                    batch.append(self._queue.get_nowait())
            told = [each for each in batch if each is not None]
            try:
                stream.write([_encoded(each) for each in told])
            except OSError:
                self.dropped += len(told)
                raise
            if len(told) < len(batch):
                return


def _encoded(told: TappedMessage) -> bytes:
    made = dnstap_pb.Dnstap()
    made.type, made.identity, made.version = 1, b"", b"flatproxy"
    message = made.message
    message.type, message.socket_protocol = _TYPES[told.kind], _PROTOCOLS[told.way]
    address = told.querier or told.responder
    if address:
        message.socket_family = 1 if len(address) == 4 else 2
    if told.querier:
        message.query_address = told.querier
    if told.responder:
        message.response_address = told.responder
    if told.port:
        message.response_port = told.port
    seconds = int(told.at)
    nanoseconds = int((told.at - seconds) * 1e9)
    if told.kind.endswith("query"):
        message.query_message, message.query_time_sec, message.query_time_nsec = told.message, seconds, nanoseconds
    else:
        message.response_message = told.message
        message.response_time_sec, message.response_time_nsec = seconds, nanoseconds
    octets: bytes = made.SerializeToString()
    return octets


class _Stream:
    """Frame Streams to a file, or to a reader at the other end of a socket, who is asked first."""

    def __init__(self, file: BinaryIO | None, sock: socket.socket | None) -> None:
        self._file, self._sock, self._codec = file, sock, FstrmCodec()
        if sock is not None:
            self._put(self._codec.encode_ctrlready(CONTENT))
            self._expect(FSTRM_CONTROL_ACCEPT)
        self._put(self._codec.encode_ctrlstart(CONTENT))

    def _put(self, octets: bytes) -> None:
        if self._file is not None:
            self._file.write(octets)
            self._file.flush()
        elif self._sock is not None:
            self._sock.sendall(octets)

    def _expect(self, control: int) -> None:
        assert self._sock is not None
        until = monotonic() + READER_S
        while not self._codec.process():
            came = self._sock.recv(4096)
            if not came or monotonic() > until:
                raise EOFError("the reader does not speak Frame Streams, or has gone")
            self._codec.append(came)
        if self._codec.decode()[0] != control:
            raise EOFError("the reader does not take dnstap")

    def write(self, payloads: list[bytes]) -> None:
        """Write a frame for each; `OSError` where the reader is not there or takes nothing."""
        self._put(b"".join(self._codec.encode_data(each) for each in payloads))

    def close(self) -> None:
        """Say that this is the end, if anybody listens."""
        with contextlib.suppress(OSError, EOFError):
            if self._sock is not None:
                self._sock.settimeout(_GOODBYE_S)
            self._put(self._codec.encode(FSTRM_CONTROL_STOP))
            if self._sock is not None:
                self._expect(FSTRM_CONTROL_FINISH)
        for each in (self._file, self._sock):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()


def _open(settings: Dnstap) -> _Stream:
    if settings.file is not None:
        return _Stream(settings.file.open("wb"), None)
    if settings.socket is not None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        there: str | tuple[str, int] = str(settings.socket)
    else:
        assert settings.tcp is not None
        sock = socket.socket(socket.AF_INET6 if ":" in settings.tcp.host else socket.AF_INET, socket.SOCK_STREAM)
        there = settings.tcp.host, settings.tcp.port
    try:
        sock.settimeout(READER_S)
        sock.connect(there)
        return _Stream(None, sock)
    except BaseException:
        sock.close()
        raise
