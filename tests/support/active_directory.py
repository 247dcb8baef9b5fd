"""A Samba domain controller in a network namespace of its own, flatproxy in front of it, and their client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define

from .child import Child, program, run
from .waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMESPACE = f"flatproxy-ad-{os.getpid()}"
DIRECT = 5354
SYSTEM_PYTHON = "/usr/bin/python3"
"""The one that Debian's python3-gssapi is for."""
PASSWORD = "Passw0rd.42"

KRB5 = """[libdefaults]
 default_realm = AD.TEST
 dns_lookup_realm = false
 dns_lookup_kdc = false
 rdns = false
 dns_canonicalize_hostname = false
[realms]
 AD.TEST = {
  kdc = 127.0.0.1:88
 }
"""

CONFIG = """
[listen]
dns = ["127.0.0.1:0"]
[upstream]
servers = ["127.0.0.1:5354"]
[access]
zones = ["ad.test"]
update = ["127.0.0.1"]
"""

VIEWS = """
[listen]
dns = ["127.0.0.1:53"]
[upstream]
servers = ["127.0.0.1:5354"]
[access]
zones = ["ad.test"]
[views.inside]
clients = ["127.0.0.0/24"]
[flatten."ad.test"]
target = "lb.ad.test"
types = ["A"]
special = "allow"
[flatten."ad.test".views.inside]
action = "pass"
"""
"""The controllers are found by who asks from 127.0.0.0/24, at the port where members of the domain ask."""

CLIENT = """[global]
 workgroup = AD
 realm = AD.TEST
 security = ads
 cache directory = {folder}
 lock directory = {folder}
 private dir = {folder}
 state directory = {folder}
"""

SYNC = """
[upstream]
servers = ["127.0.0.1:5354"]
[access]
zones = ["ad.test"]
[state]
path = "{state}"
[sync]
gss = true
interval = "1s"
[flatten."{name}"]
target = "host.ad.test"
types = ["A"]
special = "allow"
sync = true
"""
"""The target is in the controller's own zone, so nobody else is asked."""


