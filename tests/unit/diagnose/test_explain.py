from __future__ import annotations

import pytest

from flatproxy.diagnose.explain import near_misses

from .replies import wire

FLAGGED = [wire(name) for name in ("example.com", "shop.example.net", "www.example.org")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("www.example.com", ["example.com"]),
        ("a.b.example.com", ["example.com"]),
        ("example.org", ["www.example.org"]),
        ("exmple.com", ["example.com"]),
        ("shopp.example.net", ["shop.example.net"]),
        ("elsewhere.test", []),
    ],
)
def test_names_that_may_have_been_meant(name: str, expected: list[str]) -> None:
    assert near_misses(wire(name), FLAGGED) == expected
