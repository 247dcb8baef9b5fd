from __future__ import annotations

import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.diagnose.self_loop import own_endpoint

V4 = Endpoint("0.0.0.0", 53)
V6 = Endpoint("::", 53)
ONE = Endpoint("192.0.2.1", 53)
OWN = {"127.0.0.1", "192.0.2.1", "::1"}


@pytest.mark.parametrize(
    ("server", "listening", "expected"),
    [
        (ONE, [ONE], ONE),
        (ONE, [V4], V4),
        (Endpoint("127.0.0.1", 53), [V4], V4),
        (Endpoint("::1", 53), [V4, V6], V6),
        (Endpoint("0:0:0:0:0:0:0:1", 53), [Endpoint("::1", 53)], Endpoint("::1", 53)),
        (Endpoint("192.0.2.2", 53), [V4], None),
        (Endpoint("::1", 53), [V4], None),
        (Endpoint("192.0.2.1", 5353), [V4, ONE], None),
        (Endpoint("192.0.2.2", 53), [ONE], None),
        (ONE, [], None),
    ],
)
def test_who_is_flatproxy_itself(server: Endpoint, listening: list[Endpoint], expected: Endpoint | None) -> None:
    assert own_endpoint(server, listening, lambda host: host in OWN) == expected


def test_a_port_that_the_kernel_will_choose_is_nobodys() -> None:
    assert own_endpoint(Endpoint("127.0.0.1", 0), [Endpoint("127.0.0.1", 0)], lambda _: True) is None
