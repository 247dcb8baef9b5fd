"""Transfers, signed messages, updates, notifies, and validation through the subject."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.tsig
import dns.tsigkeyring
import dns.update
import dns.xfr
import dns.zone
import pytest

from tests.support import dnsio, packets
from tests.support.zones import KEY_NAME, KEY_SECRET

from . import compare, zones
from .subject import program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.nameserver import Nameserver
    from tests.support.ports import Address
    from tests.support.scripted import Scripted

    from .arena import Arena, Launch, Pair
    from .subject import Subject

_KEYS = dns.tsigkeyring.from_text({KEY_NAME: KEY_SECRET})
_WRONG_SECRET = dns.tsigkeyring.from_text({KEY_NAME: "YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlcg=="})
_WRONG_NAME = dns.tsigkeyring.from_text({"nobody.test": KEY_SECRET})
_ASK = {"udp": dnsio.udp, "tcp": dnsio.tcp}


def transfer(connection: dnsio.Connection, message: bytes) -> list[str]:
    """Ask for a transfer and return its records in order, as text, up to the SOA that ends it."""
    connection.send(message)
    out: list[str] = []
    soas = 0
    while soas < 2:
        reply = connection.receive()
        assert reply is not None, f"the transfer ends after {len(out)} records"
        assert reply[:2] == message[:2]
        parsed = dns.message.from_wire(reply, one_rr_per_rrset=True, xfr=True)
        assert parsed.rcode() == dns.rcode.NOERROR
        out += [rrset.to_text() for rrset in parsed.answer]
        soas += sum(rrset.rdtype == dns.rdatatype.SOA for rrset in parsed.answer)
    return out


@pytest.mark.must
def test_028_axfr(pair: Pair) -> None:
    for zone in (zones.PLAIN, zones.SIGNED):
        with dnsio.Connection(pair.backend.address) as connection:
            direct = transfer(connection, packets.query(zone, packets.AXFR))
        assert len(direct) > 40
        with dnsio.Connection(pair.subject.address) as connection:
            assert transfer(connection, packets.query(zone, packets.AXFR)) == direct
            after = packets.query(f"mail.{zones.PLAIN}")
            connection.send(after)
            assert (connection.receive() or b"")[6:8] == b"\0\1"


@pytest.mark.must
def test_029_ixfr_and_transfers_over_udp(pair: Pair) -> None:
    serial = (2024010101).to_bytes(4, "big")
    soa = packets.record(zones.PLAIN, packets.SOA, b"\0\0" + serial + bytes(16))
    ixfr = packets.header(29, 0, (1, 0, 1, 0)) + packets.question(zones.PLAIN, packets.IXFR) + soa
    compare.as_backend(pair.subject, pair.backend, [ixfr], "tcp", answered=True)
    compare.as_backend(pair.subject, pair.backend, [ixfr, packets.query(zones.PLAIN, packets.AXFR)], errors=True)


def signed(name: str, rdtype: str, keys: dict[dns.name.Name, dns.tsig.Key]) -> tuple[dns.message.Message, bytes]:
    message = dns.message.make_query(name, rdtype)
    message.use_tsig(keys)
    return message, message.to_wire()


@pytest.mark.must
def test_030_tsig_signed_queries(pair: Pair) -> None:
    for ask in _ASK.values():
        for name, rdtype in ((zones.PLAIN, "A"), (f"t05k.{zones.PLAIN}", "TXT"), (f"nowhere.{zones.PLAIN}", "A")):
            message, wire = signed(name, rdtype, _KEYS)
            reply = ask(pair.subject.address, wire)
            assert reply is not None
            parsed = dns.message.from_wire(reply, keyring=_KEYS, request_mac=message.mac)
            assert parsed.had_tsig
            assert message.is_response(parsed)


@pytest.mark.must
def test_030_tsig_signed_messages_reach_the_backend_untouched(stub: Scripted, stub_proxy: Subject) -> None:
    update = dns.update.UpdateMessage(zones.DYNAMIC, keyring=_KEYS)
    update.add("host", 300, "A", "192.0.2.5")
    messages = [update.to_wire(), signed(zones.PLAIN, "A", _KEYS)[1]]
    for ask in _ASK.values():
        for message in messages:
            before = len(stub.received)
            assert ask(stub_proxy.address, message) is not None
            reached = [query.data for query in stub.received[before:]]
            assert message[2:] in [data[2:] for data in reached]


@pytest.mark.must
def test_031_unknown_keys_and_bad_macs(pair: Pair) -> None:
    for ask in _ASK.values():
        for keys, error in ((_WRONG_NAME, 17), (_WRONG_SECRET, 16)):
            _, wire = signed(zones.PLAIN, "A", keys)
            direct, through = ask(pair.backend.address, wire), ask(pair.subject.address, wire)
            assert tsig_error(direct) == tsig_error(through) == (packets.NOTAUTH, error)


def tsig_error(reply: bytes | None) -> tuple[int, int] | None:
    """Return the rcode and the error in the TSIG record that ends a reply (RFC 8945 section 4.2)."""
    return None if reply is None else (packets.rcode_of(reply), int.from_bytes(reply[-4:-2], "big"))


def zone_by_transfer(where: Address, zone: str) -> dns.zone.Zone:
    """Transfer a zone with TSIG; dnspython verifies each message against the one before."""
    found = dns.zone.Zone(zone)
    query, _ = dns.xfr.make_query(found, keyring=_KEYS, keyname=dns.name.from_text(KEY_NAME))
    dns.query.inbound_xfr(where[0], found, query, port=where[1], timeout=5, lifetime=10)
    return found


@pytest.mark.must
def test_032_signed_transfer_of_the_signed_zone(pair: Pair) -> None:
    direct = zone_by_transfer(pair.backend.address, zones.SIGNED)
    assert len(direct.nodes) > 40
    assert zone_by_transfer(pair.subject.address, zones.SIGNED) == direct


@pytest.mark.must
def test_033_dynamic_updates(arena: Arena, start: Launch) -> None:
    backend = arena.backend("bind")
    subject = arena.shared("bind")
    for number, (transport, ask) in enumerate(_ASK.items(), 1):
        name, address = f"by-{transport}.{zones.DYNAMIC}", f"192.0.2.{200 + number}"
        update = dns.update.UpdateMessage(zones.DYNAMIC, keyring=_KEYS)
        update.replace(f"by-{transport}", 300, "A", address)
        reply = ask(subject.address, update.to_wire())
        assert reply is not None
        assert dns.message.from_wire(reply, keyring=_KEYS, request_mac=update.mac).rcode() == dns.rcode.NOERROR
        query = packets.query(name)
        for where in (backend.address, subject.address):
            found = dnsio.udp(where, query) or b""
            assert bytes(map(int, address.split("."))) in found
        unsigned = dns.update.UpdateMessage(zones.DYNAMIC)
        unsigned.add("unsigned", 300, "A", "192.0.2.6")
        compare.as_backend(subject, backend, [unsigned.to_wire()], transport, answered=True)
        assert packets.rcode_of(dnsio.udp(subject.address, unsigned.to_wire()) or bytes(4)) == packets.REFUSED
    arena.verify_alive("bind")


@pytest.mark.must
def test_034_notifies(pair: Pair) -> None:
    flags = packets.opcode(packets.NOTIFY)
    notifies = [
        packets.query(name, packets.SOA, flags=flags | more, opt=opt)
        for name in (zones.PLAIN, "unknown.test")
        for more in (0, packets.AA)
        for opt in (None, packets.edns())
    ]

    def flags_and_rcode(message: bytes, direct: bytes | None, through: bytes | None) -> bool:
        if direct is None:
            return through is None or compare.is_error(message, through, {packets.SERVFAIL})
        return through is not None and through[:4] == direct[:4]

    for transport in ("udp", "tcp"):
        triples = compare.ask_both(pair.subject, pair.backend, notifies, transport, errors=True)
        compare.hold(triples, flags_and_rcode)


@pytest.mark.must
def test_036_answers_validate(proxy: Subject, nsd: Nameserver, tmp_path: Path) -> None:
    asked = [
        ("", "DNSKEY"), ("", "SOA"), ("", "A"), ("any.wild", "A"), ("nowhere", "A"), ("mail", "TXT"), ("t3k", "TXT"),
        ("c1", "A"), ("x.y.wild", "TXT"),
    ]  # fmt: skip
    for label, rdtype in asked:
        verdict = delv(proxy.address, zones.full(label, zones.SIGNED), rdtype, nsd.zones.anchor)
        assert "fully validated" in verdict, verdict
        assert "unsigned" not in verdict
    # The tool can say no: an answer without signatures does not validate.
    assert "fully validated" not in delv(proxy.address, zones.PLAIN, "A", nsd.zones.anchor)


def delv(where: Address, name: str, rdtype: str, anchor: Path) -> str:
    command = [
        program("delv"), f"@{where[0]}", "-p", str(where[1]), "-a", str(anchor), f"+root={zones.SIGNED}", "+tcp",
        name, rdtype,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout + done.stderr
