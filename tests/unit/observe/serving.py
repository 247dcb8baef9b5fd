"""Runs the HTTP side alone, on a port that the kernel chooses, until its standard input ends."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet import asyncioreactor

loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
asyncioreactor.install(loop)  # type: ignore[no-untyped-call] # Twisted's

from twisted.internet import reactor as installed  # noqa: E402 - once there is one to import

from flatproxy.config.settings import Access, Endpoint, Listen, Settings, Upstream  # noqa: E402
from flatproxy.observe.http import HttpSide  # noqa: E402
from tests.unit.observe.fakes import FakeCondition, registry_of, sources  # noqa: E402


def main() -> None:
    reactor: Any = installed
    host = sys.argv[1]
    settings = Settings(
        listen=Listen(dns=(), http=Endpoint(host=host, port=0)), upstream=Upstream(servers=()), access=Access(zones=())
    )
    watch: Any = FakeCondition(lambda: ["example.com A is not resolved yet"])
    side = HttpSide(
        reactor=reactor,
        registry=registry_of(sources()),
        watch=watch,
    )

    def stop() -> None:
        loop.remove_reader(sys.stdin)
        done = side.stop()
        assert done is not None
        done.addCallback(lambda _: print(side.address, flush=True))  # noqa: T201 - this is how it speaks
        done.addCallback(lambda _: reactor.stop())

    side.prepare(settings)
    assert side.address is not None
    print(side.address.port, flush=True)  # noqa: T201
    loop.add_reader(sys.stdin, stop)
    reactor.run()


main()
