"""`python -m bench.checked_servers RESOLVER_PORT WEB_PORT TLS_PORT CERTIFICATE LOG`: a resolver, and web servers.

Every tN.cloud.test has two addresses of its own in 127.64.0.0/10, where one socket listens for all. Each request is
answered with 200 and noted in LOG: the time (monotonic, a double) and the last three octets of the address. A
connection that asks for nothing is noted, too. With TLS, CERTIFICATE has the key as well.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
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


def answer(connection: socket.socket, log: BinaryIO) -> bool:
    """Go on with the one request of a connection; tell whether that was all."""
    try:
        asked = connection.recv(4096)
    except ssl.SSLWantReadError:
        return False
    number = int.from_bytes(socket.inet_aton(connection.getsockname()[0])[1:], "big")
    log.write(RECORD.pack(monotonic(), number))
    if asked:
        connection.send(_OK)
    return True


def accepted(listening: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    connection = listening.accept()[0]
    connection.settimeout(0)
    # The handshake is done by the first `recv`.
    return tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) if tls else connection


def listening_at(port: int) -> socket.socket:
    web = socket.socket()
    web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    web.bind(("0.0.0.0", port))
    web.listen(4096)
    web.settimeout(0)
    return web


def main() -> None:
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # who is measured comes first, whoever started us
    dns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    dns.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    dns.bind(("127.0.0.1", int(sys.argv[1])))
    dns.settimeout(0)
    web, secure = listening_at(int(sys.argv[2])), listening_at(int(sys.argv[3]))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[4])
    with open(sys.argv[5], "wb", buffering=0) as log, selectors.DefaultSelector() as ready:  # noqa: PTH123
        for each in (dns, web, secure):
            ready.register(each, selectors.EVENT_READ)
        while True:
            for key, _events in ready.select():
                source = key.fileobj
                assert isinstance(source, socket.socket)
                try:
                    if source is dns:
                        query, client = dns.recvfrom(4096)
                        dns.sendto(resolved(query), client)
                    elif source in (web, secure):
                        ready.register(accepted(source, tls if source is secure else None), selectors.EVENT_READ)
                    elif answer(source, log):
                        ready.unregister(source)
                        source.close()
                except OSError:  # a client that is gone
                    if source not in (dns, web, secure):
                        ready.unregister(source)
                        source.close()


if __name__ == "__main__":
    main()
