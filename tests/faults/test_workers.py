"""What clients lose when a worker, or the process above the workers, is killed, hangs or is told to end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.integration.harness.configuration import configuration
from tests.integration.harness.load import Load
from tests.integration.harness.proxy import Proxy
from tests.integration.harness.waiting import let_pass, until

from .test_servers import FLAGGED, FLATTEN, PLAIN, replies

if TYPE_CHECKING:
    from tests.integration.harness.internet import FakeInternet
    from tests.integration.harness.nsd import Nsd

    from .conftest import Count

Start = Callable[..., Proxy]

ASKED = [FLAGGED, PLAIN, ("www.example.com", "A"), FLAGGED]


def _config(nsd: Nsd, resolver: FakeInternet) -> str:
    return configuration(upstream=[nsd.address], resolver=[resolver.address], flatten=FLATTEN, listen={"workers": 2})


def _pid(proxy: Proxy, number: int) -> int:
    return int(proxy.since(0, "worker_started", worker=number)[-1]["pid"])


def test_a_worker_killed(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    proxy = start(_config(nsd, resolver))
    with Load(proxy.address, ASKED) as load:
        for turn in range(10):
            replies(load, 40)
            mark = proxy.mark
            os.kill(_pid(proxy, turn % 2 + 1), signal.SIGKILL)
            proxy.wait_event("worker_started", mark=mark)
            let_pass(2.1)  # so that it is no crash after crash, which would be answered with pauses
        replies(load, 40)
    lost, failed = count("a worker of two killed, 10 times", load)
    assert failed == 0
    assert lost <= 10 * len(ASKED), "what was in flight at the most"


def test_a_worker_told_to_end(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    proxy = start(_config(nsd, resolver))
    with Load(proxy.address, ASKED) as load:
        for turn in range(10):
            replies(load, 40)
            mark = proxy.mark
            os.kill(_pid(proxy, turn % 2 + 1), signal.SIGTERM)
            proxy.wait_event("worker_died", mark=mark, status="exit code 0")
            let_pass(2.1)
    assert count("a worker of two told to end, 10 times", load) == (0, 0)


def test_a_worker_hangs(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    proxy = start(_config(nsd, resolver))
    with Load(proxy.address, ASKED) as load:
        replies(load, 40)
        mark = proxy.mark
        os.kill(_pid(proxy, 1), signal.SIGSTOP)
        proxy.wait_event("worker_started", mark=mark, worker=1, deadline_s=15)
        replies(load, 40)
    lost, failed = count("a worker of two hangs", load)
    assert failed == 0
    assert lost <= len(ASKED)


def test_the_control_process_hangs(nsd: Nsd, resolver: FakeInternet, start: Start, count: Count) -> None:
    """Workers go on with what they know; when it runs out, down the ladder."""
    proxy = start(_config(nsd, resolver))
    proxy.send(signal.SIGSTOP)
    try:
        with Load(proxy.address, ASKED) as load:
            let_pass(5)
    finally:
        proxy.send(signal.SIGCONT)
    assert count("the control process hangs for 5 s", load) == (0, 0)
    until(lambda: proxy.get("/readyz")[0] == 200, "ready again")
