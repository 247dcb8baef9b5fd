"""From root to a user that may do little, once the ports are bound. There is no way back, and that is checked."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import dns
from attrs import frozen

from flatproxy.errors import ConfigError, FlatproxyError, Problem

if sys.platform != "win32":
    import grp
    import pwd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@frozen(kw_only=True)
class User:
    """Whom to become: `groups` are all of the user's groups, `gid` among them."""

    name: str
    uid: int
    gid: int
    groups: frozenset[int]


def is_root() -> bool:
    """Return whether this process may do everything; never true on Windows, which knows no such user."""
    return sys.platform != "win32" and os.geteuid() == 0


def find_user(name: str) -> User:
    """Return the user of that name; `ConfigError` where there is none, or where this process could not become it."""
    if sys.platform == "win32":
        raise _refused("--user needs a Unix", "no --user; run the service as a user of its own")
    else:  # noqa: RET506 - mypy knows the platform only so
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            write = f"useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
            raise _refused(f"--user {name}: this host has no such user", write) from None
        if entry.pw_uid == 0:
            raise _refused(f"--user {name}: this is root, who keeps every right", "a user that owns nothing else")
        if os.geteuid() != 0:
            raise _refused(f"--user {name}: only root can become another user", "no --user, or start it as root")
        groups = frozenset(os.getgrouplist(name, entry.pw_gid))
        return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups)


def _refused(reason: str, write: str) -> ConfigError:
    return ConfigError(problems=(Problem(reason=reason, write=write),))


def become(user: User) -> None:
    """Become that user for good, in all threads; `FlatproxyError` where anything of root is left."""
    if sys.platform != "win32":
        try:
            os.setgroups(sorted(user.groups))  # first the groups: afterwards nobody may change them
            os.setgid(user.gid)
            os.setuid(user.uid)
        except OSError as error:
            raise FlatproxyError(f"cannot become the user {user.name}: {error.strerror}") from None
        ids = {os.getuid(), os.geteuid()}, {os.getgid(), os.getegid()}, frozenset(os.getgroups())
        if ids != ({user.uid}, {user.gid}, user.groups) or _can_return():
            raise FlatproxyError(f"did not become the user {user.name} for good; refusing to run with root's rights")
        _check_code(user)


def _can_return() -> bool:
    """Return whether root can be had back; the attempt must fail."""
    if sys.platform != "win32":
        try:
            os.setuid(0)
        except OSError:
            return False
    return True


def _check_code(user: User) -> None:
    """Raise where the user cannot read the code.

    Parts are imported while it runs, and a record type that cannot be loaded would be misread rather than missed.
    """
    for file in (os.__file__, dns.__file__, __file__):
        if not os.access(file, os.R_OK):
            raise FlatproxyError(f"{user.name} cannot read {file}: install flatproxy where every user can read it")


def out_of_reach(user: User, read_again: Sequence[Path | None], state: Path | None) -> Iterator[str]:
    """Yield, as the user that the process is now, what of its files cannot be used any more, and what to do.

    Those of `read_again` are read at each reload.
    """
    for path in read_again:
        if path is not None and not os.access(path, os.R_OK):
            group = _group_name(user.gid)
            yield (
                f"{user.name} cannot read {path}, so SIGHUP will change nothing: chgrp {group} {path}; chmod g+r {path}"
            )
    if state is None:
        return
    folder = state.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield (
            f"{user.name} cannot write to {folder}, so no answers are kept over a restart: "
            f"install -d -o {user.name} -m 0700 {folder}"
        )
    if os.access(state, os.F_OK) and not os.access(state, os.R_OK | os.W_OK):
        yield f"{user.name} cannot read and write {state}: chown {user.name} {state}"


def _group_name(gid: int) -> str:
    if sys.platform != "win32":
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            pass
    return str(gid)
