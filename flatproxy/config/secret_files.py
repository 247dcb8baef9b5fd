"""Files with a secret in them: read only where nobody else can read them. What a secret is for is not decided here."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, Final

from flatproxy.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

SECRET_LIMIT: Final = 1 << 16


def is_shared(status: os.stat_result) -> bool:
    """Tell whether other users than the owner can use a file.

    Root's own with a right of its group to read is not one: systemd gives a service its credentials so, with an access
    list that names the service's user and shows as that right.
    """
    rights = status.st_mode & 0o077
    return rights != 0 and not (rights == 0o040 and status.st_uid == status.st_gid == 0)


def read_secret(path: Path, key: str, at_least: int) -> bytes:
    """Return what is in a file, white space around it left out; `ConfigError` where others can read it, or it is short.

    `key` is the key path in the configuration, `at_least` the fewest octets.
    """

    def wrong(reason: str, write: str) -> ConfigError:
        return ConfigError(problems=(Problem(key=key, value=f'"{path}"', reason=reason, write=write),))

    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if is_shared(status) and sys.platform != "win32":
                reason = f"other users can use this file (its mode is {stat.S_IMODE(status.st_mode):04o})"
                raise wrong(reason, f"the same, after: chmod 600 {path}")
            secret = file.read(SECRET_LIMIT).strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise wrong(reason, "the path of a file that flatproxy can read") from None
    if len(secret) < at_least:
        reason = f"a secret has {at_least} octets or more" if secret else "this file is empty"
        raise wrong(reason, f"the same, after: head -c 32 /dev/urandom | base64 > {path}")
    return secret
