"""Queries over UDP that the path forwards, refuses or drops by itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import dns.flags
import dns.message
import dns.rcode
import pytest

from flatproxy.wire import edns, reply
from tests.unit.forward.native.standing import LOOPBACK, PATIENCE_S, saying
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

WWW = query("www.example.com", id=7)


def test_a_query_passes_but_for_its_id(stand: Stand) -> None:
    standing = stand()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded()
    assert sent[2:] == WWW[2:]
    answer = response(sent, ["www.example.com. 60 IN A 192.0.2.9"])
    standing.nameservers[0].sendto(answer, peer)
    assert client.recv(65535) == WWW[:2] + answer[2:]
    counts = standing.path.counts()
    assert (counts["udp_forwarded"], sum(counts["latency"]), counts["rcodes"][0]) == (1, 1, 1)


@pytest.mark.parametrize("size", [13, 200, 4000, 60_000])
def test_octets_of_any_size_pass_both_ways(stand: Stand, size: int) -> None:
    standing = stand(zones=None)
    client = standing.client()
    message = WWW + bytes(size)
    client.send(message)
    sent, peer = standing.forwarded()
    assert sent[2:] == message[2:]
    answer = bytes((*sent[:2], 0x80)) + sent[3:]
    standing.nameservers[0].sendto(answer, peer)
    assert client.recv(65535) == message[:2] + answer[2:]


def test_ids_and_ports_are_random(stand: Stand) -> None:
    standing = stand()
    seen = []
    for _ in range(200):  # one by one: the queries of a round may share a port
        client = standing.client()
        client.send(WWW)
        sent, peer = standing.forwarded()
        seen.append((int.from_bytes(sent[:2], "big"), peer[1]))
        standing.nameservers[0].sendto(response(sent), peer)
        client.recv(65535)
    ids = [number for number, _port in seen]
    assert len(set(ids)) > 190
    assert max(ids) - min(ids) > 50_000
    assert len({port for _id, port in seen}) == 4


def test_clients_with_one_id_do_not_collide(stand: Stand) -> None:
    standing = stand()
    clients = [standing.client() for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(query(f"n{number}.example.com", id=1))
    for _ in clients:
        sent, peer = standing.forwarded()
        standing.nameservers[0].sendto(response(sent), peer)
    for number, client in enumerate(clients):
        got = dns.message.from_wire(client.recv(65535))
        assert (got.id, got.question[0].name.to_text()) == (1, f"n{number}.example.com.")


def wrong(answer: bytes) -> dict[str, bytes]:
    other = query("mail.example.com", id=1)
    return {
        "another ID": bytes((answer[0] ^ 1,)) + answer[1:],
        "another name": answer[:2] + response(other)[2:],
        "another type": answer[:2] + response(query("www.example.com", "AAAA", id=6))[2:],
        "a query": answer[:2] + bytes((answer[2] & 0x7F,)) + answer[3:],
        "a header alone without error": answer[:4] + bytes(8),
        "cut": answer[:20],
        "eleven octets": answer[:11],
        "nothing": b"",
    }


@pytest.mark.parametrize("kind", wrong(WWW))
def test_what_does_not_answer_is_waited_past(stand: Stand, kind: str) -> None:
    standing = stand()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded()
    answer = response(sent, ["www.example.com. 60 IN A 192.0.2.9"])
    standing.nameservers[0].sendto(wrong(answer)[kind], peer)
    standing.nameservers[0].sendto(answer, peer)
    assert client.recv(65535) == WWW[:2] + answer[2:]
    assert standing.upstream.counts()[0]["udp_mismatched"] == 1


def test_a_reply_in_another_case_and_an_error_without_a_question_count(stand: Stand) -> None:
    standing = stand()
    client = standing.client()
    client.send(query("wWw.eXample.com", id=3))
    sent, peer = standing.forwarded()
    answer = response(sent)
    standing.nameservers[0].sendto(answer[:12] + answer[12:].lower(), peer)
    assert client.recv(65535)[12:28] == b"\3www\7example\3com"
    client.send(WWW)
    sent, peer = standing.forwarded()
    error = sent[:2] + bytes((0x80, dns.rcode.FORMERR)) + bytes(8)
    standing.nameservers[0].sendto(error, peer)
    assert client.recv(65535) == WWW[:2] + error[2:]


def test_a_second_reply_is_dropped(stand: Stand) -> None:
    standing = stand()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded()
    for _ in range(3):
        standing.nameservers[0].sendto(response(sent), peer)
    client.recv(65535)
    mail = query("mail.example.com", id=8)
    client.send(mail)
    sent, peer = standing.forwarded()
    standing.nameservers[0].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == mail[:2]


@pytest.mark.parametrize("message", [b"", WWW[:11], WWW[:2] + b"\x81" + WWW[3:], response(WWW)])
def test_replies_and_runts_are_dropped(stand: Stand, message: bytes) -> None:
    standing = stand()
    client = standing.client()
    client.send(message)
    outside = query("www.example.net", id=9)
    client.send(outside)  # taken after it, by the same thread
    assert client.recv(65535) == reply.error_reply(outside, reply.REFUSED)
    assert (standing.count("udp_dropped"), standing.count("malformed")) == (1, 1)


@pytest.mark.parametrize(
    "message",
    [
        query("www.example.net", id=6),
        query("com", id=6),
        query(".", id=6),
        query("xexample.com", id=6),
        query("www.example.net", payload=900, id=6),
    ],
)
def test_names_outside_the_zones_are_refused(stand: Stand, message: bytes) -> None:
    standing = stand()
    assert standing.ask(message) == reply.error_reply(message, reply.REFUSED)
    assert standing.count("udp_refused") == 1


@pytest.mark.parametrize(
    ("networks", "refused"),
    [
        ([(LOOPBACK, LOOPBACK)], False),
        ([(bytes(4), bytes((126, 255, 255, 255))), (bytes((127, 0, 0, 2)), bytes((255,) * 4))], True),
        ([(bytes(4), bytes((10, 0, 0, 0))), (bytes((127, 0, 0, 0)), bytes((127, 255, 255, 255)))], False),
        ([(bytes(16), bytes((255,) * 16))], True),
        ([], True),
    ],
)
def test_clients_outside_the_networks_are_refused(stand: Stand, networks: list[object], refused: bool) -> None:
    standing = stand(networks=networks)
    client = standing.client()
    client.send(WWW)
    if refused:
        assert client.recv(65535) == reply.error_reply(WWW, reply.REFUSED)
    else:
        assert standing.forwarded()[0][2:] == WWW[2:]


def test_a_wildcard_socket_replies_from_the_address_that_was_asked(stand: Stand) -> None:
    standing = stand(wildcard=True)
    client = standing.client("127.0.0.2")  # connected: a reply from elsewhere would not arrive
    client.send(WWW)
    sent, peer = standing.forwarded()
    standing.nameservers[0].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == WWW[:2]
    odd = query("www.example.com", id=3)[:2] + b"\x20" + WWW[3:]
    client.send(odd)
    handed = standing.handed()
    assert handed.asked == bytes((127, 0, 0, 2))
    handed.reply(reply.error_reply(odd, reply.REFUSED))
    assert client.recv(65535) == reply.error_reply(odd, reply.REFUSED)


def test_without_an_answer_servfail_comes(stand: Stand) -> None:
    standing = stand(timeout_s=0.2, flagged={"example.com": {1: saying(then_forward=True)}})
    for message, code in ((query("www.example.com", payload=1232, id=6), 23), (WWW, None)):
        assert standing.ask(message) == reply.error_reply(message, reply.SERVFAIL, code)
    counts = standing.upstream.counts()[0]
    assert counts["udp_timeouts"] == 2
    assert counts["udp_sent"] == 4, "each was sent once more after half of the timeout"
    assert counts["udp_silent_since"] > 0
    assert counts["udp_heard_at"] == 0


def test_a_lone_nameserver_is_asked_again_as_before(stand: Stand) -> None:
    standing = stand(timeout_s=4.0)
    client = standing.client()
    client.send(WWW)
    first = standing.forwarded()
    assert standing.forwarded() == first
    standing.nameservers[0].sendto(response(first[0]), first[1])
    assert client.recv(65535)[:2] == WWW[:2]


def test_the_next_nameserver_is_asked_and_then_the_first_one_no_more(stand: Stand) -> None:
    standing = stand(servers=2, timeout_s=0.3)
    client = standing.client()
    client.send(WWW)
    standing.forwarded(0)
    sent, _peer = standing.forwarded(1)
    assert sent[2:] == WWW[2:]
    assert client.recv(65535) == reply.error_reply(WWW, reply.SERVFAIL)
    assert [counts["udp_sent"] for counts in standing.upstream.counts()] == [1, 1]


def test_the_order_says_whom_to_ask(stand: Stand) -> None:
    standing = stand(servers=3)
    standing.upstream.order((2, 0), ())
    client = standing.client()
    client.send(WWW)
    assert standing.forwarded(2)[0][2:] == WWW[2:]
    standing.upstream.order((), ())
    assert standing.ask(WWW) == reply.error_reply(WWW, reply.SERVFAIL)


def test_a_closed_port_is_known_at_once(stand: Stand) -> None:
    standing = stand(servers=2)
    standing.nameservers[0].close()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded(1)
    standing.nameservers[1].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == WWW[:2]
    assert standing.upstream.counts()[0]["udp_silent_since"] > 0
    assert standing.upstream.counts()[1]["udp_heard_at"] > 0


def test_the_pending_table_is_bounded(stand: Stand) -> None:
    standing = stand(limits={"pending": 8, "pending_share": 8})
    client = standing.client()
    for number in range(9):
        client.send(query("www.example.com", id=number))
    ninth = query("www.example.com", id=8)
    assert client.recv(65535) == reply.error_reply(ninth, reply.SERVFAIL)
    assert standing.count("overloaded") == 1
    sent, peer = standing.forwarded()
    standing.nameservers[0].sendto(response(sent), peer)
    client.recv(65535)
    client.send(ninth)
    for _ in range(8):
        sent, _peer = standing.forwarded()
    assert sent[2:] == ninth[2:]


def test_one_client_cannot_fill_the_table(stand: Stand) -> None:
    standing = stand(limits={"pending": 8, "pending_share": 2})
    greedy = standing.client()
    for number in range(5):
        greedy.send(query("www.example.com", id=number))
    assert greedy.recv(65535) == reply.error_reply(query("www.example.com", id=4), reply.SERVFAIL)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with other:
        other.bind(("127.0.0.9", 0))
        other.settimeout(PATIENCE_S)
        other.sendto(WWW, ("127.0.0.1", standing.port))
        for _ in range(5):
            sent, peer = standing.forwarded()
        standing.nameservers[0].sendto(response(sent), peer)
        assert other.recv(65535)[:2] == WWW[:2]


def test_rates_are_kept(stand: Stand) -> None:
    standing = stand(zones=None)
    standing.path.limit(0, 2, 1)
    client = standing.client()
    for number in range(20):
        client.send(query("www.example.com", id=number))
    standing.until(lambda: standing.count("limited") + standing.count("udp_forwarded") == 20)
    assert standing.count("udp_forwarded") < 20
    assert standing.path.excess(LOOPBACK, False) == 1
    standing.path.limit(0, 0, 0)
    assert standing.path.excess(LOOPBACK, False) == 0


def test_responses_are_cut_short_now_and_then(stand: Stand) -> None:
    standing = stand()
    standing.path.limit(1, 2, 0)
    client = standing.client()
    outside = query("www.example.net", id=1)
    for _ in range(9):
        client.send(outside)
    assert client.recv(65535) == reply.error_reply(outside, reply.REFUSED)
    while client.recv(65535) != reply.truncated(outside):
        pass


def test_other_nameservers_come_into_force(stand: Stand) -> None:
    standing = stand(servers=2)
    first, second = (sock.getsockname()[1] for sock in standing.nameservers)
    standing.path.publish(standing.servers_at(first))
    early = standing.client()
    early.send(WWW)
    sent, peer = standing.forwarded(0)
    standing.path.publish(standing.servers_at(second))
    late = standing.client()
    late.send(WWW)
    again, back = standing.forwarded(1)
    standing.nameservers[1].sendto(response(again), back)
    assert late.recv(65535)[:2] == WWW[:2]
    standing.nameservers[0].sendto(response(sent), peer)
    assert early.recv(65535)[:2] == WWW[:2], "what was under way ends as it began"


def test_a_drained_path_answers_what_it_has_taken(stand: Stand) -> None:
    standing = stand()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded()
    standing.path.drain()
    assert standing.path.under_way > 0
    standing.nameservers[0].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == WWW[:2]
    standing.until(lambda: standing.path.under_way == 0)


def test_a_listener_that_is_left_still_replies(stand: Stand) -> None:
    standing = stand()
    client = standing.client()
    client.send(WWW)
    sent, peer = standing.forwarded()
    standing.path.leave(standing.udp)
    standing.nameservers[0].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == WWW[:2]
    standing.path.close(standing.udp)
    standing.until(lambda: _is_free(standing.port))


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def test_threads_share_a_port(stand: Stand) -> None:
    standing = stand(threads=2)
    for number in range(64):
        client = standing.client()
        message = query(f"n{number}.example.com", payload=edns.MAX_UDP_SIZE, id=6)
        client.send(message)
        sent, peer = standing.forwarded()
        standing.nameservers[0].sendto(response(sent), peer)
        got = dns.message.from_wire(client.recv(65535))
        assert got.flags & dns.flags.QR
        assert got.question == dns.message.from_wire(message).question
    assert standing.count("udp_forwarded") == 64
    threads = standing.path.threads()
    assert sum(queries for queries, _cpu in threads) == 64
    assert all(queries and cpu for queries, cpu in threads), "the kernel spreads clients over both"


def test_many_queries_are_given_up_in_one_round(stand: Stand) -> None:
    standing = stand(timeout_s=2.0)
    clients = [standing.client() for _ in range(12)]
    for client in clients:
        taken = standing.count("udp_forwarded") + 100
        for number in range(100):
            client.send(query("www.example.com", id=number))
        standing.until(lambda taken=taken: standing.count("udp_forwarded") == taken)  # type: ignore[misc]
    for client in clients:
        for _ in range(100):
            assert client.recv(65535)[3] & 0x0F == reply.SERVFAIL
    counts = standing.upstream.counts()[0]
    assert (counts["udp_timeouts"], counts["pending"]) == (1200, 0)
    standing.until(lambda: standing.path.under_way == 0)


def test_other_nameservers_take_over_what_the_former_ones_owe(stand: Stand) -> None:
    standing = stand(servers=2, timeout_s=1.0)
    first, second = (sock.getsockname()[1] for sock in standing.nameservers)
    standing.path.publish(standing.servers_at(first))
    client = standing.client()
    client.send(WWW)
    standing.forwarded(0)
    standing.path.publish(standing.servers_at(second))
    sent, peer = standing.forwarded(1)
    standing.nameservers[1].sendto(response(sent), peer)
    assert client.recv(65535)[:2] == WWW[:2]


def test_a_rate_is_kept_for_each_client(stand: Stand) -> None:
    standing = stand(zones=None)
    standing.path.limit(0, 0, 5)
    hosts = [bytes((10, *number.to_bytes(3, "big"))) for number in range(20_000)]
    assert not any(standing.path.excess(host, False) for host in hosts)
    assert not any(standing.path.excess(host, True) for host in hosts[:9]), "responses have no limit"
    assert [standing.path.excess(LOOPBACK, False) for _ in range(7)][-1] == 1
