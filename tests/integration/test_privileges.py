"""Root for as long as it takes to bind, and for no longer."""

from __future__ import annotations

import os
import pwd
import re
import socket
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import dns
import dns.message
import pytest

from tests.support.configuration import configuration
from tests.support.ports import Address, text
from tests.support.service import (
    FLATTENED,
    NOBODY,
    Notes,
    Prepare,
    Service,
    assert_answers,
    lb,
    need_root,
    no_error,
    open_folder,
    readable_python,
    service,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.internet import FakeInternet
    from tests.support.scripted import Scripted

__all__ = ["lb", "no_error", "open_folder", "service"]


def _status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def _low_port() -> Address:
    """Return a loopback port that only root may bind and that was free a moment ago."""
    for port in Random().sample(range(600, 1024), 100):
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return "127.0.0.1", port
    raise AssertionError("no port below 1024 is free")


@pytest.fixture
def as_nobody(open_folder: Path, lb: FakeInternet, no_error: Scripted, service: Prepare) -> Callable[..., Service]:
    """Prepare a service that starts as root with `--user nobody`, and a state folder of that user's."""
    python, environ = readable_python()
    state = open_folder / "state"
    state.mkdir(0o700)
    os.chown(state, pwd.getpwnam(NOBODY).pw_uid, -1)

    def prepare(**more: Any) -> Service:
        config = configuration(
            upstream=[no_error.address],
            resolver=[lb.address],
            flatten=FLATTENED,
            tables={"state": {"path": str(state / "answers.sqlite")}},
            **more,
        )
        return service(config, open_folder, python=python, environ=environ, arguments=("--user", NOBODY))

    return prepare


def test_root_is_given_up_once_a_low_port_is_bound(as_nobody: Callable[..., Service]) -> None:
    proxy = as_nobody(dns=[text(_low_port())])
    proxy.start()
    entry = pwd.getpwnam(NOBODY)
    status = _status(proxy.pid)
    assert status["Uid"] == [str(entry.pw_uid)] * 4, "real, effective, saved and of the file system"
    assert status["Gid"] == [str(entry.pw_gid)] * 4
    assert set(map(int, status["Groups"])) == set(os.getgrouplist(NOBODY, entry.pw_gid))
    for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[kind][0], 16) == 0, kind
    assert_answers(proxy)
    assert [str(rdata) for rdata in proxy.ask(dns.message.make_query("example.com", "A")).answer[0]] == ["203.0.113.1"]
    assert proxy.listening[0][1] < 1024
    assert not proxy.since(0, "running_as_root")
    assert not proxy.since(0, "out_of_reach")


def test_the_threads_give_it_up_as_well(as_nobody: Callable[..., Service]) -> None:
    """State and reloads are threads' work."""
    proxy = as_nobody()
    proxy.start()
    proxy.reload(proxy.config)
    uid = str(pwd.getpwnam(NOBODY).pw_uid)
    owners = {
        tuple(re.findall(r"^Uid:\s+(.*)$", (task / "status").read_text(), re.MULTILINE)[0].split())
        for task in Path(f"/proc/{proxy.pid}/task").iterdir()
    }
    assert owners == {(uid,) * 4}


def test_the_state_file_is_that_users_alone(as_nobody: Callable[..., Service]) -> None:
    proxy = as_nobody()
    proxy.start()
    path = proxy.folder / "state" / "answers.sqlite"
    until(lambda: path.exists() and path.stat().st_size > 0, "the state is written")
    assert path.stat().st_uid == pwd.getpwnam(NOBODY).pw_uid
    assert path.stat().st_mode & 0o777 == 0o600
    proxy.stop()
    assert not proxy.since(0, "state_unusable")


def test_files_out_of_reach_are_told_at_once(as_nobody: Callable[..., Service]) -> None:
    proxy = as_nobody()
    proxy.path.write_text(proxy.config)
    proxy.path.chmod(0o600)
    (proxy.folder / "state" / "answers.sqlite").touch(0o600)
    proxy.start()
    first, second = [event["trouble"] for event in proxy.since(0, "out_of_reach")]
    assert f"nobody cannot read {proxy.path}, so SIGHUP will change nothing: chgrp " in first
    assert f"chown nobody {proxy.folder}/state/answers.sqlite" in second


