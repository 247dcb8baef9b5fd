from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import dns.edns
import dns.message
import dns.rcode
import pytest

from flatproxy.forward.access import Networks
from flatproxy.forward.rate_limits import RateLimits, TokenBuckets
from tests.unit.forward.surroundings import ZONE, Fixed, Kept, Sent, Server, Servers, Way
from tests.unit.wire.messages import query, response

CNAME = "www.example.com. 300 IN CNAME example.com."
PLACEHOLDER = "example.com. 300 IN A 192.0.2.1"
FLAGGED = ZONE + b"\0\1\0\1"
NEW = (42, [b"\xc6\x33\x64\1"])


def texts(reply: bytes) -> list[str]:
    return [rdata.to_text() for rrset in dns.message.from_wire(reply).answer for rdata in rrset]


def delivered(way: Way, message: bytes, came: bytes) -> bytes:
    """Return what the client gets when the nameserver replies so to this query."""
    way.ask(message)
    way.exchange.deliver(way.servers.servers[0].sent[-1], b"\xff\xff" + came[2:], 100.1)
    return way.got[-1]


class TestOrdinary:
    def test_a_query_goes_out_as_it_came_and_its_reply_comes_back_under_its_id(self) -> None:
        way, message = Way.with_table(), query("www.example.com", id=7)
        way.ask(message)
        (sent,) = way.servers.servers[0].sent
        assert sent.message == message
        assert way.got == []
        came = response(message, ["www.example.com. 300 IN A 192.0.2.9"]) + b"trailing"
        way.exchange.deliver(sent, b"\xff\xff" + came[2:], 100.003)
        assert way.listener.replies == [(came, ("192.0.2.7", 4000))]
        assert (way.listener.verdicts.forwarded, way.listener.rcodes[0]) == (1, 1)
        assert sum(way.exchange.traffic.latency.counts) == 1

    def test_an_odd_one_keeps_its_id(self) -> None:
        way = Way.with_table()
        way.ask(query()[:2] + b"\x10" + query()[3:])
        assert way.servers.servers[0].sent == []
        assert len(way.servers.servers[0].preserved) == 1

    def test_outside_the_zones_is_refused(self) -> None:
        way = Way.with_table()
        way.ask(query("example.org", id=9))
        assert dns.message.from_wire(way.got[0]).rcode() == dns.rcode.REFUSED
        assert way.listener.verdicts.refused == 1

    def test_noise_is_dropped_and_counted(self) -> None:
        way = Way.with_table()
        way.ask(b"noise")
        assert way.got == []
        assert (way.listener.verdicts.dropped, way.exchange.traffic.malformed) == (1, 1)

    def test_a_client_that_cannot_be_reached_is_counted(self) -> None:
        way = Way.with_table()
        way.listener.unreachable = True
        way.ask(query("example.org"))
        assert way.exchange.traffic.unsent == 1


class TestGivingUp:
    def test_the_next_server_is_asked(self) -> None:
        way = Way.with_table(servers=Servers([Server(), Server()]))
        way.ask(query("www.example.com"))
        way.exchange.give_up(way.servers.servers[0].sent[0], 102.0)
        assert way.servers.servers[1].sent[0].message == way.servers.servers[0].sent[0].message
        assert way.got == []
        way.exchange.give_up(way.servers.servers[1].sent[0], 104.0)
        assert dns.message.from_wire(way.got[0]).rcode() == dns.rcode.SERVFAIL

    @pytest.mark.parametrize(("name", "code"), [("www.example.com", 23), ("example.com", 22)])
    def test_servfail_says_why_where_there_is_room(self, name: str, code: int) -> None:
        way = Way.with_table({FLAGGED: Fixed()}, Servers(down=True))
        way.ask(query(name, use_edns=0))
        option = dns.message.from_wire(way.got[0]).options[0]
        assert isinstance(option, dns.edns.EDEOption)
        assert option.code == code
        way.ask(query(name))
        assert dns.message.from_wire(way.got[1]).opt is None

    def test_no_room_is_servfail_and_counted(self) -> None:
        way = Way.with_table()
        way.ask(query("www.example.com"))
        way.exchange.overload(way.servers.servers[0].sent[0])
        assert dns.message.from_wire(way.got[0]).rcode() == dns.rcode.SERVFAIL
        assert way.exchange.traffic.overloaded == 1


class TestFlattened:
    made = response(query(), ["example.com. 60 IN A 198.51.100.1"])

    def test_a_warm_answer_is_sent_at_once(self) -> None:
        way = Way.with_table({FLAGGED: Fixed(self.made)})
        way.ask(query(id=3))
        assert way.got[0] == b"\0\3" + self.made[2:]
        assert way.servers.servers[0].sent == []

    def test_a_cold_one_when_it_is_there(self) -> None:
        answer = Fixed(waiters=[])
        way = Way.with_table({FLAGGED: answer})
        way.ask(query())
        assert way.got == []
        answer.made = self.made
        assert answer.waiters is not None
        answer.waiters[0]()
        assert texts(way.got[0]) == ["198.51.100.1"]

    def test_one_that_stays_away_is_the_nameservers(self) -> None:
        answer = Fixed(waiters=[])
        way = Way.with_table({FLAGGED: answer})
        way.ask(query())
        assert answer.waiters is not None
        answer.waiters[0]()
        assert len(way.servers.servers[0].sent) == 1

    @pytest.mark.parametrize("came", [None, made], ids=["no answer", "an answer"])
    def test_a_client_that_left_while_it_waited_gets_nothing(self, came: bytes | None) -> None:
        answer = Fixed(waiters=[])
        way = Way.with_table({FLAGGED: answer})
        way.ask(query())
        assert way.listener.waiting == 1
        way.listener.gone, answer.made = True, came
        assert answer.waiters is not None
        answer.waiters[0]()
        assert (way.listener.waiting, way.got, way.servers.servers[0].sent) == (0, [], [])


