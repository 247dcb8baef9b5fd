"""Which packet path runs, by environment, installation and settings."""

from __future__ import annotations

import sys
from ipaddress import ip_network

import pytest
from attrs import evolve

from flatproxy.config.settings import Access, Endpoint, Listen, Settings, Upstream
from flatproxy.errors import FlatproxyError
from flatproxy.forward.native.choice import VARIABLE, choose, cores, installed
from tests.unit.forward.surroundings import ZONE

EXTENSION = "flatproxy.forward.native._core"
SETTINGS = Settings(
    listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
    upstream=Upstream(servers=(Endpoint("127.0.0.1", 9),)),
    access=Access(zones=(ZONE,)),
)
MANY = evolve(SETTINGS, listen=evolve(SETTINGS.listen, threads=3))
EACH_CORE = evolve(SETTINGS, listen=evolve(SETTINGS.listen, threads=0))
BEHIND_A_PROXY = evolve(SETTINGS, listen=evolve(SETTINGS.listen, proxy_from=(ip_network("192.0.2.0/24"),)))
TELLS_THE_CLIENT = evolve(SETTINGS, upstream=evolve(SETTINGS.upstream, proxy_protocol=True))


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv(VARIABLE, raising=False)
    return monkeypatch


def _without_extension(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(sys.modules, EXTENSION, None)


@pytest.mark.parametrize("value", [None, "1"])
def test_the_path_in_c_runs_where_it_is_there(wanted: pytest.MonkeyPatch, value: str | None) -> None:
    if value is not None:
        wanted.setenv(VARIABLE, value)
    assert (choose(SETTINGS).text, choose(SETTINGS).threads, choose(SETTINGS).why) == ("C", 1, "")
    assert choose(MANY).threads == 3
    assert choose(EACH_CORE).threads == cores()


def test_zero_is_the_path_in_python(wanted: pytest.MonkeyPatch) -> None:
    wanted.setenv(VARIABLE, "0")
    choice = choose(SETTINGS)
    assert (choice.text, choice.threads, choice.why) == ("Python", 1, "FLATPROXY_NATIVE=0")
    assert choose(EACH_CORE).threads == 1


def test_without_the_extension_python_does(wanted: pytest.MonkeyPatch) -> None:
    _without_extension(wanted)
    assert (choose(SETTINGS).text, bool(choose(SETTINGS).why)) == ("Python", True)


def test_one_makes_the_absence_of_the_extension_an_error(wanted: pytest.MonkeyPatch) -> None:
    _without_extension(wanted)
    wanted.setenv(VARIABLE, "1")
    with pytest.raises(FlatproxyError, match="leave FLATPROXY_NATIVE out"):
        installed()


def test_proxy_headers_are_read_in_python_and_written_by_both(wanted: pytest.MonkeyPatch) -> None:
    wanted.setenv(VARIABLE, "1")
    choice = choose(BEHIND_A_PROXY)
    assert (choice.text, "PROXY" in choice.why) == ("Python", True)
    assert choose(TELLS_THE_CLIENT).text == "C"


@pytest.mark.parametrize("settings", [MANY, evolve(BEHIND_A_PROXY, listen=evolve(BEHIND_A_PROXY.listen, threads=2))])
def test_threads_need_the_path_in_c(wanted: pytest.MonkeyPatch, settings: Settings) -> None:
    wanted.setenv(VARIABLE, "0")
    with pytest.raises(FlatproxyError, match="write threads = 1"):
        choose(settings)
