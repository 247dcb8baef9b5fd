from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from flatproxy.config.settings import Endpoint
from flatproxy.errors import ConfigError
from flatproxy.forward.listeners.sockets import ListenSocket
from flatproxy.process.systemd import Notifier, Passed, adopt, passed_sockets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PID = 4711

Open = Callable[..., socket.socket]
HandOver = Callable[..., int]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Open a bound socket that is closed after the test; TCP listens unless told otherwise."""
    found: list[socket.socket] = []

    def begin(kind: int, host: str = "127.0.0.1", port: int = 0, *, listen: bool = True) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
        found.append(sock)
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM and listen:
            sock.listen()
        return sock

    yield begin
    for sock in found:
        sock.close()


def _pair(opened: Open, host: str = "127.0.0.1") -> tuple[Endpoint, socket.socket, socket.socket]:
    for _ in range(50):
        tcp = opened(socket.SOCK_STREAM, host)
        port = tcp.getsockname()[1]
        try:
            return Endpoint(host, port), opened(socket.SOCK_DGRAM, host, port), tcp
        except OSError:
            continue
    raise AssertionError("no port for both")


def _refused(passed: list[Passed], addresses: list[Endpoint]) -> str:
    with pytest.raises(ConfigError) as caught:
        adopt(passed, addresses)
    return str(caught.value)


# What was passed


@pytest.fixture
def hand_over() -> Iterator[HandOver]:
    """Put duplicates of sockets side by side, as a child process finds them, and return the first's number."""
    made: list[int] = []

    def begin(*sockets: socket.socket) -> int:
        base = 200
        while any(_is_open(base + number) for number in range(len(sockets))):
            base += len(sockets)
        for number, sock in enumerate(sockets):
            made.append(os.dup2(sock.fileno(), base + number, inheritable=True))
        return base

    yield begin
    for descriptor in made:
        with suppress(OSError):  # closed by the test as a socket
            os.close(descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        fcntl.fcntl(descriptor, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _environ(count: int | str, pid: int = PID, names: str | None = None) -> dict[str, str]:
    found = {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "PATH": "/bin"}
    return found if names is None else {**found, "LISTEN_FDNAMES": names}


def test_the_descriptors_become_sockets(opened: Open, hand_over: HandOver) -> None:
    endpoint, udp, tcp = _pair(opened)
    environ = _environ(2, names="dns.socket:tcp")
    found = passed_sockets(environ, PID, hand_over(udp, tcp))
    try:
        assert [(each.socket.type, each.socket.getsockname(), each.name) for each in found] == [
            (socket.SOCK_DGRAM, (endpoint.host, endpoint.port), "dns.socket"),
            (socket.SOCK_STREAM, (endpoint.host, endpoint.port), "tcp"),
        ]
        for each in found:
            assert not each.socket.get_inheritable(), "no child of ours may keep the port"
            assert os.get_blocking(each.socket.fileno()) is False, "the road never waits in the kernel"
        assert environ == {"PATH": "/bin"}, "a child of ours must not take them for its own"
    finally:
        for each in found:
            each.socket.close()


@pytest.mark.parametrize(
    ("names", "expected"), [(None, "unknown"), ("", "unknown"), ("a", "a"), (":b", "unknown"), ("a:b:c", "a")]
)
def test_names_may_be_too_few_or_too_many(opened: Open, hand_over: HandOver, names: str | None, expected: str) -> None:
    (found,) = passed_sockets(_environ(1, names=names), PID, hand_over(opened(socket.SOCK_DGRAM)))
    assert found.name == expected
    found.socket.close()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_PID": str(PID)},
        _environ(0),
        _environ(1, pid=PID + 1),
        _environ(""),
        _environ("-1"),
        _environ("two"),
        {"LISTEN_FDS": "1", "LISTEN_PID": ""},
    ],
)
def test_nothing_is_taken_that_is_not_meant_for_this_process(
    opened: Open, hand_over: HandOver, environ: dict[str, str]
) -> None:
    assert passed_sockets(dict(environ), PID, hand_over(opened(socket.SOCK_DGRAM))) == []


