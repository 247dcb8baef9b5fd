"""A GSS-TSIG update over UDP (RFC 3645), run as a program of its own by the system's Python, which has gssapi.

nsupdate sends these over TCP only. Arguments: port, owner name, address. Prints the reply's rcode; the reply's own
signature is not verified, since Samba's does not verify for a client that asks it directly either.
"""

from __future__ import annotations

import socket
import sys
import time
import uuid

import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TKEY
import dns.rrset
import dns.tsig
import dns.update
import gssapi


def main(port: int, owner: str, address: str) -> None:
    name = gssapi.Name("DNS@dc1.ad.test", gssapi.NameType.hostbased_service)
    flags = (
        gssapi.RequirementFlag.mutual_authentication
        | gssapi.RequirementFlag.integrity
        | gssapi.RequirementFlag.replay_detection
    )
    context = gssapi.SecurityContext(name=name, usage="initiate", flags=flags)
    # Samba counts the octets of the TSIG as if its owner were not compressed, so the owner shares no suffix.
    key_name = dns.name.from_text(f"{uuid.uuid4().hex[:16]}.key.")
    keys = {key_name: dns.tsig.Key(key_name, context, dns.tsig.GSS_TSIG)}
    keyring = dns.tsig.GSSTSigAdapter(keys)  # type: ignore[no-untyped-call]

    dns.query.tcp(_key_exchange(key_name, context.step(), keyring), "127.0.0.1", timeout=10, port=port)
    assert context.complete

    update = dns.update.UpdateMessage("ad.test.", keyring=keyring, keyname=key_name, keyalgorithm=dns.tsig.GSS_TSIG)
    update.add(owner, 60, "A", address)
    wire = update.to_wire()
    # On a socket of our own: dnspython would verify the reply's signature on the way in.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.sendto(wire, ("127.0.0.1", port))
        reply = sock.recv(65_535)
    assert reply[:2] == wire[:2]
    print(dns.rcode.to_text(dns.rcode.Rcode(reply[3] & 0x0F)))  # noqa: T201 - its result


def _key_exchange(key_name: dns.name.Name, token: bytes, keyring: object) -> dns.message.Message:
    """Return the TKEY query that begins the context (RFC 2930 section 4, mode 3)."""
    query = dns.message.make_query(key_name, dns.rdatatype.TKEY, dns.rdataclass.ANY)
    query.keyring = keyring
    now = int(time.time())
    tkey = dns.rdtypes.ANY.TKEY.TKEY(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TKEY, dns.name.from_text("gss-tsig."), now, now + 86_400, 3, 0, token
    )
    query.additional.append(dns.rrset.from_rdata(key_name, 0, tkey))
    return query


main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
