from __future__ import annotations

from ipaddress import ip_network

import pytest

from flatproxy.config.rules import Rule
from flatproxy.flatten.controllers import PRIVATE
from flatproxy.flatten.controllers import hidden_from as hidden_from_prefixes
from flatproxy.wire.prefixes import Network, Prefixes

LB = b"\2lb\4test\0"
PASSING = Rule(target=LB, views=(("inside", None), ("branch", Rule(target=LB))))


def hidden_from(rule: Rule, views: dict[str, tuple[Network, ...]]) -> list[str]:
    return hidden_from_prefixes(
        rule, Prefixes({network: view for view, networks in views.items() for network in networks})
    )


INSIDE = {"inside": PRIVATE}


def test_without_a_view_every_private_network_is_hidden() -> None:
    assert hidden_from(Rule(target=LB), INSIDE) == ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]


def test_a_view_that_passes_covers_its_networks_and_those_within() -> None:
    assert hidden_from(PASSING, INSIDE) == []
    assert hidden_from(PASSING, {"inside": (ip_network("0.0.0.0/0"), ip_network("::/0"))}) == []


@pytest.mark.parametrize("hole", ["10.7.0.0/16", "10.255.255.255/32", "10.0.0.0/32"])
def test_another_view_within_leaves_a_hole(hole: str) -> None:
    assert hidden_from(PASSING, {**INSIDE, "branch": (ip_network(hole),)}) == ["10.0.0.0/8"]


def test_half_a_network_is_not_enough() -> None:
    halves = (ip_network("10.0.0.0/9"), *PRIVATE[1:])
    assert hidden_from(PASSING, {"inside": halves}) == ["10.0.0.0/8"]
    assert hidden_from(PASSING, {"inside": (*halves, ip_network("10.128.0.0/9"))}) == []
