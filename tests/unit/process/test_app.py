"""The app with all its real parts, on the real loop: what it opens, changes and gives back."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dns.resolver
import pytest
from attrs import evolve
from twisted.internet.asyncioreactor import AsyncioSelectorReactor

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Access, Endpoint, Listen, Resolver, Settings, State, Upstream
from flatproxy.errors import FlatproxyError
from flatproxy.process.app import App
from flatproxy.process.reload import ReloadRecord

APEX = b"\7example\3com\0"
LOOPBACK = Endpoint("127.0.0.1", 0)
NAMESERVER = Endpoint("127.0.0.1", 9)
BROADCAST = Endpoint("255.255.255.255", 53)
"""The kernel connects no socket to it that did not ask for the right to."""

SETTINGS = Settings(
    listen=Listen(dns=(LOOPBACK, LOOPBACK), http=LOOPBACK),
    upstream=Upstream(servers=(NAMESERVER,)),
    access=Access(zones=(APEX,)),
    resolver=Resolver(servers=(NAMESERVER,)),
    flatten={APEX: Rule(target=b"\2lb\7example\3net\0")},
)

Play = Callable[[App], Awaitable[None]]


def _descriptors() -> dict[str, str]:
    """What each descriptor leads to, but for the one that lists them; none of what a test before has only dropped."""
    gc.collect()
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found[link.name] = str(link.readlink())
    return found


def _with_app(play: Play) -> None:
    """Play with an app that was not started, and stop it."""
    loop = asyncio.SelectorEventLoop()

    async def whole() -> None:
        reactor: Any = AsyncioSelectorReactor(loop)
        app = App(reactor, ReloadRecord("test"))
        await play(app)
        await app.stop()

    try:
        loop.run_until_complete(whole())
    finally:
        loop.close()


PLAIN = (int, float, str, bytes, bool, type(None))


def _parts(value: object) -> dict[object, object]:
    """Return what an object of ours, or a container, holds."""
    if isinstance(value, dict):
        return dict(enumerate([*value, *value.values()]))
    if isinstance(value, list | tuple | set | frozenset | deque):
        return dict(enumerate(value))
    if not type(value).__module__.startswith("flatproxy"):
        return {}
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    names = [*getattr(value, "__dict__", {}), *(name for name in slots if name != "__weakref__")]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _state(app: App) -> dict[str, object]:
    """Return every attribute that can be reached from the app through objects of ours, by its path."""
    found: dict[str, object] = {}
    waiting: list[tuple[str, object]] = [("app", app)]
    seen: set[int] = set()
    while waiting:
        path, value = waiting.pop()
        found[path] = value
        if isinstance(value, PLAIN) or id(value) in seen:
            continue
        seen.add(id(value))
        waiting += [(f"{path}.{name}", part) for name, part in _parts(value).items()]
    return found


def _changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    paths = before.keys() | after.keys()
    return sorted(path for path in paths if not _same(before.get(path, ...), after.get(path, ...)))


def _same(one: object, other: object) -> bool:
    return one is other or (isinstance(one, PLAIN) and one == other)


def _without_resolv_conf(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(self: dns.resolver.Resolver, path: object) -> None:
        raise dns.resolver.NoResolverConfiguration(f"cannot open {path}")  # type: ignore[no-untyped-call]

    monkeypatch.setattr(dns.resolver.Resolver, "read_resolv_conf", unreadable)


OTHER_SERVERS = evolve(SETTINGS, upstream=Upstream(servers=(Endpoint("127.0.0.2", 9),)), flatten={})
WRONG = {
    "no resolv.conf": evolve(OTHER_SERVERS, resolver=Resolver(servers=("system",))),
    "no socket to the first nameserver": evolve(SETTINGS, upstream=Upstream(servers=(BROADCAST,)), flatten={}),
    "no socket to the last one": evolve(SETTINGS, upstream=Upstream(servers=(NAMESERVER, BROADCAST))),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_failed_reload_leaves_everything_as_it_was(wrong: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last attribute and descriptor; and a good one afterwards goes through."""
    _without_resolv_conf(monkeypatch)

    async def play(app: App) -> None:
        app.start(SETTINGS)
        state, descriptors = _state(app), _descriptors()
        for _ in range(3):
            with pytest.raises(FlatproxyError):
                app.reload(wrong)
            assert _changed(state, _state(app)) == []
            assert _descriptors() == descriptors
        app.reload(OTHER_SERVERS)
        assert app.settings is OTHER_SERVERS
        assert _changed(state, _state(app)) != []

    _with_app(play)


def test_what_a_reload_replaces_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once in C, where nothing is under way; in Python after the time that a question may take."""

    async def play(app: App) -> None:
        app.start(evolve(SETTINGS, upstream=evolve(SETTINGS.upstream, timeout_s=0.01)))
        before = _descriptors()
        count = len(before)
        app.reload(OTHER_SERVERS)
        assert set(_descriptors().values()) - set(before.values())
        async with asyncio.timeout(10):
            while len(_descriptors()) > count:  # noqa: ASYNC110 - the app's own ticks, many of them
                await asyncio.sleep(0.01)

    _with_app(play)


START = {
    **WRONG,
    "an address that is not ours": evolve(SETTINGS, listen=Listen(dns=(LOOPBACK, Endpoint("192.0.2.1", 0)))),
    "HTTP at an address that is not ours": evolve(
        SETTINGS, listen=Listen(dns=(LOOPBACK,), http=Endpoint("192.0.2.1", 0))
    ),
}


@pytest.mark.parametrize("wrong", START.values(), ids=START)
def test_a_failed_start_leaves_nothing_open(wrong: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    _without_resolv_conf(monkeypatch)

    async def play(app: App) -> None:
        descriptors = _descriptors()
        with pytest.raises(FlatproxyError):
            app.start(wrong)
        await asyncio.sleep(0)  # Twisted closes a listener in the loop's next turn
        await asyncio.sleep(0)
        assert _descriptors() == descriptors
        assert app.listening == []

    _with_app(play)


def test_root_is_given_up_with_all_sockets_bound_and_nothing_read(tmp_path: Path) -> None:
    """Neither a packet nor the state file: both are others' octets."""
    path = tmp_path / "folder" / "answers.sqlite"
    seen: list[int] = []

    async def play(app: App) -> None:
        before = len(_descriptors())

        def give_up() -> None:
            seen.append(len(_descriptors()) - before)
            assert app.listening == []
            raise FlatproxyError("still root")

        with pytest.raises(FlatproxyError, match="still root"):
            app.start(evolve(SETTINGS, state=State(path=path)), give_up)

    _with_app(play)
    (opened,) = seen
    assert opened >= 2 * len(SETTINGS.listen.dns) + 1 + 1, "UDP and TCP, HTTP, and sockets to the nameserver"
    assert not path.exists()


def test_a_restart_is_needed_for_other_addresses() -> None:
    """A reload binds nothing: it has no right to, once root is given up."""

    async def play(app: App) -> None:
        app.start(evolve(SETTINGS, listen=Listen(dns=(LOOPBACK,))))
        listening, descriptors = app.listening, _descriptors()
        app.reload(evolve(SETTINGS, listen=Listen(dns=(LOOPBACK, LOOPBACK), http=LOOPBACK)))
        assert (app.listening, app.http) == (listening, None)
        assert _descriptors() == descriptors

    _with_app(play)
