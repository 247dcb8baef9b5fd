"""The TSIG key (RFC 8945) that updates are signed with, from a file as tsig-keygen writes it.

No error shows a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
import stat
import sys
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.tsig

from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.DOTALL)
_KEY = re.compile(r'\bkey\s+"?([^\s"{};]+)"?\s*\{([^}]*)\}\s*;?', re.DOTALL)
_FIELD = re.compile(r'\b(algorithm|secret)\s+"?([^\s";]+)"?\s*;')
_ALGORITHMS = ("hmac-sha1", "hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
_EXAMPLE = "a key as tsig-keygen writes it: tsig-keygen -a hmac-sha256 flatproxy > FILE"
_LARGEST = 65_536


def read_tsig(path: Path, place: str = "sync.key_file") -> dns.tsig.Key:
    """Return the one key in a file; `ConfigError` at the key path `place` where it cannot be used."""
    try:
        status = path.stat()
        with path.open(encoding="utf-8", errors="replace") as file:
            content = file.read(_LARGEST)
    except OSError as error:
        raise _refused(place, path, f"cannot be read: {error.strerror}", "the path of a file that can be") from None
    # Root's own with a right of its group is how systemd passes credentials.
    rights = status.st_mode & 0o077
    if sys.platform != "win32" and rights and not (rights == 0o040 and status.st_uid == status.st_gid == 0):
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        write = f"the same, after: chmod 0600 {path}"
        raise _refused(place, path, f"other users can use this file (its mode is {mode})", write)
    found = _KEY.findall(_COMMENT.sub(" ", content))
    if len(found) != 1:
        raise _refused(place, path, f"a file with one key is needed, this has {len(found)}", _EXAMPLE)
    name, inside = found[0]
    fields = dict(_FIELD.findall(inside))
    algorithm = fields.get("algorithm", "").lower().rstrip(".")
    if algorithm not in _ALGORITHMS:
        reason = f"its algorithm is not one of {', '.join(_ALGORITHMS)}"
        raise _refused(place, path, reason, _EXAMPLE)
    try:
        secret = base64.b64decode(fields.get("secret", ""), validate=True)
        made = dns.tsig.Key(dns.name.from_text(name), secret, dns.name.from_text(algorithm))
    except (dns.exception.DNSException, binascii.Error):
        raise _refused(place, path, "its name or secret is none", _EXAMPLE) from None
    if not secret:
        raise _refused(place, path, "it has no secret", _EXAMPLE)
    return made


def _refused(place: str, path: Path, reason: str, write: str) -> ConfigError:
    return ConfigError(problems=(Problem(key=place, value=f'"{path}"', reason=reason, write=write),))