@define
class Domain:
    """The controller at port `DIRECT` and flatproxy at `proxied`, both in the namespace."""

    environment: dict[str, str]
    proxied: int
    folder: Path

    def update(self, name: str, address: str, port: int) -> str:
        return self.nsupdate(
            f"server 127.0.0.1 {port}\nzone ad.test\nupdate add {f'{name}.ad.test'.lstrip('.')} 60 A {address}\nsend\n"
        )

    def nsupdate(self, script: str) -> str:
        """Run nsupdate with the administrator's ticket; its exit code and words are Samba's affair, see above."""
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, program("nsupdate"), "-g"],
            input=script,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def update_over_udp(self, name: str, address: str, port: int) -> str:
        """Send the update over UDP, which nsupdate never does, and return what it printed."""
        script = Path(__file__).with_name("gss_update.py")
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, SYSTEM_PYTHON, str(script), str(port), name, address],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def sync(self, name: str, tickets: str = "tickets") -> tuple[int, str]:
        """Run `flatproxy sync --once` for one name, with these tickets; return its exit code and words."""
        file = self.folder / f"{name}.toml"
        file.write_text(SYNC.format(name=name, state=self.folder / f"{name}.sqlite"))
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, sys.executable, "-m", "flatproxy", "sync", "--config", file, "--once"],
            capture_output=True,
            text=True,
            env={**self.environment, "KRB5CCNAME": str(self.folder / tickets), "PYTHONPATH": str(self._gssapi())},
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def _gssapi(self) -> Path:
        """Return a folder with Debian's gssapi alone, for a Python of the same version."""
        folder, packages = self.folder / "gssapi-alone", Path("/usr/lib/python3/dist-packages")
        if not folder.exists():
            folder.mkdir()
            for each in ("gssapi", "decorator.py"):
                (folder / each).symlink_to(packages / each)
        command = [sys.executable, "-c", "import gssapi"]
        if subprocess.run(command, env={"PYTHONPATH": str(folder)}, capture_output=True, check=False).returncode:
            program("a python3-gssapi for this Python")
        return folder

    @contextmanager
    def in_front(self, config: str) -> Iterator[int]:
        """Start another flatproxy with this configuration; its port."""
        child = _start_proxy(Path(tempfile.mkdtemp(dir=self.folder)), config)
        try:
            yield _port_of(child)
        finally:
            child.kill()

    def ads_lookup(self, server: str) -> str:
        """Return what `net ads lookup` says of a server."""
        return self._as_member(f"{program('net')} ads lookup -S {server}")

    def list_share(self, server: str, share: str) -> str:
        """Return what `smbclient` lists of a server's share."""
        who = f"--user Administrator%{PASSWORD} --command ls"
        return self._as_member(f"{program('smbclient')} //{server}/{share} {who}")

    def _as_member(self, ask: str) -> str:
        """Run one of Samba's clients, which looks names up as members of the domain do: at port 53."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))  # Samba's clients remember where a name was
        (folder / "smb.conf").write_text(CLIENT.format(folder=folder))
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")
        ask += f" --configfile {folder}/smb.conf"
        command = f"mount --bind {folder}/resolv.conf /etc/resolv.conf && exec timeout 30 {ask}"
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, "sh", "-c", command],  # in a mount namespace of its own
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )
        return done.stdout + done.stderr

    def look_up(self, name: str, port: int, client: str = "127.0.0.1") -> str:
        ask = (
            "dig",
            "+short",
            "+tries=1",
            "+time=2",
            "@127.0.0.1",
            "-b",
            client,
            "-p",
            str(port),
            f"{name}.ad.test".lstrip("."),
            "A",
        )
        return run(("ip", "netns", "exec", NAMESPACE, *ask), check=False).strip()


@contextmanager
def controller(folder: Path) -> Iterator[Domain]:
    """Start it all; skip where this is not root."""
    for needed in ("ip", "samba", "samba-tool", "kinit", "nsupdate", "dig"):
        program(needed)
    if os.geteuid() != 0:
        pytest.skip("a network namespace and a domain controller need root")
    run(("ip", "netns", "add", NAMESPACE))
    children: list[Child] = []
    try:
        run(("ip", "netns", "exec", NAMESPACE, "ip", "link", "set", "lo", "up"))
        children.append(_start_samba(folder))
        environment = kinit(folder)
        child = _start_proxy(folder)
        children.append(child)
        yield Domain(environment, _port_of(child), folder)
    finally:
        for child in reversed(children):
            child.kill()
        run(("ip", "netns", "del", NAMESPACE))


def _start_samba(folder: Path) -> Child:
    settings = ("interfaces=lo", "bind interfaces only=yes")
    run(
        (
            *("ip", "netns", "exec", NAMESPACE, program("samba-tool"), "domain", "provision"),
            *("--realm=AD.TEST", "--domain=AD", "--server-role=dc", "--dns-backend=SAMBA_INTERNAL"),
            *(f"--adminpass={PASSWORD}", "--host-name=dc1", "--host-ip=127.0.0.1", f"--targetdir={folder / 'dc'}"),
            *(f"--option={setting}" for setting in settings),
        ),
        timeout_s=300,
    )
    configuration = folder / "dc" / "etc" / "smb.conf"
    services = "s3fs, winbindd, ldap, cldap, kdc, dns"
    more = f"[global]\n server services = {services}\n dns port = {DIRECT}\n log file = {folder}/log.%m\n"
    configuration.write_text(configuration.read_text().replace("[global]\n", more, 1))
    return Child.start(
        (
            *("ip", "netns", "exec", NAMESPACE, program("samba"), "--interactive", "--model=single"),
            *("--configfile", str(configuration), "--debug-stdout"),
        ),
        folder / "samba.log",
    )


def kinit(folder: Path, tickets: str = "tickets", *options: str) -> dict[str, str]:
    """Get the administrator's ticket as soon as the controller gives one; return the environment that uses it."""
    (folder / "krb5.conf").write_text(KRB5)
    environment = {**os.environ, "KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5CCNAME": str(folder / tickets)}

    def try_once() -> bool:
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, program("kinit"), *options, "Administrator@AD.TEST"],
            input=f"{PASSWORD}\n",
            capture_output=True,
            text=True,
            env=environment,
            timeout=30,
            check=False,
        )
        return done.returncode == 0

    until(try_once, "a ticket from the controller", 60)
    return environment


def _start_proxy(folder: Path, config: str = CONFIG) -> Child:
    (folder / "flatproxy.toml").write_text(config)
    return Child.start(
        (
            *("ip", "netns", "exec", NAMESPACE, sys.executable, "-m", "flatproxy", "run"),
            *("--config", str(folder / "flatproxy.toml"), "--log-format", "json"),
        ),
        folder / "flatproxy.log",
    )


def _port_of(proxy: Child) -> int:
    def probe() -> int | None:
        events = [json.loads(line) for line in proxy.log.read_text().splitlines()]
        listening = next((event for event in events if event["event"] == "listening"), None)
        return int(listening["dns"][0].rpartition(":")[2]) if listening else None

    return until(probe, proxy.tail)
