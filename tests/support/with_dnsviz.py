"""dnsviz as a child process: it looks at every record of some names and says what is wrong with any of them.

It is a Python program of the system's. Run with arguments, this file becomes it: it lets it reach the loopback alone
(it would wait for the zone's nameservers as the zone has them), and tells it the version of pygraphviz, for which
Debian's looks in vain.
"""

from __future__ import annotations

import errno
import json
import runpy
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TYPES = "A,AAAA,HTTPS,MX,TXT"
_TESTS_OWN = {"INCEPTION_WITHIN_CLOCK_SKEW", "NO_COOKIE_OPTION"}
"""The nameserver has just signed its zone; and it has cookies (RFC 7873), which flattened answers never carry."""


class _Loopback(socket.socket):
    def connect(self, address: Any) -> None:
        if isinstance(address, tuple) and not address[0].startswith("127."):
            raise OSError(errno.ENETUNREACH, "only the loopback here")
        super().connect(address)


def judge(
    folder: Path, zone: str, authority: tuple[str, int], anchors: Sequence[str], names: Sequence[str]
) -> tuple[int, list[str]]:
    """Return how many answers it found secure, and what it says of errors and warnings."""
    from tests.support.child import program, run  # noqa: PLC0415 - not where this file becomes dnsviz

    trusted, probe, said = folder / "anchors", folder / "probe.json", folder / "said.json"
    trusted.write_text("".join(f"{zone}. 2 IN DNSKEY {anchor}\n" for anchor in anchors))
    dnsviz = ["/usr/bin/python3", str(Path(__file__)), program("dnsviz")]
    server = f"{zone}+:{authority[0]}:{authority[1]}"
    run([*dnsviz, "probe", "-d", "1", "-A", "-4", "-p", "-x", server, "-R", _TYPES, *names, "-o", str(probe)])
    run([*dnsviz, "grok", "-P", "-l", "info", "-t", str(trusted), "-r", str(probe), "-o", str(said)])
    found = json.loads(said.read_text())
    secure = [
        answer
        for name in found.values()
        for question in name["queries"].values()
        for answer in question.get("answer", ())
        if answer["status"] == "SECURE"
    ]
    return len(secure), list(_wrong(found, zone))


def _wrong(found: object, place: str) -> Iterator[str]:
    if isinstance(found, list):
        for each in found:
            yield from _wrong(each, place)
    if isinstance(found, dict):
        for key, each in found.items():
            if key in {"errors", "warnings"}:
                yield from (f"{place}: {wrong['description']}" for wrong in each if wrong["code"] not in _TESTS_OWN)
            else:
                yield from _wrong(each, f"{place} {key}")


def main() -> None:
    """Become dnsviz."""
    import pygraphviz  # type: ignore[import-not-found] # noqa: PLC0415 - the system's

    pygraphviz.release = type("release", (), {"version": "1.7"})
    socket.socket = _Loopback  # type: ignore[misc]
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