def test_a_state_folder_out_of_reach_is_told_at_once(as_nobody: Callable[..., Service]) -> None:
    proxy = as_nobody()
    folder = proxy.folder / "state"
    os.chown(folder, 0, 0)
    proxy.start()
    (event,) = proxy.since(0, "out_of_reach")
    assert f"nobody cannot write to {folder}" in event["message"]
    assert f"install -d -o nobody -m 0700 {folder}" in event["message"]


def test_code_out_of_reach_is_an_error(as_nobody: Callable[..., Service], tmp_path: Path) -> None:
    """dnspython loads its record types when they are first seen, and takes what it cannot load for opaque octets."""
    proxy = as_nobody()
    (tmp_path / "dns").symlink_to(Path(dns.__file__).parent)  # in a folder for root alone
    proxy.environ = {**proxy.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), proxy.environ["PYTHONPATH"]))}
    code, said = proxy.refused()
    assert code == 1
    assert f"nobody cannot read {tmp_path}/dns/__init__.py" in said


def test_notes_go_on_after_root(as_nobody: Callable[..., Service], open_folder: Path) -> None:
    proxy = as_nobody()
    notes = Notes(open_folder / "notify")
    try:
        proxy.environ = {**proxy.environ, "NOTIFY_SOCKET": str(notes.path), "WATCHDOG_USEC": "400000"}
        proxy.start()
        until(lambda: notes.states() == ["READY=1"] and notes.count("WATCHDOG=1"), lambda: str(notes.heard), 5)
    finally:
        notes.close()


def test_root_without_user_is_warned_once(no_error: Scripted, service: Prepare) -> None:
    need_root()
    proxy = service(configuration(upstream=[no_error.address]))
    proxy.start()
    proxy.reload(proxy.config)
    (event,) = proxy.since(0, "running_as_root")
    assert event["level"] == "warn"
    assert "--user" in event["message"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("no-such-user-here", "this host has no such user"), ("root", "this is root"), ("", "this host has no such user")],
)
def test_a_user_that_cannot_be_is_2(no_error: Scripted, service: Prepare, name: str, said: str) -> None:
    config = configuration(upstream=[no_error.address])
    code, told = service(config, arguments=("--user", name)).refused()
    assert code == 2
    assert said in told
    assert "write: " in told


def _not_root(no_error: Scripted, service: Prepare, folder: Path, *arguments: str, **more: Any) -> Service:
    """Prepare a service that is nobody's from the start."""
    python, environ = readable_python()
    entry = pwd.getpwnam(NOBODY)
    options = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    config = configuration(upstream=[no_error.address], **more)
    return service(config, folder, python=python, environ=environ, arguments=arguments, options=options)


def test_user_without_root_is_2(no_error: Scripted, service: Prepare, open_folder: Path) -> None:
    code, said = _not_root(no_error, service, open_folder, "--user", NOBODY).refused()
    assert code == 2
    assert "only root can become another user" in said


def test_without_root_nothing_is_said_of_it(no_error: Scripted, service: Prepare, open_folder: Path) -> None:
    proxy = _not_root(no_error, service, open_folder)
    proxy.start()
    assert_answers(proxy)
    assert not proxy.since(0, "running_as_root")


def test_a_low_port_without_root_says_what_it_takes(no_error: Scripted, service: Prepare, open_folder: Path) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("this machine lets every user bind every port")
    code, said = _not_root(no_error, service, open_folder, dns=[text(_low_port())]).refused()
    assert code == 1
    assert "CAP_NET_BIND_SERVICE" in said


def test_a_low_port_without_root_by_sockets(no_error: Scripted, service: Prepare, open_folder: Path) -> None:
    need_root()
    address = _low_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(address)
        tcp.bind(address)
        tcp.listen()
        proxy = _not_root(no_error, service, open_folder, dns=[text(address)])
        proxy.passed = (udp, tcp)
        proxy.start()
        assert_answers(proxy)
        assert _status(proxy.pid)["Uid"] == [str(pwd.getpwnam(NOBODY).pw_uid)] * 4
