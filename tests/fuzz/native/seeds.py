"""Writes the messages that the fuzz targets in C begin with, a folder for each target."""

from __future__ import annotations

import sys
from pathlib import Path

from flatproxy.wire import records
from tests.unit.wire.messages import query, response

NAMES = ("example.com", "lb1.test", "www.example.com", "EXAMPLE.com")


def main(folder: Path) -> None:
    queries = [
        query(name, rdtype, **options)
        for name in NAMES
        for rdtype in ("A", "AAAA", "ANY", "AXFR")
        for options in ({}, {"payload": 1232}, {"want_dnssec": True}, {"use_edns": 1})
    ]
    www = query("www.example.com")
    replies = [
        response(www, ["www.example.com. 60 IN CNAME example.com.", "example.com. 60 IN A 192.0.2.1"]),
        response(www, ["www.example.com. 60 IN A 192.0.2.1"]),
        response(query("lb1.test")),
    ]
    record = records.record(records.QNAME, 1, 60, bytes(4))
    seeds = {
        "query": queries,
        "reply": [len(www).to_bytes(2, "big") + www + reply for reply in replies],
        "form": [bytes((count, 0, count, 0, 0, len(record), 0, 0)) + record * count for count in (1, 2, 9)]
        + [b"\7example\3com\0\3com\0\0"],
    }
    for target, messages in seeds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for number, message in enumerate(messages):
            (folder / target / str(number)).write_bytes(message)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
