"""Secure dynamic updates (GSS-TSIG, RFC 3645) through flatproxy to a Samba Active Directory domain controller.

The nearest thing to Windows Server DNS that runs here. All of it lives in a network namespace of its own, on loopback.
nsupdate complains about the TSIG of Samba's reply even when it talks to Samba directly, so what counts is the record
in the directory, and that direct and proxied behave alike.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.active_directory import DIRECT, NAMESPACE, SYSTEM_PYTHON, VIEWS, Domain, controller, kinit
from tests.support.child import program, run
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(400)  # half a minute of work for the controller, on a machine that does nothing else


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Domain]:
    with controller(tmp_path_factory.mktemp("ad")) as made:
        yield made


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


def test_a_name_below_the_domain_is_kept_in_step_by_kerberos(domain: Domain) -> None:
    domain.update("host", "192.0.2.81", DIRECT)
    code, said = domain.sync("shop.ad.test")
    # The signature of Samba's reply verifies for nobody, so the zone itself is looked at.
    assert (code, said.splitlines()[1:]) == (0, ["+ shop.ad.test. 60 A 192.0.2.81"]), said
    assert "but the zone has it now" in said
    assert domain.look_up("shop", DIRECT) == "192.0.2.81"

    script = f"server 127.0.0.1 {DIRECT}\nzone ad.test\nupdate delete host.ad.test A\nupdate add host.ad.test 60 A"
    domain.nsupdate(f"{script} 192.0.2.82\nsend\n")
    code, said = domain.sync("shop.ad.test")
    assert (code, said.splitlines()[1:]) == (0, ["- shop.ad.test. A 192.0.2.81", "+ shop.ad.test. 60 A 192.0.2.82"])
    assert domain.look_up("shop", DIRECT) == "192.0.2.82"
    assert domain.sync("shop.ad.test") == (0, "shop.ad.test: in step\n")


def test_without_a_ticket_or_with_an_expired_one_nothing_is_written(domain: Domain) -> None:
    domain.update("host", "192.0.2.83", DIRECT)
    code, said = domain.sync("none.ad.test", tickets="nowhere")
    assert (code, "failed: no Kerberos context with DNS@dc1.ad.test" in said) == (1, True), said

    environment = kinit(domain.folder, "short", "-l", "5s")
    until(lambda: subprocess.run([program("klist"), "-s"], env=environment, check=False).returncode, "expired")
    code, said = domain.sync("none.ad.test", tickets="short")
    assert (code, "expired" in said.lower()) == (1, True), said
    assert domain.look_up("none", DIRECT) == ""

    assert domain.sync("none.ad.test")[0] == 0
    assert domain.look_up("none", DIRECT) != ""


def test_the_apex_of_the_domain_is_never_written(domain: Domain) -> None:
    code, said = domain.sync("ad.test")
    assert (code, "it is the apex of an Active Directory domain" in said) == (1, True), said
    assert "192.0.2" not in domain.look_up("", DIRECT)


def test_inside_clients_find_their_controllers_and_others_the_load_balancer(domain: Domain) -> None:
    """The members of the domain are in a view that passes; who is not gets the target's address at the apex."""
    domain.update("lb", "192.0.2.90", DIRECT)
    for name in ("", "dc1"):  # on loopback the controller does not say it by itself
        domain.update(name, "127.0.0.1", DIRECT)
    with domain.in_front(VIEWS) as port:
        assert domain.look_up("", port) == "127.0.0.1"
        assert domain.look_up("", port, client="127.9.0.1") == "192.0.2.90"
        for server in ("ad.test", "dc1.ad.test"):
            found = domain.ads_lookup(server)
            assert "Domain Controller: dc1.ad.test" in found, found
        listed = domain.list_share("ad.test", "sysvol")
        assert "  ad.test  " in listed, listed
    with domain.in_front(VIEWS.replace("127.0.0.0/24", "127.9.0.0/24")) as port:
        assert domain.look_up("", port) == "192.0.2.90"
        assert domain.look_up("", port, client="127.9.0.1") == "127.0.0.1"
        listed = domain.list_share("ad.test", "sysvol")
        assert "UNREACHABLE" in listed, listed  # nobody is at the load balancer's address
