from __future__ import annotations

from itertools import chain, repeat

from flatproxy.forward.pending import Pending, random_ids
from flatproxy.forward.query import Query, query_from
from tests.unit.forward.surroundings import Sent
from tests.unit.wire.messages import query, response


def pend(name: str = "example.com", sent_at: float = 0.0) -> Query:
    message = query(name, id=1)
    return query_from(message, message[12:].lower(), b"\xc0\0\2\7", Sent(), None, sent_at)


def reply_to(message_id: bytes, asked: Query) -> bytes:
    return message_id + response(asked.message)[2:]


def test_a_reply_is_matched_once_by_id_and_question() -> None:
    pending, asked = Pending(random_ids()), pend()
    message_id = pending.admit(asked)
    other = bytes([message_id[0] ^ 1, message_id[1]])
    assert pending.match(reply_to(other, asked)) is None
    assert pending.match(message_id + response(query("example.org"))[2:]) is None
    assert pending.match(message_id + asked.message[2:]) is None
    assert pending.match(message_id) is None
    assert pending.match(reply_to(message_id, asked)) is asked
    assert pending.match(reply_to(message_id, asked)) is None


def test_a_record_that_looks_like_the_question_is_none() -> None:
    pending, asked = Pending(random_ids()), pend()
    message_id = pending.admit(asked)
    record = asked.question + b"\0\0\1\x2c\0\4\xcb\0\x71\x42"
    assert pending.match(message_id + b"\x81\0\0\0\0\1\0\0\0\0" + record) is None
    assert pending.match(reply_to(message_id, asked)) is asked


def test_an_id_in_use_is_not_given_again() -> None:
    pending = Pending(chain([b"\0\1", b"\0\1", b"\0\1", b"\0\2"], repeat(b"\0\3")))
    assert [pending.admit(pend()) for _ in range(3)] == [b"\0\1", b"\0\2", b"\0\3"]


def test_the_old_ones_expire_in_their_order() -> None:
    pending = Pending(random_ids())
    queries = [pend(sent_at=float(number)) for number in range(5)]
    for asked in queries:
        pending.admit(asked)
    assert pending.expire(2.0) == queries[:2]
    assert list(pending) == queries[2:]
    assert pending.take_all() == queries[2:]
    assert len(pending) == 0


def test_ids_differ() -> None:
    ids = random_ids()
    assert len({next(ids) for _ in range(2000)}) > 1900


def test_what_was_sent_between_two_times_is_told_with_its_ids_and_kept() -> None:
    pending = Pending(random_ids())
    queries = [pend(sent_at=float(number)) for number in range(5)]
    ids = [pending.admit(asked) for asked in queries]
    assert pending.sent_between(1.0, 3.0) == [(ids[1], queries[1]), (ids[2], queries[2])]
    assert pending.sent_between(3.0, 3.0) == []
    assert len(pending) == 5
