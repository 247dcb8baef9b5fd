"""Secure dynamic updates (GSS-TSIG, RFC 3645) through flatproxy to a Samba Active Directory domain controller.

The nearest thing to Windows Server DNS that runs here. All of it lives in a network namespace of its own, on loopback.
nsupdate complains about the TSIG of Samba's reply even when it talks to Samba directly, so what counts is the record
in the directory, and that direct and proxied behave alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define

from tests.support.child import Child, program, run
from tests.support.waiting import until

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

pytestmark = pytest.mark.timeout(400)  # half a minute of work for the controller, on a machine that does nothing else


@define
class Domain:
    """The controller at port `DIRECT` and flatproxy at `proxied`, both in the namespace."""

    environment: dict[str, str]
    proxied: int

    def update(self, name: str, address: str, port: int) -> str:
        """Run nsupdate with the administrator's ticket; its exit code and words are Samba's affair, see above."""
        script = f"server 127.0.0.1 {port}\nzone ad.test\nupdate add {name}.ad.test 60 A {address}\nsend\n"
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
        script = Path(__file__).parents[1] / "support" / "gss_update.py"
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, SYSTEM_PYTHON, str(script), str(port), name, address],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )
        return f"{done.returncode} {done.stdout}{done.stderr}"

    def look_up(self, name: str, port: int) -> str:
        ask = ("dig", "+short", "+tries=1", "+time=2", "@127.0.0.1", "-p", str(port), f"{name}.ad.test", "A")
        return run(("ip", "netns", "exec", NAMESPACE, *ask), check=False).strip()


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    for needed in ("ip", "samba", "samba-tool", "kinit", "nsupdate", "dig"):
        program(needed)
    if os.geteuid() != 0:
        pytest.skip("a network namespace and a domain controller need root")
    folder = tmp_path_factory.mktemp("ad")
    run(("ip", "netns", "add", NAMESPACE))
    children: list[Child] = []
    try:
        run(("ip", "netns", "exec", NAMESPACE, "ip", "link", "set", "lo", "up"))
        children.append(_start_samba(folder))
        environment = _kinit(folder)
        child = _start_proxy(folder)
        children.append(child)
        yield Domain(environment, _port_of(child))
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
    more = f"[global]\n server services = ldap, cldap, kdc, dns\n dns port = {DIRECT}\n log file = {folder}/log.%m\n"
    configuration.write_text(configuration.read_text().replace("[global]\n", more, 1))
    return Child.start(
        (
            *("ip", "netns", "exec", NAMESPACE, program("samba"), "--interactive", "--model=single"),
            *("--configfile", str(configuration), "--debug-stdout"),
        ),
        folder / "samba.log",
    )


def _kinit(folder: Path) -> dict[str, str]:
    """Get the administrator's ticket as soon as the controller gives one; return the environment that uses it."""
    (folder / "krb5.conf").write_text(KRB5)
    environment = {**os.environ, "KRB5_CONFIG": str(folder / "krb5.conf"), "KRB5CCNAME": str(folder / "tickets")}

    def try_once() -> bool:
        done = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, program("kinit"), "Administrator@AD.TEST"],
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


def _start_proxy(folder: Path) -> Child:
    (folder / "flatproxy.toml").write_text(CONFIG)
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


def test_a_secure_update_over_tcp_is_in_the_directory_afterwards(domain: Domain) -> None:
    said_directly = domain.update("direct-tcp", "192.0.2.71", DIRECT)
    said_through_us = domain.update("proxied-tcp", "192.0.2.72", domain.proxied)

    assert domain.look_up("direct-tcp", DIRECT) == "192.0.2.71"
    assert domain.look_up("proxied-tcp", DIRECT) == "192.0.2.72", said_through_us
    assert domain.look_up("proxied-tcp", domain.proxied) == "192.0.2.72"
    assert said_through_us == said_directly


def test_a_secure_update_over_udp_is_in_the_directory_afterwards(domain: Domain) -> None:
    if subprocess.run([SYSTEM_PYTHON, "-c", "import dns, gssapi"], capture_output=True, check=False).returncode:
        program("python3-gssapi and python3-dnspython")
    said_directly = domain.update_over_udp("direct-udp", "192.0.2.74", DIRECT)
    said_through_us = domain.update_over_udp("proxied-udp", "192.0.2.75", domain.proxied)

    assert said_directly == said_through_us == "0 NOERROR\n"
    assert domain.look_up("direct-udp", DIRECT) == "192.0.2.74"
    assert domain.look_up("proxied-udp", DIRECT) == "192.0.2.75"


def test_an_update_without_a_signature_is_refused_by_the_controller(domain: Domain) -> None:
    script = f"server 127.0.0.1 {domain.proxied}\nzone ad.test\nupdate add open.ad.test 60 A 192.0.2.73\nsend\n"
    said = run(("ip", "netns", "exec", NAMESPACE, "nsupdate"), stdin=script, check=False)

    assert "REFUSED" in said
    assert domain.look_up("open", DIRECT) == ""
