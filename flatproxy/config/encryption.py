"""What can be wrong with the encrypted ways of a configuration that no single key shows. No file is opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flatproxy.config.problems import quoted
from flatproxy.config.settings import Endpoint
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Listen


def encryption_clashes(listen: Listen | None) -> Iterator[Problem]:
    """Yield what DNS over TLS lacks, and where somebody else listens already."""
    if listen is None:
        return
    given = {"certificate": listen.certificate, "key": listen.key}
    files = {"certificate": "/etc/flatproxy/tls/fullchain.pem", "key": "/etc/flatproxy/tls/privkey.pem"}
    if listen.tls:
        for key in (key for key, path in given.items() if path is None):
            reason = "is required where [listen] tls is there"
            yield Problem(key=f"listen.{key}", reason=reason, write=f"{key} = {quoted(files[key])}")
    else:
        for key, path in given.items():
            if path is not None:
                reason = "of use with [listen] tls only"
                write = 'tls = ["0.0.0.0:853"] as well, or no such line'
                yield Problem(key=f"listen.{key}", value=quoted(str(path)), reason=reason, write=write)
    taken = dict.fromkeys(listen.dns, "listen.dns") | ({listen.http: "listen.http"} if listen.http else {})
    for index, endpoint in enumerate(listen.tls):
        if endpoint.port and endpoint in taken:
            reason = f"{taken[endpoint]} listens there"
            write = quoted(str(Endpoint(endpoint.host, 853)))
            yield Problem(key=f"listen.tls[{index}]", value=quoted(str(endpoint)), reason=reason, write=write)
