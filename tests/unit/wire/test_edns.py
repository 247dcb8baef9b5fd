from __future__ import annotations

import dns.edns
import dns.message
import pytest

from flatproxy.wire import edns
from tests.unit.wire.messages import end_of, query

OptionType = dns.edns.OptionType


def cookie(octets: int) -> bytes:
    return query(options=[dns.edns.GenericOption(OptionType.COOKIE, bytes(octets))])


class TestWhole:
    @pytest.mark.parametrize(
        "message",
        [query(), query(use_edns=0), query(use_edns=1), query(use_edns=0, want_dnssec=True), cookie(8), cookie(24)],
    )
    def test_none_or_one_is(self, message: bytes) -> None:
        assert edns.is_whole(message, end_of(message))

    @pytest.mark.parametrize(
        "message",
        [
            query() + b"\0",
            query(use_edns=0) + b"\0",
            query(use_edns=0)[:-1],
            query(use_edns=0)[:11] + b"\2" + query(use_edns=0)[12:] + b"\0\0\x29" + bytes(8),
            query()[:7] + b"\1" + query()[8:],
            cookie(7),
            cookie(41),
            query(use_edns=0)[:-2] + b"\0\4\0\3\0\2",
        ],
        ids=["junk", "junk behind", "cut", "two", "a record", "short cookie", "long cookie", "option overrun"],
    )
    def test_others_are_not(self, message: bytes) -> None:
        assert not edns.is_whole(message, end_of(message))


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (0, 512), (511, 512), (1000, 1000), (1232, 1232), (4096, 1232)]
)
def test_the_udp_limit(payload: int | None, limit: int) -> None:
    message = query() if payload is None else query(use_edns=0, payload=payload)
    assert edns.udp_limit(message, end_of(message)) == limit


def test_do_and_version() -> None:
    plain, asked = query(), query(use_edns=1, want_dnssec=True)
    assert (edns.wants_dnssec(plain, end_of(plain)), edns.version(plain, end_of(plain))) == (False, 0)
    assert (edns.wants_dnssec(asked, end_of(asked)), edns.version(asked, end_of(asked))) == (True, 1)
