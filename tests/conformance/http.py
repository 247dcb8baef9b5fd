"""The metrics page of a subject: fetched, and read as Prometheus reads it."""

from __future__ import annotations

import http.client
import re

_SAMPLE = re.compile(
    r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_][a-zA-Z0-9_]*=\"([^\"\\\n]|\\[\\\"n])*\",?)*\})? \S+( -?\d+)?",
)


def fetch(port: int, path: str = "/metrics", wait_s: float = 5.0) -> tuple[int, str]:
    """Return status and body; an OSError or HTTPException where there is none in time."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=wait_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8")
    finally:
        connection.close()


def series(text: str) -> dict[str, float]:
    """Return each series' value; a ValueError names the first line that is no text format (version 0.0.4)."""
    out = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if not _SAMPLE.fullmatch(line):
            raise ValueError(f"not a sample: {line!r}")
        key, value = line.rsplit(" ", 1)
        if key in out:
            raise ValueError(f"the same series twice: {key!r}")
        out[key] = float(value)
    return out
