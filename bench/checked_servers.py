"""`python -m bench.checked_servers RESOLVER_PORT WEB_PORT LOG`: a resolver, and the web servers that it leads to.

Every tN.cloud.test has two addresses of its own in 127.64.0.0/10, where one socket listens for all. Each request is
answered with 200 and noted in LOG: the time (monotonic, a double) and the last three octets of the address.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import sys
from time import monotonic
from typing import BinaryIO

RECORD = struct.Struct("<dI")
_HEADER = 12
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_ADDRESS = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f"


def resolved(query: bytes) -> bytes:
    """Return what is sent for a query, without its OPT record."""
    end = query.index(b"\0", _HEADER) + 5
    label = query[_HEADER + 1 : _HEADER + 1 + query[_HEADER]].lower()
    is_known = query[end - 3] == 1 and label[:1] == b"t"
    number = 2 * int(label[1:]) + (64 << 16) + 1 if is_known else 0
    answers = b"".join(_ADDRESS + (number + each).to_bytes(3, "big") for each in range(2)) if is_known else b""
    counts = b"\0\1\0\2\0\0\0\0" if is_known else b"\0\1\0\0\0\0\0\0"
    return query[:2] + b"\x81\x80" + counts + query[_HEADER:end] + answers


def answer(connection: socket.socket, log: BinaryIO) -> None:
    """Answer the one request of a connection."""
    if connection.recv(4096):
        number = int.from_bytes(socket.inet_aton(connection.getsockname()[0])[1:], "big")
        log.write(RECORD.pack(monotonic(), number))
        connection.send(_OK)
    connection.close()


def main() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # who is measured comes first, whoever started us
    dns, web = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
    dns.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    dns.bind(("127.0.0.1", int(sys.argv[1])))
    web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    web.bind(("0.0.0.0", int(sys.argv[2])))
    web.listen(4096)
    dns.settimeout(0)
    web.settimeout(0)
    with open(sys.argv[3], "wb", buffering=4096) as log, selectors.DefaultSelector() as ready:  # noqa: PTH123
        ready.register(dns, selectors.EVENT_READ)
        ready.register(web, selectors.EVENT_READ)
        while True:
            for key, _events in ready.select():
                try:
                    if key.fileobj is dns:
                        query, client = dns.recvfrom(4096)
                        dns.sendto(resolved(query), client)
                    elif key.fileobj is web:
                        ready.register(web.accept()[0], selectors.EVENT_READ)
                    else:
                        ready.unregister(key.fileobj)
                        assert isinstance(key.fileobj, socket.socket)
                        answer(key.fileobj, log)
                except OSError:  # a client that is gone
                    continue


if __name__ == "__main__":
    main()
