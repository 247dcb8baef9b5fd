"""What is fuzzed, each a function of octets that must return, whatever they are; anything raised is a finding.

What a function promises is asserted here as well: an answer that parses, a table that stays bounded, an ID kept.
"""

from __future__ import annotations

import sqlite3
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import dns.exception
import dns.message
import dns.name
import dns.rdatatype
from twisted.internet.testing import StringTransport
from twisted.protocols.basic import Int16StringReceiver

from flatproxy.config.load import to_settings
from flatproxy.config.rules import Rule
from flatproxy.errors import ChainError, ConfigError, WireError
from flatproxy.flatten.chain import Chain
from flatproxy.flatten.scope import ConfiguredScope
from flatproxy.flatten.stores import sqlite as store
from flatproxy.forward.access import Networks
from flatproxy.forward.policy import DROP, FLATTEN, Policy
from flatproxy.table.ladder import Resolution
from flatproxy.table.table import Table
from flatproxy.wire import edns, landing, names, peek, proxy, reply
from flatproxy.wire.landing import MAX_HOPS
from flatproxy.wire.types import TYPE_A

if TYPE_CHECKING:
    from collections.abc import Callable

FLAGGED = b"\x07example\x03com\x00"
TARGET = b"\x02lb\x07example\x03net\x00"
RULE = Rule(target=TARGET)


def _table() -> Table:
    table = Table()
    for target in table.adopt({FLAGGED: RULE}, 0.0, 0.0).new:
        rdata = b"\xc6\x33\x64\x01" if target.rdtype == TYPE_A else b"\x20\x01\x0d\xb8" + bytes(12)
        resolution = Resolution(rdatas=(rdata,), ttl_s=60, names=("lb.example.net",), resolved_at=0.0)
        target.settle(resolution, "addresses", 0.0)
    return table


_TABLE = _table()
_NOBODY = Networks(())
_POLICY = Policy(
    zones=frozenset({FLAGGED}),
    query=_NOBODY,
    transfer=_NOBODY,
    update=_NOBODY,
    notify=_NOBODY,
    table=_TABLE,
)


def verdict(data: bytes) -> None:
    """A client's message, judged and, where it is flagged, answered."""
    judgement, end, answer = _POLICY._judge(data, b"\xc0\0\2\1")
    if judgement == DROP:
        assert len(data) < peek.HEADER or data[2] & peek.QR
        return
    refusal = reply.error_reply(data, reply.REFUSED, edns.EDE_NETWORK_ERROR)
    assert refusal[:2] == data[:2]
    if not data[2] & peek.OPCODE:  # dnspython has rules of its own for updates
        dns.message.from_wire(refusal)
    if judgement == FLATTEN and answer is not None:
        made = answer.reply(data, end, 1.0, udp=True)
        assert made is not None
        assert made[:2] == data[:2]
        assert len(made) <= edns.udp_limit(data, end)
        assert made[peek.HEADER : end] == data[peek.HEADER : end]
        dns.message.from_wire(made)


class _Collected(Int16StringReceiver):
    def __init__(self) -> None:
        self.strings: list[bytes] = []

    def stringReceived(self, string: bytes) -> None:  # noqa: N802 - Twisted's name
        self.strings.append(string)


def framing(data: bytes) -> None:
    """A TCP stream cut anywhere gives the same messages; the first octet says where."""
    if not data:
        return
    step, stream = data[0] % 7 + 1, data[1:]
    whole, cut = _Collected(), _Collected()
    for receiver in (whole, cut):
        receiver.makeConnection(StringTransport())  # type: ignore[no-untyped-call]
    whole.dataReceived(stream)  # type: ignore[no-untyped-call]
    for start in range(0, len(stream), step):
        cut.dataReceived(stream[start : start + step])  # type: ignore[no-untyped-call]
    assert whole.strings == cut.strings


def landings(data: bytes) -> None:
    """A nameserver's reply: found or left alone, and what is rewritten parses and stays within the limit."""
    end = peek.question_end(data)
    peek.is_signed(data)
    may_land = bool(end) and landing.may_land(data, data[peek.HEADER : end].lower())
    found = landing.find(data, lambda name: name == FLAGGED)
    if found is not None and may_land:
        soa = FLAGGED + b"\0\x06\0\1\0\0\0\x3c\0\x16" + b"\0\0" + bytes(20)
        for rdatas in ((), (b"\xc6\x33\x64\x01",) if found.rdtype == TYPE_A else (bytes(16),)):
            again = landing.find(data, lambda name: name == FLAGGED)
            assert again is not None
            denial = () if rdatas else (landing.record_of(soa),)
            made = landing.rewrite(again, landing.Records(ttl_s=60, rdatas=rdatas, authority=denial), 1232)
            assert made[:2] == data[:2]
            assert len(made) <= 1232
            dns.message.from_wire(made)


def chain(data: bytes) -> None:
    """A resolver's messages, one after the other, through the walk: it ends, with addresses or a ChainError."""
    scope = ConfiguredScope({FLAGGED: RULE}, frozenset({FLAGGED}))
    walk = Chain.to(names.to_name(TARGET), dns.rdatatype.A, scope)
    asked = 0
    while walk.ask is not None and data:
        size, message, data = data[0] << 1, data[1 : 1 + (data[0] << 1)], data[1 + (data[0] << 1) :]
        if not size:
            continue
        try:
            walk.receive(dns.message.from_wire(message))
        except (dns.exception.DNSException, ValueError):
            continue
        except ChainError:
            return
        asked += 1
        assert asked <= 3 * MAX_HOPS
    if walk.found is not None:
        assert 0 <= walk.found.ttl_s < 2**31
        assert all(len(rdata) == 4 for rdata in walk.found.rdatas)


def configuration(data: bytes) -> None:
    """A configuration file: settings, or a ConfigError that can be printed."""
    try:
        raw = tomllib.loads(data.decode())
    except (ValueError, RecursionError):
        return
    try:
        to_settings(raw)
    except ConfigError as error:
        said = str(error)
    else:
        return
    assert said


def state(data: bytes) -> None:
    """A state file: rows, or an error that the store counts; then it can be written again."""
    with tempfile.TemporaryDirectory() as folder:
        kept = store.SqliteStore(Path(folder) / "answers.sqlite")
        kept.path.write_bytes(data)
        rows = kept.load()
        for row in rows:
            row.resolution(1.0, 1.0)
        try:
            store.write(kept.path, rows)
        except sqlite3.Error:
            return


def proxy_header(data: bytes) -> None:
    """A PROXY header: a client and where the message begins, or a WireError."""
    try:
        client, start = proxy.parse(data)
    except WireError:
        return
    assert proxy.FIXED <= start <= len(data)
    assert client is None or len(client) in (6, 18)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (verdict, framing, landings, chain, configuration, state, proxy_header)
}