def test_a_descriptor_that_is_no_socket_is_told(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(ConfigError, match="which is no socket") as caught:
        passed_sockets(_environ(1), PID, file.fileno())
    assert "write: " in str(caught.value)


def test_a_descriptor_that_is_not_open_is_told() -> None:
    number = 900
    assert not _is_open(number)
    with pytest.raises(ConfigError, match=f"descriptor {number}, which is no socket"):
        passed_sockets(_environ(1), PID, number)


# Which address they are for


def test_each_pair_is_found_by_its_address_whatever_the_order(opened: Open) -> None:
    one, one_udp, one_tcp = _pair(opened)
    two, two_udp, two_tcp = _pair(opened, "127.0.0.2")
    passed = [Passed(sock, "dns.socket") for sock in (two_tcp, one_udp, two_udp, one_tcp)]
    found = adopt(passed, [one, two])
    assert found.keys() == {one, two}
    assert found[one] == (ListenSocket("udp", one_udp), ListenSocket("tcp", one_tcp))
    assert found[two] == (ListenSocket("udp", two_udp), ListenSocket("tcp", two_tcp))


def test_an_address_that_was_not_passed_is_left_to_be_bound(opened: Open) -> None:
    one, udp, tcp = _pair(opened)
    other = Endpoint("127.0.0.3", 0)
    assert adopt([Passed(udp, "a"), Passed(tcp, "a")], [other, one]).keys() == {one}
    assert adopt([], [one, other]) == {}


def test_an_ipv6_address_is_compared_as_an_address(opened: Open) -> None:
    try:
        found, udp, tcp = _pair(opened, "::1")
    except OSError:
        pytest.skip("no IPv6 on this machine's loopback")
    written = Endpoint("0:0:0:0:0:0:0:1", found.port)
    assert adopt([Passed(udp, "a"), Passed(tcp, "a")], [written]).keys() == {written}


@pytest.mark.parametrize(
    ("missing", "given", "key"), [("UDP", "TCP", "ListenDatagram"), ("TCP", "UDP", "ListenStream")]
)
def test_half_a_pair_is_told_with_the_other_half(opened: Open, missing: str, given: str, key: str) -> None:
    endpoint, udp, tcp = _pair(opened)
    said = _refused([Passed(tcp if given == "TCP" else udp, "dns.socket")], [endpoint])
    assert f"systemd passed {endpoint} for {given} only: DNS needs UDP and TCP" in said
    assert f"write: {key}={endpoint} into the socket unit as well" in said
    assert missing in said


def test_a_socket_for_no_address_is_told_with_both_ways_out(opened: Open) -> None:
    endpoint, udp, tcp = _pair(opened)
    elsewhere = Endpoint(endpoint.host, 0)
    said = _refused([Passed(udp, "dns.socket"), Passed(tcp, "dns.socket")], [elsewhere])
    assert f"a socket of dns.socket for {endpoint} (UDP), which is not in listen.dns" in said
    assert f"a socket of dns.socket for {endpoint} (TCP), which is not in listen.dns" in said
    assert f'write: "{endpoint}" into listen.dns, or take ListenDatagram={endpoint} out of the socket unit' in said
    assert f"ListenStream={endpoint}" in said


def test_a_wildcard_is_not_the_address_that_it_covers(opened: Open) -> None:
    """Replies would leave from other addresses than the operator wrote."""
    endpoint, udp, tcp = _pair(opened)
    said = _refused([Passed(udp, "a"), Passed(tcp, "a")], [Endpoint("0.0.0.0", endpoint.port)])
    assert "which is not in listen.dns" in said


def test_a_socket_passed_twice_is_told(opened: Open) -> None:
    endpoint, udp, tcp = _pair(opened)
    said = _refused([Passed(udp, "a"), Passed(udp, "b"), Passed(tcp, "a")], [endpoint])
    assert f"a socket of b for {endpoint} (UDP) twice" in said


def test_a_connection_is_not_a_listener(opened: Open) -> None:
    """Accept=yes starts a service for each connection and passes that."""
    sock = opened(socket.SOCK_STREAM, listen=False)
    said = _refused([Passed(sock, "dns.socket")], [Endpoint(*sock.getsockname())])
    assert "that does not listen" in said
    assert "write: Accept=no" in said


def test_an_ipv6_wildcard_that_takes_ipv4_is_told() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.bind(("::", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        said = _refused([Passed(sock, "dns.socket")], [Endpoint("::", sock.getsockname()[1])])
    assert "that takes IPv4 as well" in said
    assert "write: BindIPv6Only=ipv6-only" in said


def test_another_kind_of_socket_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(tmp_path / "path"))
        assert "neither UDP nor TCP" in _refused([Passed(sock, "dns.socket")], [Endpoint("127.0.0.1", 53)])


def test_everything_wrong_is_told_at_once(opened: Open) -> None:
    endpoint, udp, _tcp = _pair(opened)
    stray = opened(socket.SOCK_DGRAM)
    said = _refused([Passed(udp, "a"), Passed(stray, "b")], [endpoint])
    assert "only: DNS needs UDP and TCP" in said
    assert "which is not in listen.dns" in said


# Notes


@pytest.fixture(params=["path", "abstract"])
def notes(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """systemd's end, and what NOTIFY_SOCKET says of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify")
            sock.bind(address)
        else:
            address = f"@flatproxy-test-{os.getpid()}-{id(sock)}"
            sock.bind("\0" + address[1:])
        yield sock, address


def test_each_note_is_one_datagram(notes: tuple[socket.socket, str]) -> None:
    end, address = notes
    environ = {"NOTIFY_SOCKET": address, "PATH": "/bin"}
    notifier = Notifier.from_environment(environ, PID)
    assert environ == {"PATH": "/bin"}
    notifier.ready("listening on 127.0.0.1:53")
    assert end.recv(4096) == b"READY=1\nSTATUS=listening on 127.0.0.1:53"
    notifier.ready()
    assert end.recv(4096) == b"READY=1"
    notifier.alive()
    assert end.recv(4096) == b"WATCHDOG=1"
    notifier.stopping()
    assert end.recv(4096) == b"STOPPING=1"


def test_a_reload_carries_the_time_it_began_at(notes: tuple[socket.socket, str]) -> None:
    """Type=notify-reload waits for a RELOADING=1 that is younger than its signal (sd_notify(3))."""
    end, address = notes
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address}, PID)
    found = []
    for _ in range(2):
        notifier.reloading()
        first, second = end.recv(4096).decode().split("\n")
        assert first == "RELOADING=1"
        key, _, value = second.partition("=")
        assert key == "MONOTONIC_USEC"
        found.append(int(value))
    assert 0 < found[0] <= found[1] < found[0] + 5_000_000


@pytest.mark.parametrize(
    ("watchdog", "expected"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID)}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(PID + 1)}, 0.0),
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_a_sign_of_life_is_due_at_half_the_time(
    notes: tuple[socket.socket, str], watchdog: dict[str, str], expected: float
) -> None:
    assert Notifier.from_environment({"NOTIFY_SOCKET": notes[1], **watchdog}, PID).watchdog_s == expected


@pytest.mark.parametrize("address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@nobody-listens-here"])
def test_without_systemd_nothing_is_said(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "30000000"}, PID)
    assert notifier.watchdog_s == 0.0
    notifier.ready("x")
    notifier.reloading()
    notifier.alive()
    notifier.stopping()


def test_systemd_going_away_or_not_reading_is_not_our_problem(notes: tuple[socket.socket, str]) -> None:
    end, address = notes
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address}, PID)
    for _ in range(2_000):  # far more than its queue takes
        notifier.alive()
    end.close()
    notifier.stopping()
