"""Writes the small committed corpus: one well-formed input of each kind a target takes. Run it to make it anew."""

from __future__ import annotations

from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rrset
import dns.tsig
import dns.update

from flatproxy.flatten.stores import sqlite as store
from flatproxy.flatten.stores.store import Row
from flatproxy.wire import proxy

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]


def _queries() -> list[bytes]:
    plain = dns.message.make_query("example.com", "A")
    cookie = dns.edns.GenericOption(dns.edns.OptionType.COOKIE, bytes(8))
    messages = [
        plain,
        dns.message.make_query("ExAmPlE.CoM", "AAAA", use_edns=0, payload=4096, want_dnssec=True),
        dns.message.make_query("example.com", "ANY", use_edns=1),
        dns.message.make_query("www.example.com", "AXFR"),
        dns.message.make_query("example.com", "A", options=[cookie]),
    ]
    update = dns.update.UpdateMessage("example.com")
    update.add("new", 60, "A", "192.0.2.7")
    for number, message in enumerate([*messages, update]):
        message.id = number
    return [message.to_wire() for message in [*messages, update]]


def _responses() -> list[bytes]:
    made = []
    for name, rdtype, records in (
        ("lb.example.net.", "A", ["lb.example.net. 60 IN CNAME a.example.org.", "a.example.org. 30 IN A 198.51.100.1"]),
        ("lb.example.net.", "A", ["lb.example.net. 60 IN CNAME www.example.com."]),
        ("www.example.com.", "A", ["www.example.com. 60 IN CNAME example.com.", "example.com. 60 IN A 192.0.2.1"]),
        ("www.example.com.", "AAAA", ["www.example.com. 60 IN CNAME example.com."]),
        (
            "a.d.example.com.",
            "A",
            ["d.example.com. 60 IN DNAME example.com.", "a.d.example.com. 0 IN CNAME a.example.com."],
        ),
    ):
        response = dns.message.make_response(dns.message.make_query(name, rdtype, id=1))
        response.flags |= dns.flags.AA
        for record in records:
            owner, ttl, _rdclass, kind, rdata = record.split(" ", 4)
            response.answer.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, rdata))
        if rdtype == "AAAA":
            soa = "ns.example.com. hostmaster.example.com. 1 2 3 4 5"
            response.authority.append(dns.rrset.from_text("example.com.", 60, "IN", "SOA", soa))
        made.append(response.to_wire())
    return made


def _state() -> bytes:
    path = CORPUS / "state" / "scratch"
    path.unlink(missing_ok=True)
    store.write(path, [Row(b"\2lb\7example\3net\0", 1, (b"\xc6\x33\x64\1",), 60, ("lb.example.net",), 1e9)])
    data = path.read_bytes()
    path.unlink()
    return data


def main() -> None:
    for name in ("verdict", "framing", "landings", "chain", "configuration", "state", "proxy_header"):
        (CORPUS / name).mkdir(parents=True, exist_ok=True)
    queries, responses = _queries(), _responses()
    header = proxy.header(b"\xc0\0\2\1\x0f\xa0", b"\xc0\0\2\x35\0\x35", udp=True)
    inputs = {
        "verdict": queries,
        "framing": [b"\3" + b"".join(len(query).to_bytes(2, "big") + query for query in queries)],
        "landings": responses,
        "chain": [b"".join(bytes([(len(r) + 1) // 2]) + r + bytes(len(r) % 2) for r in responses)],
        "configuration": [(ROOT / "config" / "flatproxy.toml").read_bytes()],
        "state": [_state()],
        "proxy_header": [header + queries[0], proxy.LOCAL],
    }
    for name, seeds in inputs.items():
        for number, seed in enumerate(seeds):
            (CORPUS / name / str(number)).write_bytes(seed)


if __name__ == "__main__":
    main()
