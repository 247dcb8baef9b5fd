"""`flatproxy demo`: the real proxy between the stand-ins, all of it in this process and on loopback.

It chooses no port, asks nobody outside, writes no file.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
from collections import deque
from contextlib import AsyncExitStack
from signal import SIGINT, SIGTERM, signal
from textwrap import wrap
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import dns.name
from attrs import frozen

from flatproxy.config.rules import Rule
from flatproxy.config.settings import Access, Listen, Resolver, Settings, Upstream
from flatproxy.demo import internet, nameserver, view
from flatproxy.demo.internet import Internet
from flatproxy.demo.nameserver import DemoNameserver
from flatproxy.demo.screen import Screen, can_redraw
from flatproxy.demo.serving import LOOPBACK, serve
from flatproxy.demo.tour import Stops, Tour
from flatproxy.errors import FlatproxyError
from flatproxy.observe import logs
from flatproxy.process.app import App
from flatproxy.process.reactor import install_reactor
from flatproxy.process.reload import ReloadRecord
from flatproxy.wire import names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flatproxy.config.settings import Endpoint

MOVE_EVERY_S = 8.0
LOOK_EVERY_S = 1.0
READY_WITHIN_S = 10.0
TOUR_TTL_S = 2
"""A tour waits for a TTL to pass; whoever watches may see it do so."""
DEMO_WIDTH = 80
SHOWN_CHANGES = 6
SHOWN_NOTES = 3
ALIAS = f"www.{nameserver.APEX}"


@frozen(kw_only=True)
class Stage:
    """What stands, once it does."""

    app: App
    nameserver: Endpoint
    internet: Internet
    notes: Notes

    @property
    def proxy(self) -> Endpoint:
        """Where the proxy answers."""
        return self.app.listening[0]


class Notes(io.StringIO):
    """Takes the log as JSON lines, and keeps what is more than news; `aloud` prints it too."""

    def __init__(self, *, aloud: bool) -> None:
        super().__init__()
        self.kept: deque[str] = deque(maxlen=SHOWN_NOTES)
        self._aloud = aloud

    def write(self, line: str, /) -> int:
        """Take one line."""
        event = json.loads(line)
        if event["level"] != "info":
            note = f"{event['level']}: {event['message']}"
            self.kept.append(note)
            if self._aloud:
                print(note, file=sys.stderr, flush=True)
        return len(line)


def demonstrate(*, once: bool) -> bool:
    """Run the demo until it is interrupted, or the tour; tell whether all went well."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    notes = Notes(aloud=not (can_redraw(sys.stdout) and sys.stderr.isatty()) or once)
    logs.setup("json", notes)
    reactor = install_reactor()
    fine: list[bool] = []

    async def play() -> None:
        try:
            fine.append(await _play(reactor, notes, _tour if once else _watch))
        except (asyncio.CancelledError, BrokenPipeError):  # whoever watched has seen enough
            fine.append(not once)
        except FlatproxyError as error:
            print(f"flatproxy: {error}", file=sys.stderr)
            fine.append(False)
        finally:
            reactor.stop()

    def begin() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(play())
        for number in (SIGINT, SIGTERM):
            # Not the loop's own, which only Unix has.
            signal(number, lambda *_: loop.call_soon_threadsafe(task.cancel))

    reactor.callLater(0, begin)  # from within the loop: tasks can be made from the first moment
    reactor.run(installSignalHandlers=False)
    _flush()
    return bool(fine and fine[0])


def _flush() -> None:
    """Write out what is left, so that a reader who has gone is no error at the very end."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _play(reactor: Any, notes: Notes, scene: Callable[[Stage], Awaitable[bool]]) -> bool:  # noqa: ANN401 - many interfaces
    """Set everything up, play the scene, and clear everything away, whatever happens."""
    async with AsyncExitStack() as stack:
        outside = Internet(ttl_s=TOUR_TTL_S) if scene is _tour else Internet()
        behind = await serve(DemoNameserver())
        stack.push_async_callback(behind.close)
        resolver = await serve(outside)
        stack.push_async_callback(resolver.close)
        app = App(reactor, ReloadRecord("demo", at=time()))
        app.start(settings_for(behind.endpoint, resolver.endpoint))
        stack.push_async_callback(app.stop)
        await _until_ready(app)
        return await scene(Stage(app=app, nameserver=behind.endpoint, internet=outside, notes=notes))


def settings_for(upstream: Endpoint, resolver: Endpoint) -> Settings:
    """Return the demo's configuration."""
    apex = _wire(nameserver.APEX)
    return Settings(
        listen=Listen(dns=(LOOPBACK,), http=LOOPBACK),
        upstream=Upstream(servers=(upstream,)),
        access=Access(zones=(apex,)),
        resolver=Resolver(servers=(resolver,)),
        flatten={apex: Rule(target=_wire(internet.TARGET), special="allow")},
    )


