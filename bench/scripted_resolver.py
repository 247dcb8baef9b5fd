"""`python -m bench.scripted_resolver PORT WORD`: a resolver that answers every A question alike.

WORD is `answers` (one address, TTL 60), `fails` (SERVFAIL) or `silent`.
"""

from __future__ import annotations

import os
import socket
import sys

_ANSWER = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xcb\0\x71\1"
_HEADER = 12


def reply(query: bytes, word: str) -> bytes:
    """Return what is sent for a query, without its OPT record."""
    end = query.index(b"\0", _HEADER) + 5
    if word == "fails":
        return query[:2] + b"\x81\x82\0\1\0\0\0\0\0\0" + query[_HEADER:end]
    return query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + query[_HEADER:end] + _ANSWER


def main() -> None:
    port, word = int(sys.argv[1]), sys.argv[2]
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # who is measured comes first, whoever started us
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", port))
        while True:
            query, client = sock.recvfrom(4096)
            if word != "silent":
                sock.sendto(reply(query, word), client)


if __name__ == "__main__":
    main()
