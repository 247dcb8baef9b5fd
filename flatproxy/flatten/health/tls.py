"""TLS for HTTPS checks: a context for each set of authorities, made while settings are prepared.

A system's own authorities take long to read, and much memory, so all checks with the same ones share a context.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from flatproxy.config.rules import Check

    Contexts = Mapping[tuple[Path | None, bool], ssl.SSLContext]


def contexts_for(checks: Mapping[Check, str]) -> Contexts:
    """Return the contexts by `ca_file` and `verify`, with the authorities as they are now.

    `checks` has each with its place in the configuration; `ConfigError` where a file cannot be used.
    """
    made: dict[tuple[Path | None, bool], ssl.SSLContext] = {}
    for check, place in checks.items():
        key = check.ca_file, check.verify
        if check.kind == "https" and key not in made:
            made[key] = _context(check, place)
    return made


def _context(check: Check, place: str) -> ssl.SSLContext:
    if not check.verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        context = ssl.create_default_context(cafile=str(check.ca_file) if check.ca_file is not None else None)
    except OSError:  # an SSLError is one, too
        reason = "no certificates in PEM form can be read there"
        write = "the path of a file that has some, or no such line for the system's"
        problem = Problem(key=f"{place}.ca_file", value=f'"{check.ca_file}"', reason=reason, write=write)
        raise ConfigError(problems=(problem,)) from None
    context.hostname_checks_common_name = False  # RFC 9525 section 2
    return context


def failure_text(error: ssl.SSLError) -> str:
    """Return what an error of TLS says."""
    return f"TLS: {(error.reason or 'no connection').lower().replace('_', ' ')}"