class TestLanding:
    def test_the_placeholder_gives_way(self) -> None:
        way, message = Way.with_table({FLAGGED: Fixed(addresses=NEW)}), query("www.example.com")
        reply = delivered(way, message, response(message, [CNAME, PLACEHOLDER]))
        assert texts(reply) == ["example.com.", "198.51.100.1"]
        assert reply[:2] == message[:2]

    def test_elsewhere_nothing_changes(self) -> None:
        way, message = Way.with_table({FLAGGED: Fixed(addresses=NEW)}), query("www.example.com")
        came = response(message, ["www.example.com. 300 IN CNAME example.net."])
        assert delivered(way, message, came) == came

    def test_without_an_answer_the_reply_stays_as_it_came(self) -> None:
        way, message = Way.with_table({FLAGGED: Fixed()}), query("www.example.com")
        came = response(message, [CNAME, PLACEHOLDER])
        assert delivered(way, message, came) == came

    def test_a_cold_target_is_waited_for(self) -> None:
        answer = Fixed(waiters=[])
        way, message = Way.with_table({FLAGGED: answer}), query("www.example.com")
        way.ask(message)
        came = response(message, [CNAME, PLACEHOLDER])
        way.exchange.deliver(way.servers.servers[0].sent[0], came, 100.1)
        assert way.got == []
        answer.addresses = NEW
        assert answer.waiters is not None
        answer.waiters[0]()
        assert texts(way.got[0]) == ["example.com.", "198.51.100.1"]


class TestStreams:
    """A stream has its own connection to a nameserver, and an address that is not forged."""

    def way(self, table: dict[bytes, Fixed] | None = None, **more: Any) -> tuple[Way, Kept]:
        way, link = Way.with_table(table, **more), Kept()
        way.listener = Sent(datagrams=False, link=link)
        return way, link

    def test_what_is_forwarded_goes_by_the_link_under_its_own_id(self) -> None:
        way, link = self.way()
        message = query("www.example.com", id=7)
        way.ask(message)
        assert [sent.message for sent in link.sent] == [message]
        assert way.servers.servers[0].sent == []
        came = response(message)
        way.exchange.deliver(link.sent[0], came, 100.1)
        assert way.got == [came]

    def test_only_the_last_message_of_a_transfer_counts_as_its_reply(self) -> None:
        way, link = self.way()
        message = query("www.example.com")
        way.ask(message)
        for last in (False, False, True):
            way.exchange.deliver(link.sent[0], response(message), 100.1, last=last)
        assert len(way.got) == 3
        assert sum(way.exchange.traffic.latency.counts) == 1

    def test_a_cold_answer_goes_by_the_link_where_it_stays_away(self) -> None:
        answer = Fixed(waiters=[])
        way, link = self.way({FLAGGED: answer})
        way.ask(query())
        assert answer.waiters is not None
        answer.waiters[0]()
        assert len(link.sent) == 1

    def test_a_landing_may_be_longer_than_a_datagram(self) -> None:
        many = (42, [bytes([198, 51, third, last]) for third in range(4) for last in range(200)])
        way, link = self.way({FLAGGED: Fixed(addresses=many)})
        message = query("www.example.com")
        way.ask(message)
        way.exchange.deliver(link.sent[0], response(message, [CNAME, PLACEHOLDER]), 100.1)
        assert len(texts(way.got[0])) == 801

    def test_queries_above_the_rate_are_refused_and_answers_have_none(self) -> None:
        limits = RateLimits(responses=TokenBuckets(1), queries=TokenBuckets(1))
        way, link = self.way({FLAGGED: Fixed(TestFlattened.made)}, limits=limits)
        for _ in range(3):
            way.ask(query())
            way.ask(query("www.example.com"))
        assert len(link.sent) == 1
        assert [reply[3] & 0x0F for reply in way.got] == [0, 0, dns.rcode.REFUSED, 0, dns.rcode.REFUSED]
        assert (way.listener.verdicts.refused, way.exchange.traffic.limited) == (2, 2)


class TestLimits:
    def test_responses_above_the_rate_are_dropped_or_cut(self) -> None:
        limits = RateLimits(responses=TokenBuckets(2), slip=2)
        way = Way.with_table({FLAGGED: Fixed(TestFlattened.made)}, limits=limits)
        for _ in range(6):
            way.ask(query())
        cut = [bool(reply[2] & 0x02) for reply in way.got]
        assert cut == [False, False, True, True]
        assert way.exchange.traffic.limited == 4
        way.ask(query(), "198.51.100.1")
        assert len(way.got) == 5

    def test_queries_above_the_rate_are_dropped(self) -> None:
        way = Way.with_table(limits=RateLimits(queries=TokenBuckets(2)))
        for _ in range(5):
            way.ask(query("www.example.com"))
        assert len(way.servers.servers[0].sent) == 2
        way.ask(query("www.example.com"), now=101.0)
        assert len(way.servers.servers[0].sent) == 3


def test_a_client_outside_the_list_gets_nothing_flattened() -> None:
    way = Way.with_table({FLAGGED: Fixed(TestFlattened.made)}, query=Networks([ip_network("198.51.100.0/24")]))
    way.ask(query())
    assert dns.message.from_wire(way.got[0]).rcode() == dns.rcode.REFUSED
