from __future__ import annotations

import contextlib
import random

import dns.exception
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from dns.rdtypes.svcbbase import SVCBBase
from hypothesis import given
from hypothesis import strategies as st

from flatproxy.errors import WireError
from flatproxy.wire import svcb

X = b"\2lb\7example\3net\0"
Y = b"\4edge\7example\3net\0"
OTHER = b"\3svc\7example\3net\0"
V4 = [b"\xc0\0\2\1", b"\xc0\0\2\2"]
V6 = [b"\x20\1\x0d\xb8" + bytes(11) + b"\1"]
ADDRESSES = frozenset([*V4, *V6])


def https(text: str) -> bytes:
    return dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.HTTPS, text).to_wire() or b""


def text_of(rdata: bytes) -> str:
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HTTPS, rdata, 0, len(rdata)).to_text()


def rewritten(text: str, found_at: bytes = X, addresses_at: bytes = X) -> list[str]:
    return [text_of(rdata) for rdata in svcb.rewritten([https(text)], found_at, addresses_at, ADDRESSES)]


hints4 = st.lists(st.sampled_from([*V4, b"\xcb\0\x71\1"]), min_size=1, max_size=3).map(b"".join)
hints6 = st.lists(st.sampled_from([*V6, bytes(16)]), min_size=1, max_size=3).map(b"".join)
ports = st.binary(min_size=2, max_size=2)
unknown = st.dictionaries(st.sampled_from([32_768, 65_279]), st.binary(min_size=1, max_size=20), max_size=2)


def ech(config: bytes) -> bytes:
    """Return an ECHConfigList with one configuration."""
    one = b"\xfe\x0d" + len(config).to_bytes(2, "big") + config
    return len(one).to_bytes(2, "big") + one


@st.composite
def services(draw: st.DrawFn) -> svcb.Service:
    """Draw a ServiceMode record with some of all kinds of parameters."""
    params = draw(unknown)
    for key, values in ((1, st.just(b"\2h2")), (3, ports), (4, hints4), (5, st.binary().map(ech)), (6, hints6)):
        if draw(st.booleans()):
            params[key] = draw(values)
    mandatory = sorted(draw(st.sets(st.sampled_from(sorted(params))))) if params else []
    if mandatory:
        params[0] = b"".join(key.to_bytes(2, "big") for key in mandatory)
    target = draw(st.sampled_from([b"\0", X, Y, OTHER]))
    return svcb.Service(draw(st.integers(1, 65_535)), target, tuple(sorted(params.items())))


class TestParse:
    @given(services())
    def test_it_agrees_with_dnspython(self, service: svcb.Service) -> None:
        wire = service.wire()
        assert svcb.parse_service(wire) == service
        there = dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HTTPS, wire, 0, len(wire))
        assert isinstance(there, SVCBBase)
        assert (there.priority, there.target.to_wire()) == (service.priority, service.target)
        assert sorted(there.params) == [key for key, _value in service.params]
        assert there.to_wire() == wire

    @given(st.binary(max_size=60))
    def test_what_it_reads_is_what_it_writes(self, rdata: bytes) -> None:
        with contextlib.suppress(WireError):
            assert svcb.parse_service(rdata).wire() == rdata

    @given(st.binary(max_size=60))
    def test_it_reads_all_that_dnspython_does(self, rdata: bytes) -> None:
        with contextlib.suppress(dns.exception.DNSException, ValueError):
            dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.HTTPS, rdata, 0, len(rdata))
            svcb.parse_service(rdata)

    @pytest.mark.parametrize(
        "rdata",
        [
            b"",
            b"\0\1",
            b"\0\1\1a",
            b"\0\1\xc0\x0c",
            b"\0\1" + b"\1a" * 128 + b"\0",
            b"\0\1\0\0\1\0",
            b"\0\1\0\0\1\0\4\2h2",
            b"\0\1\0\0\3\0\2\1\1\0\1\0\3\2h2",
            b"\0\1\0\0\3\0\2\1\1\0\3\0\2\1\1",
        ],
    )
    def test_what_is_no_record(self, rdata: bytes) -> None:
        with pytest.raises(WireError):
            svcb.parse_service(rdata)


