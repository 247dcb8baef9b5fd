from __future__ import annotations

import dns.message

from bench.checked_servers import resolved
from bench.checks import spread
from tests.unit.wire.messages import query


def test_a_target_has_two_addresses_of_its_own() -> None:
    replies = [dns.message.from_wire(resolved(query(f"t{number}.cloud.test"))) for number in (0, 9_999)]
    found = [{rdata.to_text() for rrset in reply.answer for rdata in rrset} for reply in replies]
    assert found == [{"127.64.0.1", "127.64.0.2"}, {"127.64.78.31", "127.64.78.32"}]


def test_spread_counts_what_came_in_time_and_the_gaps_of_each_address() -> None:
    found = spread([(0.05, 1), (10.0, 2), (10.05, 1), (10.35, 3), (11.9, 1), (99.0, 2)], 10.0, 10.4)
    assert (found["addresses"], found["a_second"]) == (3, 7.5)
    assert (found["most_in_a_tenth"], found["least_in_a_tenth"]) == (2, 0)
    assert (found["gap_least_s"], found["gap_most_s"]) == (1.85, 89.0)
