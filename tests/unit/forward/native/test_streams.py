"""Conversations over TCP: what a client and a nameserver say, what each of them gets, and when either is cut off."""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from flatproxy.forward.native import _core
from flatproxy.wire import reply
from tests.unit.forward.native.standing import PATIENCE_S, framed, fresh, layout, read_framed, saying
from tests.unit.wire.messages import query, response

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.forward.native.standing import Standing

    Stand = Callable[..., Standing]

WWW = query("www.example.com", id=1)
MAIL = query("mail.example.com", id=2)
AXFR = query(rdtype="AXFR", id=3)
FLAGGED = query(id=4)
LARGE = bytes(60_000)


def closed(sock: socket.socket) -> bool:
    """Tell whether the path closes this connection, patiently."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_queries_pass_with_their_ids_and_replies_in_any_order(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(WWW) + framed(MAIL))
    link = standing.link()
    assert [read_framed(link), read_framed(link)] == [WWW, MAIL]
    link.sendall(framed(response(MAIL)) + framed(response(WWW)))
    assert [read_framed(client), read_framed(client)] == [response(MAIL), response(WWW)]
    counts = standing.path.counts()
    assert (counts["tcp_forwarded"], counts["tcp_connections"], sum(counts["latency"])) == (2, 1, 2)
    assert standing.upstream.counts()[0]["tcp_heard_at"] > 0


def test_octets_come_one_by_one(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in framed(WWW):
        client.send(bytes((octet,)))
    link = standing.link()
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert read_framed(link) == WWW
    for octet in framed(response(WWW)):
        link.send(bytes((octet,)))
    assert read_framed(client) == response(WWW)


@pytest.mark.parametrize("size", [0, 4000, 65_535 - len(WWW)])
def test_messages_of_any_size_pass(stand: Stand, size: int) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(WWW + bytes(size)))
    link = standing.link()
    assert read_framed(link) == WWW + bytes(size)
    link.sendall(framed(response(WWW) + bytes(size)))
    assert read_framed(client) == response(WWW) + bytes(size)


def test_flattened_answers_come_between_and_need_no_nameserver(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: saying(fresh(layout([bytes(4)])))}})
    client = standing.connect()
    client.sendall(framed(FLAGGED) * 3 + framed(query("www.example.net", id=9)))
    for _ in range(3):
        assert read_framed(client)[:8] == FLAGGED[:2] + b"\x85\0\0\1\0\1"
    assert read_framed(client) == reply.error_reply(query("www.example.net", id=9), reply.REFUSED)
    counts = standing.path.counts()
    assert (counts["tcp_flattened"], counts["tcp_refused_queries"]) == (3, 1)


def test_replies_and_runts_are_dropped(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    outside = query("www.example.net", id=9)
    client.sendall(framed(b"") + framed(WWW[:11]) + framed(response(WWW)) + framed(outside))
    assert read_framed(client) == reply.error_reply(outside, reply.REFUSED)
    assert standing.count("tcp_dropped") == 3


def test_a_great_answer_goes_over_tcp(stand: Stand) -> None:
    many = [bytes((198, 51, number // 256, number % 256)) for number in range(2000)]
    standing = stand(flagged={"example.com": {1: saying(fresh(layout(many)))}})
    client = standing.connect()
    client.sendall(framed(FLAGGED) * 50)
    for _ in range(50):
        assert len(read_framed(client)) == len(FLAGGED) + 2000 * 16


def test_what_is_not_plain_is_handed_over_and_goes_on_as_it_was_judged(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    notify = WWW[:2] + b"\x20" + WWW[3:]
    client.sendall(framed(notify) + framed(AXFR))
    first, second = standing.handed(), standing.handed()
    assert (first.message, first.tcp, second.message) == (notify, True, AXFR)
    first.reply(reply.error_reply(notify, reply.REFUSED))
    assert read_framed(client) == reply.error_reply(notify, reply.REFUSED)
    second.forward()
    assert read_framed(standing.link()) == AXFR


def test_an_odd_message_passes_with_its_id_and_so_does_its_reply(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    odd = WWW[:4] + b"\0\0" + bytes(6)
    client.sendall(framed(odd))
    standing.handed().forward()
    link = standing.link()
    assert read_framed(link) == odd
    other_opcode = odd[:2] + b"\xa8\0" + bytes(8)
    link.sendall(framed(other_opcode) + framed(odd[:2] + b"\x80\x01" + bytes(8)))
    assert read_framed(client) == odd[:2] + b"\x80\x01" + bytes(8)
    assert standing.upstream.counts()[0]["tcp_mismatched"] == 1


def test_a_transfer_streams(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(AXFR))
    standing.handed().forward()
    link = standing.link()
    read_framed(link)
    parts = [response(AXFR), response(AXFR), response(AXFR)[:4] + bytes(8) + b"no question"]
    for part in parts:
        link.sendall(framed(part))
        assert read_framed(client) == part
    client.sendall(framed(WWW))
    assert read_framed(link) == WWW
    link.sendall(framed(response(WWW)))
    assert read_framed(client) == response(WWW)


def test_a_refused_transfer_is_over(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(AXFR))
    standing.handed().forward()
    link = standing.link()
    read_framed(link)
    refused = reply.error_reply(AXFR, reply.REFUSED)
    link.sendall(framed(refused))
    assert read_framed(client) == refused
    client.shutdown(socket.SHUT_WR)
    assert closed(client), "nothing is under way any more"


def test_a_landing_is_handed_over_and_replied_to_by_hand(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: saying()}})
    client = standing.connect()
    client.sendall(framed(WWW))
    client.shutdown(socket.SHUT_WR)
    link = standing.link()
    read_framed(link)
    came = response(WWW, ["www.example.com. 60 IN CNAME example.com.", "example.com. 60 IN A 192.0.2.99"])
    link.sendall(framed(came))
    handed = standing.handed()
    assert (handed.kind, handed.message, handed.came) == (_core.HANDED_LANDING, WWW, came)
    handed.reply(came)
    assert read_framed(client) == came
    assert closed(client)


def test_a_cold_answer_keeps_a_half_closed_connection_open(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}})
    client = standing.connect()
    client.sendall(framed(FLAGGED))
    client.shutdown(socket.SHUT_WR)
    handed = standing.handed()
    assert handed.kind == _core.HANDED_COLD
    handed.reply(reply.error_reply(FLAGGED, reply.SERVFAIL))
    assert read_framed(client) == reply.error_reply(FLAGGED, reply.SERVFAIL)
    assert closed(client)


def test_a_message_that_is_let_go_does_not_keep_its_connection(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}})
    client = standing.connect()
    client.sendall(framed(FLAGGED))
    client.shutdown(socket.SHUT_WR)
    handed = standing.handed()
    del handed
    assert closed(client)


def test_a_reply_to_a_client_that_has_gone_is_no_matter(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}})
    client = standing.connect()
    client.sendall(framed(FLAGGED))
    handed = standing.handed()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    standing.until(lambda: standing.count("tcp_connections") == 0)
    handed.reply(reply.error_reply(FLAGGED, reply.SERVFAIL))
    again = standing.connect()
    again.sendall(framed(FLAGGED))
    assert standing.handed().message == FLAGGED
    standing.until(lambda: standing.path.under_way == 1)  # the connection; what was handed over is let go


def test_after_a_half_close_what_was_asked_is_answered(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(WWW) + framed(MAIL))
    client.shutdown(socket.SHUT_WR)
    link = standing.link()
    for message in (WWW, MAIL):
        assert read_framed(link) == message
        link.sendall(framed(response(message)))
        assert read_framed(client) == response(message)
    assert closed(client)


def test_a_nameserver_that_closes_between_queries_is_connected_again(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    for _ in range(3):
        client.sendall(framed(WWW))
        link = standing.link()
        assert read_framed(link) == WWW
        link.sendall(framed(response(WWW)))
        assert read_framed(client) == response(WWW)
        link.close()


def test_a_lost_query_is_asked_once_more_and_then_fails(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(WWW))
    for _ in range(2):
        link = standing.link()
        assert read_framed(link) == WWW
        link.sendall(framed(response(WWW))[:9])  # half of it is never passed on
        link.close()
    assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)


def test_a_transfer_that_is_cut_off_ends_the_connection(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.sendall(framed(AXFR))
    standing.handed().forward()
    link = standing.link()
    read_framed(link)
    link.sendall(framed(response(AXFR)))
    assert read_framed(client) == response(AXFR)
    link.close()
    assert closed(client)


def test_the_next_nameserver_is_dialled(stand: Stand) -> None:
    standing = stand(servers=2)
    standing.doors[0].close()
    client = standing.connect()
    client.sendall(framed(WWW))
    assert read_framed(standing.link(1)) == WWW


def test_without_nameservers_servfail_comes(stand: Stand) -> None:
    standing = stand(servers=2)
    for door in standing.doors:
        door.close()
    client = standing.connect()
    for _ in range(2):
        client.sendall(framed(WWW))
        assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)
    standing.upstream.order((), ())
    client.sendall(framed(WWW))
    assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)


def test_what_is_overdue_fails(stand: Stand) -> None:
    standing = stand(timeout_s=0.2)
    client = standing.connect()
    client.sendall(framed(WWW))
    assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)
    assert standing.upstream.counts()[0]["tcp_timeouts"] == 1


def test_a_transfer_may_take_longer_to_begin(stand: Stand) -> None:
    standing = stand(timeout_s=0.1, limits={"transfer_begins_s": 1.0})
    client = standing.connect()
    client.sendall(framed(AXFR) + framed(WWW))
    standing.handed().forward()
    assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)
    assert read_framed(client) == reply.error_reply(AXFR, reply.SERVFAIL)


def test_the_pipeline_is_bounded(stand: Stand) -> None:
    standing = stand(limits={"pipeline": 10})
    client = standing.connect()
    client.sendall(b"".join(framed(query("www.example.com", id=number)) for number in range(30)))
    link = standing.link()
    for number in range(30):
        message = read_framed(link)
        assert message[:2] == number.to_bytes(2, "big")
        assert standing.count("tcp_forwarded") <= 10 + number
        link.sendall(framed(response(message)))
        assert read_framed(client)[:2] == message[:2]


def test_the_pipelines_octets_are_bounded(stand: Stand) -> None:
    standing = stand(limits={"pipeline_octets": 100_000})
    client = standing.connect()
    client.settimeout(PATIENCE_S)
    long = WWW + LARGE
    client.sendall(framed(long) * 2)
    link = standing.link()
    assert read_framed(link) == read_framed(link) == long
    client.sendall(framed(MAIL))
    link.sendall(framed(response(WWW)))
    assert read_framed(client) == response(WWW)
    assert read_framed(link) == MAIL


def test_a_client_that_does_not_read_stops_what_is_read_for_it(stand: Stand) -> None:
    standing = stand()
    client = standing.connect()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.sendall(framed(WWW) * 400)
    link = standing.link()
    link.settimeout(0.3)
    long = framed(response(WWW) + LARGE)
    sent = 0
    with contextlib.suppress(TimeoutError):  # its buffers, the kernel's and the path's: then no more is taken
        for _ in range(400):
            link.sendall(long)
            sent += 1
    assert sent < 400
    other = standing.connect()
    outside = query("www.example.net", id=9)
    other.sendall(framed(outside))
    assert read_framed(other) == reply.error_reply(outside, reply.REFUSED), "others go on"
    for _ in range(sent):
        assert len(read_framed(client)) == len(long) - 2


def test_a_client_that_does_not_read_is_not_read_from(stand: Stand) -> None:
    many = [bytes((198, 51, number // 256, number % 256)) for number in range(2000)]
    standing = stand(flagged={"example.com": {1: saying(fresh(layout(many)))}})
    client, other = standing.connect(), standing.connect()
    client.sendall(framed(FLAGGED) * 2000)  # 64 MB of answers
    outside = query("www.example.net", id=9)
    for _ in range(10):
        other.sendall(framed(outside))
        assert read_framed(other) == reply.error_reply(outside, reply.REFUSED)
    assert standing.count("tcp_flattened") < 2000
    for _ in range(2000):
        assert len(read_framed(client)) == len(FLAGGED) + 2000 * 16


def test_an_idle_connection_is_closed(stand: Stand) -> None:
    standing = stand(limits={"idle_s": 0.2})
    never, half = standing.connect(), standing.connect()
    half.sendall(framed(WWW)[:5])
    assert closed(never)
    assert closed(half)


def test_a_connection_with_something_under_way_is_cut_off_later(stand: Stand) -> None:
    standing = stand(limits={"idle_s": 0.1})
    client = standing.connect()
    client.sendall(framed(WWW))
    link = standing.link()
    read_framed(link)
    idle = standing.connect()
    assert closed(idle)
    link.sendall(framed(response(WWW)))
    assert read_framed(client) == response(WWW)
    assert closed(client)


def test_the_connection_idle_for_longest_makes_room(stand: Stand) -> None:
    standing = stand(limits={"connections": 3})
    busy = standing.connect()
    busy.sendall(framed(WWW))
    link = standing.link()
    read_framed(link)
    first, second = standing.connect(), standing.connect()
    outside = query("www.example.net", id=9)
    for client in (first, second):
        client.sendall(framed(outside))
        read_framed(client)
    late = standing.connect()
    late.sendall(framed(outside))
    assert read_framed(late) == reply.error_reply(outside, reply.REFUSED)
    assert closed(first)
    second.sendall(framed(outside))
    assert read_framed(second) == reply.error_reply(outside, reply.REFUSED)
    assert (standing.count("tcp_evicted"), standing.count("tcp_connections")) == (1, 3)
    link.sendall(framed(response(WWW)))
    assert read_framed(busy) == response(WWW)


def test_where_none_is_idle_the_new_one_is_closed(stand: Stand) -> None:
    standing = stand(limits={"connections": 2})
    for _ in range(2):
        client = standing.connect()
        client.sendall(framed(WWW))
        read_framed(standing.link())
    assert closed(standing.connect())
    assert (standing.count("tcp_refused"), standing.count("tcp_evicted")) == (1, 0)


def test_a_half_closed_one_goes_before_a_new_one_is_closed(stand: Stand) -> None:
    standing = stand(limits={"connections": 1})
    gone = standing.connect()
    gone.sendall(framed(WWW))
    link = standing.link()
    read_framed(link)
    gone.shutdown(socket.SHUT_WR)
    outside = query("www.example.net", id=9)
    late = standing.connect()
    late.sendall(framed(outside))
    got = read_framed(late)
    assert got in (b"", reply.error_reply(outside, reply.REFUSED))
    if not got:  # the path had not read the end of the first one yet
        again = standing.connect()
        again.sendall(framed(outside))
        assert read_framed(again) == reply.error_reply(outside, reply.REFUSED)
    assert closed(gone)
    assert standing.count("tcp_evicted") == 1


def test_one_client_has_its_share_of_connections(stand: Stand) -> None:
    standing = stand(limits={"connections_a_client": 2})
    first = standing.connect()
    standing.connect()
    standing.connect()
    assert closed(first)
    assert standing.count("tcp_evicted") == 1


def test_draining_answers_what_is_under_way_and_closes_the_rest(stand: Stand) -> None:
    standing = stand()
    busy, idle = standing.connect(), standing.connect()
    busy.sendall(framed(WWW))
    link = standing.link()
    read_framed(link)
    standing.path.drain()
    assert closed(idle)
    with pytest.raises(ConnectionRefusedError):
        standing.connect()
    link.sendall(framed(response(WWW)))
    assert read_framed(busy) == response(WWW)
    assert closed(busy)
    standing.until(lambda: standing.path.under_way == 0)


def test_resets_leave_nothing_behind(stand: Stand) -> None:
    standing = stand()
    for number in range(60):
        client = standing.connect()
        client.sendall(framed(WWW)[: number % 20 + 3] if number % 3 else framed(WWW))
        if number % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    standing.until(lambda: standing.count("tcp_connections") == 0 or _answer_all(standing))


def _answer_all(standing: Standing) -> bool:
    """Close what the path has opened, so that half-closed clients get their SERVFAIL."""
    for door in standing.doors:
        door.settimeout(0.01)
        try:
            door.accept()[0].close()
        except TimeoutError:
            return False
    return False


def test_queries_over_the_rate_are_refused(stand: Stand) -> None:
    standing = stand()
    standing.path.limit(0, 2, 1)
    client = standing.connect()
    client.sendall(framed(WWW) * 5)
    assert read_framed(client) == reply.error_reply(WWW, reply.REFUSED)
    assert standing.count("limited") >= 1


def test_an_answer_that_is_over_goes_to_the_nameserver(stand: Stand) -> None:
    over = saying((1, 1, 1, -1, False, layout(), None), then_forward=True)
    standing = stand(flagged={"example.com": {1: over}})
    client = standing.connect()
    client.sendall(framed(FLAGGED))
    assert read_framed(standing.link()) == FLAGGED
    assert standing.count("tcp_flattened") == 1


def test_without_room_for_what_is_handed_over_servfail_comes(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}}, limits={"handed": 1})
    client = standing.connect()
    client.sendall(framed(FLAGGED) * 2)
    assert read_framed(client) == reply.error_reply(FLAGGED, reply.SERVFAIL)
    standing.handed().reply(reply.error_reply(FLAGGED, reply.REFUSED))
    assert read_framed(client) == reply.error_reply(FLAGGED, reply.REFUSED)


def test_without_room_a_landing_passes_as_it_came(stand: Stand) -> None:
    standing = stand(flagged={"example.com": {1: _core.Answer()}}, limits={"handed": 1})
    client = standing.connect()
    client.sendall(framed(FLAGGED) + framed(WWW))
    link = standing.link()
    read_framed(link)
    came = response(WWW, ["www.example.com. 60 IN CNAME example.com."])
    link.sendall(framed(came))
    assert read_framed(client) == came


def test_a_transfer_that_pauses_for_long_is_given_up(stand: Stand) -> None:
    standing = stand(limits={"transfer_pauses_s": 0.2})
    client = standing.connect()
    client.sendall(framed(AXFR))
    client.shutdown(socket.SHUT_WR)
    standing.handed().forward()
    link = standing.link()
    read_framed(link)
    link.sendall(framed(response(AXFR)))
    assert read_framed(client) == response(AXFR)
    assert closed(client)


def test_a_nameserver_that_does_not_take_connections_is_left_for_the_next(stand: Stand) -> None:
    standing = stand(servers=2, timeout_s=0.3)
    standing.doors[0].listen(0)
    waiting = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(4)]
    for sock in waiting:  # until the kernel takes no more for it
        sock.setblocking(False)
        sock.connect_ex(standing.doors[0].getsockname())
    client = standing.connect()
    client.sendall(framed(WWW))
    assert read_framed(client) == reply.error_reply(WWW, reply.SERVFAIL)
    client.sendall(framed(MAIL))
    link = standing.link(1)
    while read_framed(link) != MAIL:
        pass
    for sock in waiting:
        sock.close()


def _held(standing: Standing) -> tuple[socket.socket, socket.socket]:
    """Return a client that reads nothing of what it asked for, and its link to the nameserver, filled to the brim."""
    client = standing.connect()
    client.sendall(framed(WWW) * 100)
    link = standing.link()
    link.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        for _ in range(100):
            link.sendall(framed(response(WWW) + LARGE))
    return client, link


def test_a_client_that_resets_while_it_is_held_is_let_go(stand: Stand) -> None:
    standing = stand()
    client, _link = _held(standing)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    standing.until(lambda: standing.count("tcp_connections") == 0)


def test_a_nameserver_that_goes_while_the_client_is_held(stand: Stand) -> None:
    standing = stand()
    _client, link = _held(standing)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    link.close()
    assert standing.link(), "what was not answered is asked again"