def _wire(text: str) -> bytes:
    return names.to_wire(dns.name.from_text(text))


async def _until_ready(app: App) -> None:
    deadline = monotonic() + READY_WITHIN_S
    while app.missing() and monotonic() < deadline:  # noqa: ASYNC110 - many things to wait for, once
        await asyncio.sleep(0.02)


async def _tour(stage: Stage) -> bool:
    tour = Tour(
        proxy=stage.proxy,
        nameserver=stage.nameserver,
        load_balancer=stage.internet,
        stops=Stops(flagged=nameserver.APEX, alias=ALIAS, large=nameserver.DKIM),
        say=_say,
    )
    return await tour.take()


async def _watch(stage: Stage) -> bool:
    """Show what happens until somebody ends it."""
    for line in introduction(stage.proxy, stage.nameserver, str(stage.app.http)):
        _say(line)
    moving = asyncio.get_running_loop().create_task(stage.internet.keep_moving(MOVE_EVERY_S))
    try:
        await (_redraw(stage) if can_redraw(sys.stdout) else _print_changes(stage))
    finally:
        moving.cancel()
    return True


def introduction(proxy: Endpoint, behind: Endpoint, http: str) -> list[str]:
    """Return what is said at first. What is to be pasted has no comments: not every shell takes them."""
    through = f"  dig @{proxy.host} -p {proxy.port}"
    return [
        *wrap(
            f"flatproxy answers on {proxy}, UDP and TCP, in front of a nameserver with the zone {nameserver.APEX}. Its "
            f"apex is flagged: the target is a load balancer that moves every {MOVE_EVERY_S:g} s. Ready to paste:",
            DEMO_WIDTH,
        ),
        "",
        f"{through} {nameserver.APEX} A",
        f"{through} {nameserver.APEX} AAAA",
        f"{through} {ALIAS} A",
        f"{through} {nameserver.APEX} MX",
        f"{through} +tcp {nameserver.DKIM} TXT",
        f"  curl -s http://{http}/metrics",
        "",
        f"The status page: http://{http}/",
        "",
        "The nameserver itself, which has a placeholder there:",
        "",
        f"  dig @{behind.host} -p {behind.port} {nameserver.APEX} A",
        "",
        "Ctrl-C ends it.",
        "",
    ]


async def _redraw(stage: Stage) -> None:
    """Draw the picture over itself, with the last changes below."""
    screen = Screen(sys.stdout)
    changes, recent = view.Changes(briefly=True), deque[str](maxlen=SHOWN_CHANGES)
    coloured = "NO_COLOR" not in os.environ
    try:
        while True:
            now, wall = monotonic(), time()
            width = min(screen.size()[0], DEMO_WIDTH)
            recent.extend(changes.since(stage.app.statuses(now), wall))
            picture = view.picture(stage.app.statuses(now), wall, width, coloured=coloured)
            screen.draw([*picture, "", *_fitted(recent, width), *_fitted(stage.notes.kept, width)])
            await asyncio.sleep(LOOK_EVERY_S)
    finally:
        screen.close()


def _fitted(lines: Iterable[str], width: int) -> list[str]:
    return [row for line in lines for row in wrap(line, width, subsequent_indent=" " * 10, break_on_hyphens=False)]


async def _print_changes(stage: Stage) -> None:
    """Print a line for each name and type now, and another whenever it changes."""
    changes = view.Changes()
    while True:
        for line in changes.since(stage.app.statuses(monotonic()), time()):
            _say(line)
        await asyncio.sleep(LOOK_EVERY_S)


def _say(text: str) -> None:
    print(text, flush=True)
