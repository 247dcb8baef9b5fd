"""A signed zone through all that its operators do, and what happens to them: not one SERVFAIL from a validator.

And the other way round: what is signed with a wrong key, or by a wrong clock, every validator refuses.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dns.message
import dns.query
import dns.rcode

from flatproxy.signing import keys
from tests.conformance.faults import Clock
from tests.integration.signed import APEX, fill, is_signed
from tests.support.configuration import configuration
from tests.support.ports import text
from tests.support.service import Prepare, Service, bound_pair, service
from tests.support.signers import TTL_S, ZONE, KnotSigning
from tests.support.validators import Asking, Validator, validators
from tests.support.waiting import until, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.internet import FakeInternet
    from tests.support.ports import Address

__all__ = ["service"]

_DAY_S = 86_400
_FLATTENED = [(ZONE, "A"), (ZONE, "AAAA"), (ZONE, "HTTPS"), (f"four.{ZONE}", "A"), (f"four.{ZONE}", "AAAA")]
_ALL = [*_FLATTENED, (f"www.{ZONE}", "A"), (f"to.four.{ZONE}", "AAAA"), (ZONE, "MX"), (f"x.lands.{ZONE}", "A")]


def _config(
    signer: KnotSigning, internet: FakeInternet, address: Address, folder: Path, *, flagged: bool = True
) -> str:
    return configuration(
        upstream=[signer.address],
        resolver=[internet.address],
        dns=[text(address)],
        zones=[ZONE],
        flatten={
            ZONE: {"target": "lb.test", "types": ["A", "AAAA", "HTTPS"]},
            f"four.{ZONE}": {"target": "four.test"},
        }
        if flagged
        else {},
        tables={f'dnssec."{ZONE}"': {"key": str(signer.key)}, "state": {"path": str(folder / "state.sqlite")}},
    )


@contextmanager
def _moving(internet: FakeInternet) -> Iterator[None]:
    """Have the load balancer move every second."""
    end = threading.Event()

    def move() -> None:
        turn = 0
        while not end.wait(1.0):
            turn += 1
            internet.set("a.lb.test", "A", [f"203.0.113.{10 + turn % 200}"], 1)
            internet.set("a.lb.test", "AAAA", [f"2001:db8:5::{turn:x}"] if turn % 3 else [], 1)

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _signer(folder: Path, dnskey_ttl_s: int = TTL_S) -> KnotSigning:
    base = keys.write_pair(keys.generate(APEX, "ECDSAP256SHA256"), folder)
    return KnotSigning(folder=folder / "knot", key=base, dnskey_ttl_s=dnskey_ttl_s)


def _make_sure(asking: Asking, phase: str) -> None:
    """Wait for more answers of every validator; none may be bad."""
    asking.phase = phase
    enough = len(asking.said) + 3 * len(asking.questions) * len(asking.validators)
    until(lambda: len(asking.said) >= enough or asking.bad, "answers of the validators")
    assert asking.bad == []


def _start(proxy: Service) -> None:
    proxy.start()
    proxy.wait_event("key_change", new="active")
    until(lambda: is_signed(proxy), lambda: proxy.log)


def test_no_validator_says_servfail_whatever_is_done(internet: FakeInternet, tmp_path: Path, service: Prepare) -> None:
    """The nameserver's own rollover, a restart, and the end in the order that the documentation says."""
    fill(internet)
    with _signer(tmp_path) as signer, bound_pair() as (address, sockets):
        proxy = service(_config(signer, internet, address, tmp_path), passed=sockets)
        _start(proxy)
        before = signer.zsks
        asked = Asking([], _ALL)
        with (
            validators(tmp_path, ZONE, address, signer.anchors) as asked.validators,
            _moving(internet),
            asked.running() as asking,
        ):
            _make_sure(asking, "as ever")
            signer.roll_zsk()
            until(lambda: len(signer.zsks & before) == 1, "the rollover")
            _make_sure(asking, "another key of the nameserver's")
            proxy.stop()
            proxy.start()
            _make_sure(asking, "a restart")
            proxy.reload(_config(signer, internet, address, tmp_path, flagged=False))
            _make_sure(asking, "unflagged")
            signer.take_out()
            proxy.wait_event("key_change", new="absent")
            _make_sure(asking, "without our key")
        assert min(asking.per_validator().values()) > len(_ALL)


def test_the_nameserver_may_be_down(internet: FakeInternet, tmp_path: Path, service: Prepare) -> None:
    """As long as its keys are in the validators' caches."""
    fill(internet)
    with _signer(tmp_path, dnskey_ttl_s=12) as signer, bound_pair() as (address, sockets):
        proxy = service(_config(signer, internet, address, tmp_path), passed=sockets)
        _start(proxy)
        asked = Asking([], _FLATTENED)
        with (
            # Knot Resolver asks for the DS of each name, which the nameserver has.
            validators(tmp_path, ZONE, address, signer.anchors, longest_s=60, knot=False) as asked.validators,
            _moving(internet),
            asked.running() as asking,
        ):
            until(lambda: len(asking.said) > 15, "answers")
            signer.stop()
            count = len(asking.said)
            wait_until(lambda: len(asking.said) > count + 300 or asking.bad, 5)
            assert len(asking.said) > count + 30
        assert asking.bad == []
        assert proxy.metrics().value("dnssec_key", zone=ZONE, state="active") == 1


def _says(validator: Validator, name: str) -> str:
    query = dns.message.make_query(name, "A", want_dnssec=True)
    return dns.rcode.to_text(dns.query.tcp(query, validator.host, timeout=10, port=validator.port).rcode())


def _all_say(asked: Sequence[Validator], what: str) -> None:
    until(lambda: {_says(each, f"four.{ZONE}") for each in asked} == {what}, what, 30)


def test_what_nobody_publishes_is_bogus(internet: FakeInternet, tmp_path: Path, service: Prepare) -> None:
    """The record is taken out first: until flatproxy looks again, it signs with a key that validators do not find."""
    fill(internet)
    with _signer(tmp_path, dnskey_ttl_s=10) as signer, bound_pair() as (address, sockets):
        proxy = service(_config(signer, internet, address, tmp_path), passed=sockets)
        _start(proxy)
        anchors = signer.anchors
        signer.take_out()
        until(lambda: len(signer.keys()) == len(anchors) + 1, "the key to go")
        with validators(tmp_path, ZONE, address, anchors) as asked:
            _all_say(asked, "SERVFAIL")
            proxy.wait_event("key_change", new="absent")
            _all_say(asked, "NOERROR")


def test_what_a_wrong_clock_has_signed_is_bogus(internet: FakeInternet, tmp_path: Path, service: Prepare) -> None:
    """It is signed anew, and well, as soon as the clock is put right."""
    fill(internet)
    clock = Clock(tmp_path)
    with _signer(tmp_path) as signer, bound_pair() as (address, sockets):
        proxy = service(_config(signer, internet, address, tmp_path), passed=sockets, environ=clock.env)
        _start(proxy)
        assert clock.is_seen_by([proxy.pid])
        with validators(tmp_path, ZONE, address, signer.anchors) as asked:
            _all_say(asked, "NOERROR")
            for wrong in (-10 * _DAY_S, 10 * _DAY_S):
                clock.shift(wrong)
                _all_say(asked, "SERVFAIL")
                clock.shift(0)
                _all_say(asked, "NOERROR")
