"""`[fleet]`: where stores are, and what is refused with what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from flatproxy.config import fleet
from flatproxy.config.load import to_settings
from flatproxy.config.problems import Refusal
from flatproxy.config.secret_files import read_secret
from flatproxy.config.settings import StoreAddress
from flatproxy.errors import ConfigError

from .configs import minimal, problems


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://192.0.2.1", StoreAddress(kind="single", servers=(("192.0.2.1", 6379),))),
        (
            "rediss://user@redis-1.example.net:6380/3",
            StoreAddress(kind="single", tls=True, servers=(("redis-1.example.net", 6380),), user="user", database=3),
        ),
        ("redis://[2001:db8::1]:7000/", StoreAddress(kind="single", servers=(("2001:db8::1", 7000),))),
        ("unix:///run/redis/redis.sock", StoreAddress(kind="single", path="/run/redis/redis.sock")),
        ("unix://user@/run/r.sock", StoreAddress(kind="single", path="/run/r.sock", user="user")),
        (
            "redis+sentinel://s1:26379,s2/mymaster/0",
            StoreAddress(kind="sentinel", servers=(("s1", 26379), ("s2", 26379)), service="mymaster"),
        ),
        (
            "rediss+sentinel://u@s1:1,s2:2/mymaster/4",
            StoreAddress(
                kind="sentinel", tls=True, servers=(("s1", 1), ("s2", 2)), user="u", service="mymaster", database=4
            ),
        ),
        (
            "rediss+cluster://n1:6379,n2:6379",
            StoreAddress(kind="cluster", tls=True, servers=(("n1", 6379), ("n2", 6379))),
        ),
    ],
)
def test_where_a_store_is(url: str, expected: StoreAddress) -> None:
    assert fleet.store(url) == expected


@pytest.mark.parametrize(
    ("url", "reason", "write"),
    [
        (7, "a string", "rediss://"),
        ("192.0.2.1:6379", "URL", "rediss://"),
        ("http://192.0.2.1", "scheme", "rediss://"),
        ("redis://user:word@192.0.2.1:6379/0", "password", '"redis://user@192.0.2.1:6379/0", and password_file'),
        ("redis://", "not a host", "rediss://"),
        ("redis://a b", "not a host", "rediss://"),
        ("redis://192.0.2.1:0", "not a host", "rediss://"),
        ("redis://192.0.2.1:70000", "not a host", "rediss://"),
        ("redis://192.0.2.1/x", "number of a database", "rediss://"),
        ("redis://192.0.2.1/0?ssl=1", "no options", '"redis://192.0.2.1/0"'),
        ("redis://a,b", "several", "redis+sentinel://"),
        ("unix://redis.sock", "by its path", "unix:///"),
        ("redis+sentinel://s1:26379", "by its name", "/mymaster/0"),
        ("redis+cluster://n1:6379/1", "one database", '"redis+cluster://n1:6379"'),
    ],
)
def test_what_is_no_store(url: object, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as caught:
        fleet.store(url)
    assert reason in caught.value.reason
    assert write in caught.value.write


@pytest.mark.parametrize("value", ["", "a b", "a{b}", "x" * 65, "*", 1])
def test_what_is_no_prefix(value: object) -> None:
    with pytest.raises(Refusal):
        fleet.prefix(value)


@pytest.mark.parametrize("value", ["", "a/b", "ns 1", "x" * 64, 1])
def test_what_is_no_name_of_a_node(value: object) -> None:
    with pytest.raises(Refusal):
        fleet.node(value)


def test_store_and_secret_are_required() -> None:
    assert [problem.key for problem in problems({**minimal(), "fleet": {}})] == ["fleet.store", "fleet.secret_file"]


def test_defaults() -> None:
    found = to_settings({**minimal(), "fleet": {"store": "redis://192.0.2.1", "secret_file": "/s"}}).fleet
    assert found is not None
    assert (found.prefix, found.node, found.timeout_s) == ("flatproxy", "", 0.25)
    assert (found.secret_file, found.ca_file, found.password_file) == (Path("/s"), None, None)


def secret(path: Path, text: str = "0123456789abcdef\n", mode: int = 0o600) -> Path:
    file = path / "secret"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_secret_is_read_without_its_line_end(tmp_path: Path) -> None:
    assert read_secret(secret(tmp_path), "fleet.secret_file", 16) == b"0123456789abcdef"


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o660, 0o602])
def test_a_secret_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    file = secret(tmp_path, mode=mode)
    with pytest.raises(ConfigError, match="other users can use this file") as caught:
        read_secret(file, "fleet.secret_file", 16)
    assert f"chmod 600 {file}" in str(caught.value)


@pytest.mark.parametrize(("text", "said"), [("", "empty"), ("\n", "empty"), ("short", "16 octets or more")])
def test_a_secret_has_some_length(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_secret(secret(tmp_path, text), "fleet.secret_file", 16)


def test_a_secret_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_secret(tmp_path / "nothing", "fleet.secret_file", 16)