class TestAlias:
    def test_it_leads_to_its_target(self) -> None:
        assert svcb.alias([https("0 svc.example.net.")]) == OTHER

    def test_the_root_is_no_service(self) -> None:
        assert svcb.alias([https("0 .")]) == b"\0"

    def test_service_records_lead_nowhere(self) -> None:
        assert svcb.alias([https("1 . alpn=h2"), https("2 svc.example.net.")]) is None

    def test_of_both_kinds_the_alias_counts(self) -> None:
        assert svcb.alias([https("1 . alpn=h2"), https("0 svc.example.net.")]) == OTHER

    def test_of_several_always_the_same(self) -> None:
        aliases = [https(f"0 {host}.example.net.") for host in ("a", "b", "c")]
        random.shuffle(aliases)
        assert svcb.alias(aliases) == b"\1a\7example\3net\0"


class TestRewrite:
    def test_the_owner_stays_where_the_addresses_are_its_own(self) -> None:
        assert rewritten("1 . alpn=h2") == ['1 . alpn="h2"']
        assert rewritten("1 . alpn=h2", X.upper()) == ['1 . alpn="h2"']

    def test_the_owner_is_named_where_the_addresses_are_anothers(self) -> None:
        assert rewritten("1 . alpn=h2", X, Y) == ['1 lb.example.net. alpn="h2"']

    @pytest.mark.parametrize("addresses_at", [X, Y])
    def test_another_target_is_its_owners_business(self, addresses_at: bytes) -> None:
        record = '1 svc.example.net. alpn="h2" ipv4hint="203.0.113.1"'
        assert rewritten(record, X, addresses_at) == [record]

    def test_hints_that_are_answered_stay(self) -> None:
        record = '1 . ipv4hint="192.0.2.2,192.0.2.1" ipv6hint="2001:db8::1"'
        assert rewritten(record) == [record]

    def test_one_hint_of_another_address_and_all_of_its_family_go(self) -> None:
        record = '1 . alpn="h2" ipv4hint="192.0.2.2,203.0.113.1" ipv6hint="2001:db8::1"'
        assert rewritten(record) == ['1 . alpn="h2" ipv6hint="2001:db8::1"']

    def test_what_is_mandatory_is_adjusted(self) -> None:
        record = '1 . mandatory="alpn,ipv4hint" alpn="h2" ipv4hint="203.0.113.1"'
        assert rewritten(record) == ['1 . mandatory="alpn" alpn="h2"']
        record = '1 . mandatory="ipv4hint" alpn="h2" ipv4hint="203.0.113.1"'
        assert rewritten(record) == ['1 . alpn="h2"']

    @pytest.mark.parametrize("rest", ["", ' mandatory="ipv4hint"', ' ipv6hint="::"'])
    def test_a_record_of_wrong_hints_alone_is_dropped(self, rest: str) -> None:
        assert rewritten(f'1 . ipv4hint="203.0.113.1"{rest}') == []

    def test_a_record_without_parameters_stays(self) -> None:
        assert rewritten("1 .") == ["1 ."]

    def test_records_that_have_become_one_are_one(self) -> None:
        both = [https("1 . alpn=h2 ipv4hint=203.0.113.1"), https("1 . alpn=h2")]
        assert svcb.rewritten(both, X, X, ADDRESSES) == (https("1 . alpn=h2"),)

    @given(st.lists(services(), max_size=5), st.sampled_from([X, Y]), st.frozensets(st.sampled_from([*V4, *V6])))
    def test_what_must_hold_for_any(
        self, given: list[svcb.Service], addresses_at: bytes, addresses: frozenset[bytes]
    ) -> None:
        made = [
            svcb.parse_service(rdata)
            for rdata in svcb.rewritten([one.wire() for one in given], X, addresses_at, addresses)
        ]
        for service in made:
            text_of(service.wire())  # dnspython checks that what is mandatory is there
            assert service in given or service.target in {b"\0", X}
            if service.target == b"\0":
                assert addresses_at == X
                for key, size in ((4, 4), (6, 16)):
                    value = dict(service.params).get(key, b"")
                    assert {value[at : at + size] for at in range(0, len(value), size)} <= addresses
        for service in given:
            if service.target != b"\0":
                assert service in made
            elif others := {key: value for key, value in service.params if key not in {0, 4, 6}}:
                owner = b"\0" if addresses_at == X else X
                kept = [one for one in made if (one.priority, one.target) == (service.priority, owner)]
                assert any(others.items() <= dict(one.params).items() for one in kept)
