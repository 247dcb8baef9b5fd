"""The life of a key, with Knot as the signer: nameserver down, reload, a second key, removal; a validator watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from flatproxy.signing import keys
from tests.support.child import Child, run
from tests.support.configuration import configuration
from tests.support.signers import ZONE, KnotSigning
from tests.support.unbound import Unbound
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.proxy import Proxy

APEX = b"\4shop\4test\0"


def _config(signer: KnotSigning, internet: FakeInternet, *pairs: Path) -> str:
    return configuration(
        upstream=[signer.address],
        resolver=[internet.address],
        zones=[ZONE],
        flatten={ZONE: {"target": "lb.test"}},
        tables={f'dnssec."{ZONE}"': {"key": [str(pair) for pair in pairs]}},
    )


def _ask(proxy: Proxy) -> tuple[set[str], set[int]]:
    """Return the addresses with DO=1, and the tags of the keys that signed them."""
    reply = proxy.ask(dns.message.make_query(ZONE, "A", want_dnssec=True))
    found = {rrset.rdtype: rrset for rrset in reply.answer}
    addresses, rrsigs = found.get(dns.rdatatype.A, ()), found.get(dns.rdatatype.RRSIG, ())
    return {rdata.to_text() for rdata in addresses}, {rrsig.key_tag for rrsig in rrsigs}


def _is_secure(resolver: Unbound) -> bool:
    query = dns.message.make_query(ZONE, "A", want_dnssec=True)
    reply = dns.query.tcp(query, resolver.host, timeout=10, port=resolver.port)
    return reply.rcode() == dns.rcode.NOERROR and bool(reply.flags & dns.flags.AD)


def _knot(signer: KnotSigning, *commands: list[str]) -> None:
    config = str(signer.folder / "knot.conf")
    for program, *arguments in commands:
        run([program, "-c", config, *arguments])


def test_from_the_first_look_to_the_last(internet: FakeInternet, start: Callable[..., Proxy], tmp_path: Path) -> None:
    internet.set("lb.test", "A", ["203.0.113.1"], 2)
    folder = tmp_path / "keys"
    folder.mkdir()
    first, second = (keys.generate(APEX, "ECDSAP256SHA256") for _ in range(2))
    pair, other = (keys.write_pair(key, folder) for key in (first, second))
    with KnotSigning(folder=tmp_path / "knot", key=pair) as signer:
        proxy = start(_config(signer, internet, pair))
        proxy.wait_event("key_change", new="active")
        until(lambda: _ask(proxy)[1] == {first.tag}, lambda: proxy.log)
        (tmp_path / "unbound").mkdir()
        anchors = [f"{ZONE}. DNSKEY {anchor}" for anchor in signer.anchors]
        with Unbound(folder=tmp_path / "unbound", stubs=[ZONE], authority=proxy.address, anchors=anchors) as resolver:
            assert _is_secure(resolver)

            # A reload with one more key: the state of the first one stays, so nothing is unsigned meanwhile.
            mark = proxy.mark
            proxy.reload(_config(signer, internet, other, pair))
            assert _ask(proxy)[1] == {first.tag}
            _knot(
                signer,
                ["keymgr", ZONE, "import-pub", f"{other}.key"],
                ["knotc", "-s", _socket(signer), "zone-sign", ZONE],
            )
            proxy.wait_event("key_change", mark=mark, new="active", tag=second.tag)
            until(lambda: _ask(proxy)[1] == {second.tag}, lambda: proxy.log)
            assert _is_secure(resolver)
            assert [event for event in proxy.since(mark, "key_change") if event["tag"] == first.tag] == []

            # The nameserver is down: what is flattened is answered and signed as before.
            assert signer.child is not None
            signer.child.stop()
            assert _ask(proxy) == ({"203.0.113.1"}, {second.tag})
            signer.child = Child.start(["knotd", "-c", str(signer.folder / "knot.conf")], signer.folder / "again.log")
            until(lambda: bool(signer.keys()), "Knot again", 60)

            # The keys are taken out, and it is noticed: the nameserver's placeholder is the answer.
            mark = proxy.mark
            _knot(
                signer,
                ["keymgr", ZONE, "delete", str(first.tag)],
                ["keymgr", ZONE, "delete", str(second.tag)],
                ["knotc", "-s", _socket(signer), "zone-sign", ZONE],
            )
            proxy.wait_event("key_change", mark=mark, new="absent", tag=second.tag)
            until(lambda: _ask(proxy)[0] == {"192.0.2.1"}, lambda: proxy.log)
            until(lambda: _is_secure(resolver), "what Unbound has cached runs out", 30)


def _socket(signer: KnotSigning) -> str:
    return str(signer.folder / "k.sock")
