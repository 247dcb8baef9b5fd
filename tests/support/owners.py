"""Which process has a socket, by the other end's view of it: what Linux says in /proc."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from .ports import Address


def owner(peer: Address, protocol: str, pids: Collection[int]) -> int | None:
    """Return which of these processes a message came from that has this source, over "tcp" or "udp" on IPv4."""
    # Of this thread's network: best of one that has little else, since a long table that changes is not read whole.
    for line in Path(f"/proc/thread-self/net/{protocol}").read_text().splitlines()[1:]:
        words = line.split()
        host, port = words[1].split(":")
        is_it = int(port, 16) == peer[1] and host in {_hex(peer[0]), "00000000"}
        if is_it and (pid := _holder(words[9], pids)) is not None:
            return pid
    return None


def _hex(host: str) -> str:
    return bytes(map(int, host.split(".")))[::-1].hex().upper()


def _holder(inode: str, pids: Collection[int]) -> int | None:
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                if str(entry.readlink()) == f"socket:[{inode}]":
                    return pid
    return None
