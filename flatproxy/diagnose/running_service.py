"""What a running flatproxy says of itself, at the `http` address of the configuration: `check` repeats it.

Where nobody answers there, nothing is said: the service need not run while its file is checked.
"""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING, Any, Final

from flatproxy.diagnose import findings
from flatproxy.observe.troubles import ERROR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Endpoint, Settings
    from flatproxy.diagnose.findings import Finding

WITHIN_S: Final = 2.0
_MOST_OCTETS = 1_000_000
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognises them, binds nothing


async def about_running(settings: Settings) -> list[Finding]:
    """Return what is wrong with the service that runs by now."""
    endpoint = settings.listen.http
    if endpoint is None or not endpoint.port:
        return []
    try:
        status = await asyncio.to_thread(_status_at, endpoint)
        return list(_findings(endpoint, status))
    except (OSError, ValueError, KeyError, TypeError):
        return []  # nobody there, or somebody else


def _status_at(endpoint: Endpoint) -> Any:  # noqa: ANN401 - whatever JSON holds
    host = _LOOPBACK.get(endpoint.host, endpoint.host)
    host = f"[{host}]" if ":" in host else host
    with urllib.request.urlopen(f"http://{host}:{endpoint.port}/api/status", timeout=WITHIN_S) as reply:
        return json.loads(reply.read(_MOST_OCTETS))


def _findings(endpoint: Endpoint, status: Any) -> Iterator[Finding]:  # noqa: ANN401 - as above
    for each in status["findings"]:
        make = findings.error if each["severity"] == ERROR else findings.warning
        what = f"{each['what']}, since {each['since']}"
        yield make("listen.http", str(endpoint), what, f"the running service says so; see http://{endpoint}/")
    if status["well"]:
        yield findings.fine("listen.http", str(endpoint), "the running service says that all is well")
