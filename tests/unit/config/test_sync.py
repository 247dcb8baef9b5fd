from __future__ import annotations

import pytest

from flatproxy.config.load import to_settings
from flatproxy.config.settings import Endpoint, Sync
from flatproxy.errors import ConfigError

from .configs import flattened, keys, problems

NAME = {"example.com": {"target": "lb.example.net", "sync": True}}
STATE = {"path": "/var/lib/flatproxy/answers.sqlite"}
KEY = {"key_file": "/etc/flatproxy/sync.key"}


def test_the_defaults() -> None:
    settings = to_settings(flattened(sync=KEY, state=STATE, flatten=NAME))
    assert settings.sync is not None
    assert (settings.sync.server, settings.sync.interval_s, settings.sync.gss) == (None, 60, False)
    (rule,) = settings.flatten.values()
    assert (rule.sync, rule.sync_ttl_s) == (True, 60)


def test_every_key() -> None:
    table = {"server": "192.0.2.54", "gss": True, "interval": "5m", "sync_pinned": True}
    settings = to_settings(flattened(sync=table, state=STATE))
    assert settings.sync == Sync(server=Endpoint("192.0.2.54", 53), gss=True, interval_s=300, sync_pinned=True)


@pytest.mark.parametrize(
    ("tables", "wrong"),
    [
        ({"flatten": NAME}, ["sync"]),
        ({"sync": {}, "state": STATE}, ["sync.key_file"]),
        ({"sync": {**KEY, "gss": True}, "state": STATE}, ["sync.key_file"]),
        ({"sync": KEY}, ["state"]),
        ({"sync": {**KEY, "interval": "0s"}, "state": STATE}, ["sync.interval"]),
        ({"sync": {**KEY, "server": "127.0.0.1:5353"}, "state": STATE, "listen": {"dns": ["0.0.0.0:5353"]}},
         ["sync.server"]),
        ({"sync": KEY, "state": STATE, "flatten": {"example.com": {**NAME["example.com"], "types": ["HTTPS"]}}},
         ['flatten."example.com".sync']),
    ],
)  # fmt: skip
def test_what_does_not_go_together(tables: dict[str, object], wrong: list[str]) -> None:
    assert keys(flattened(**tables)) == wrong


def test_sync_is_not_of_a_view() -> None:
    name = {"example.com": {**NAME["example.com"], "views": {"inside": {"sync": False}}}}
    found = problems(flattened(sync=KEY, state=STATE, flatten=name, views={"inside": {"clients": ["192.0.2.0/24"]}}))
    assert [problem.key for problem in found] == ['flatten."example.com".views.inside.sync']


def test_only_with_sync_a_file_may_do_without_listen() -> None:
    raw = flattened(sync=KEY, state=STATE, flatten=NAME)
    del raw["listen"]
    assert to_settings(raw, listening=False).listen.dns == ()
    with pytest.raises(ConfigError, match="listen: this table is required"):
        to_settings(raw)
    del raw["sync"], raw["flatten"]
    with pytest.raises(ConfigError, match="listen: this table is required"):
        to_settings(raw, listening=False)
