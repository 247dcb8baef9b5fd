from __future__ import annotations

import tomllib
from typing import Any

import pytest

from flatproxy.config.load import to_settings
from flatproxy.config.rules import Rule

from .configs import MINIMAL, problems

NAME = b"\x07example\x03com\0"
LB, BRANCH = b"\x02lb\4test\0", b"\6branch\4test\0"
VIEWS = """
[views.inside]
clients = ["10.0.0.0/8"]
[views.branch]
clients = ["10.7.0.0/16"]
[flatten."example.com"]
target = "lb.test"
max_ttl = "60s"
"""
USED = VIEWS + '[flatten."example.com".views.inside]\naction = "pass"\n'


def raw(text: str) -> dict[str, Any]:
    return tomllib.loads(MINIMAL + text)


def test_a_view_inherits_the_names_keys_and_overrides_some() -> None:
    text = USED + '[flatten."example.com".views.branch]\ntarget = "branch.test"\nstale_ttl = "5s"\n'
    settings = to_settings(raw(text))
    rule = settings.flatten[NAME]
    branch = Rule(target=BRANCH, max_ttl_s=60, stale_ttl_s=5)
    assert rule == Rule(target=LB, max_ttl_s=60, views=(("inside", None), ("branch", branch)))
    assert sorted(settings.views) == ["branch", "inside"]


@pytest.mark.parametrize(
    ("text", "key", "reason", "write"),
    [
        (
            USED + '[flatten."example.com".views.branch]\naction = "drop"\n',
            'flatten."example.com".views.branch.action',
            "the nameserver answers",
            '"pass"',
        ),
        (
            USED + '[flatten."example.com".views.branch]\naction = "pass"\ntarget = "a.test"\n',
            'flatten."example.com".views.branch.target',
            "the nameserver answers",
            "one of the two",
        ),
        (
            USED + '[flatten."example.com".views.branch]\ntargett = "a.test"\n',
            'flatten."example.com".views.branch.targett',
            "did you mean target?",
            'target = "a.test"',
        ),
        (
            USED + '[flatten."example.com".views.branch]\ntarget = "example.com"\n',
            'flatten."example.com".views.branch.target',
            "its own target",
            "another name",
        ),
        (
            USED.replace(
                "[flatten",
                '[flatten."www.example.com"]\ntarget = "lb.test"\nfallback = ["203.0.113.9"]\n'
                '[flatten."www.example.com".views.branch]\nallow = ["10.0.0.0/8"]\n[flatten',
                1,
            ),
            'flatten."www.example.com".views.branch.allow',
            "fallback has 203.0.113.9, which is outside",
            '"203.0.113.9" here as well',
        ),
        (
            USED.replace(".views.", ".view."),
            'flatten."example.com".view',
            "did you mean views?",
            '[flatten."example.com".views.inside]',
        ),
        (USED, "views.branch", "no name has a table", '[flatten."NAME".views.branch]'),
        (
            VIEWS.replace("10.7.0.0/16", "10.0.0.0/8"),
            "views.branch.clients[0]",
            "the same network as in views.inside",
            "in one view only",
        ),
        ("[views.inside]\n", "views.inside.clients", "is required", 'clients = ["10.0.0.0/8"'),
        ("[views.inside]\nclients = []\n", "views.inside.clients", "nobody is in the view", '["10.0.0.0/8"'),
        ("[views.inside]\nhosts = []\n", "views.inside.hosts", "no such key", "the keys here are clients"),
        ("[views]\ninside = 1\n", "views.inside", "a table is needed", "[views.inside]"),
        (
            '[flatten."example.com"]\ntarget = "lb.test"\nviews = 1\n',
            'flatten."example.com".views',
            "a table for each view",
            '[flatten."example.com".views.inside]',
        ),
        (
            '[flatten."example.com"]\ntarget = "lb.test"\n[flatten."example.com".views.insde]\naction = "pass"\n',
            'flatten."example.com".views.insde',
            "no such view",
            "[views.insde]",
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_to_write(text: str, key: str, reason: str, write: str) -> None:
    found = {each.key: each for each in problems(raw(text))}
    assert key in found
    assert reason in found[key].reason
    assert write in found[key].write


def test_a_forgotten_quote_is_still_seen_beside_views() -> None:
    (found,) = problems(raw('[flatten.example.com]\ntarget = "lb.test"\n'))
    assert found.write == '[flatten."example.com"]'
