"""`python -m bench.stub LOSS`: a nameserver that has no records and loses a share of its replies. Prints its port."""

from __future__ import annotations

import random
import select
import socket
import sys

from flatproxy.forward.batches import datagrams
from flatproxy.forward.socket_addresses import ADDRESS


def main() -> None:
    loss = float(sys.argv[1])
    io = datagrams()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        print(sock.getsockname()[1], flush=True)
        while True:
            select.select([sock], [], [])
            messages = io.receive(sock)
            clients = io.clients(len(messages), ADDRESS)
            kept = [pair for pair in zip(messages, clients, strict=True) if random.random() >= loss]
            replies = [message[:2] + b"\x84\0" + message[4:] for message, _client in kept]
            if replies:
                io.send(sock, replies, [client for _message, client in kept])


if __name__ == "__main__":
    main()
