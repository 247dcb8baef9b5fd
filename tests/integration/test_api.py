"""The JSON is as its OpenAPI description says, whatever is asked: Schemathesis makes up the requests."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.configuration import configuration
from tests.support.internet import FakeInternet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.nsd import Nsd
    from tests.support.proxy import Proxy

    Start = Callable[..., Proxy]


@pytest.fixture
def internet() -> Iterator[FakeInternet]:
    made = FakeInternet()
    made.set("lb.test", "A", ["203.0.113.1"], 60)
    made.set("lb.test", "AAAA", [], 60)
    made.start()
    yield made
    made.stop()


def test_every_reply_is_as_described(nsd: Nsd, internet: FakeInternet, start: Start, tmp_path: Path) -> None:
    flatten: dict[str, dict[str, object]] = {
        "example.com": {"target": "lb.test"},
        "example.net": {"target": "lb.test", "shadow": True},
    }
    proxy = start(configuration(upstream=[nsd.address], resolver=[internet.address], flatten=flatten))
    assert proxy.http is not None
    host, port = proxy.http
    at = f"http://{host}:{port}"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            "run",
            f"{at}/api/openapi.json",
            "--max-examples",
            "30",
            "--no-color",
        ],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:]
