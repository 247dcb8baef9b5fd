"""Who makes room when there are too many TCP connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from flatproxy.counts import Traffic
from flatproxy.forward.listeners import connections as module
from flatproxy.forward.listeners.connections import Connections

if TYPE_CHECKING:
    import pytest


@define(eq=False)
class _Connection:
    host: bytes
    active_at: float = 0.0
    busy: bool = False
    half_closed: bool = False
    ended: str = ""
    swept: float = -1.0

    def finish(self) -> None:
        self.ended = "finished"

    def abort(self) -> None:
        self.ended = "aborted"

    def sweep(self, now: float) -> None:
        self.swept = now


def _filled(limit: int, *connections: _Connection) -> Connections:
    table = Connections(Traffic(), limit)
    for connection in connections:
        table.add(connection)
    return table


def test_below_the_bounds_nobody_goes() -> None:
    one = _Connection(b"\xc0\0\2\1")
    table = _filled(2, one)
    assert table.has_room(b"\xc0\0\2\1")
    assert not one.ended
    assert table.traffic.tcp_connections == 1


def test_the_one_idle_for_longest_goes() -> None:
    old, older, busy = (
        _Connection(b"\xc0\0\2\1", 5.0),
        _Connection(b"\xc0\0\2\2", 4.0),
        _Connection(b"\xc0\0\2\3", 1.0, busy=True),
    )
    table = _filled(3, old, older, busy)
    assert table.has_room(b"\xc0\0\2\x09")
    assert [old.ended, older.ended, busy.ended] == ["", "aborted", ""]
    assert (table.traffic.tcp_connections, table.traffic.tcp_evicted, table.traffic.tcp_refused) == (2, 1, 0)


def test_without_an_idle_one_the_new_one_goes() -> None:
    table = _filled(1, _Connection(b"\xc0\0\2\1", busy=True))
    assert not table.has_room(b"\xc0\0\2\x09")
    assert (table.traffic.tcp_connections, table.traffic.tcp_evicted, table.traffic.tcp_refused) == (1, 0, 1)


def test_a_busy_one_whose_client_sends_no_more_goes_before_the_new_one() -> None:
    half, busy = (
        _Connection(b"\xc0\0\2\1", 9.0, busy=True, half_closed=True),
        _Connection(b"\xc0\0\2\2", 1.0, busy=True),
    )
    table = _filled(2, half, busy)
    assert table.has_room(b"\xc0\0\2\x09")
    assert [half.ended, busy.ended] == ["aborted", ""]


def test_a_client_at_its_own_bound_makes_room_among_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_A_CLIENT", 2)
    other = _Connection(b"\xc0\0\2\2", 0.0)
    own = [_Connection(b"\xc0\0\2\1", 5.0), _Connection(b"\xc0\0\2\1", 6.0)]
    table = _filled(10, other, *own)
    assert table.has_room(b"\xc0\0\2\1")
    assert [other.ended, own[0].ended, own[1].ended] == ["", "aborted", ""]


def test_a_client_busy_with_all_its_own_gets_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_A_CLIENT", 2)
    idle = _Connection(b"\xc0\0\2\2")
    table = _filled(10, idle, *(_Connection(b"\xc0\0\2\1", busy=True) for _ in range(2)))
    assert not table.has_room(b"\xc0\0\2\1")
    assert not idle.ended
    assert table.has_room(b"\xc0\0\2\3")


def test_counted_out_once() -> None:
    one = _Connection(b"\xc0\0\2\1")
    table = _filled(2, one)
    table.remove(one)
    table.remove(one)
    assert table.traffic.tcp_connections == 0
    assert table.all() == []
    assert not table._by_host, "no trace of the client"


def test_sweep_finish_and_close_reach_all() -> None:
    idle, busy = _Connection(b"\xc0\0\2\1"), _Connection(b"\xc0\0\2\2", busy=True)
    table = _filled(2, idle, busy)
    table.sweep(7.0)
    assert [idle.swept, busy.swept] == [7.0, 7.0]
    assert not table.finish()
    assert [idle.ended, busy.ended] == ["finished", ""]
    table.close()
    assert busy.ended == "aborted"
    table.remove(idle)
    table.remove(busy)
    assert table.finish()
