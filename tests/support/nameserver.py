"""What NSD, Knot and BIND have in common here: a folder, a port, a start with readiness, an end."""

from __future__ import annotations

import signal
from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import dns.exception
import dns.message
import dns.query
import dns.rcode
from attrs import define, field

from . import dnsio, packets
from .child import Child, program, run, start_until
from .lifetime import Startable
from .ports import Address, free_port
from .waiting import until
from .zones import KEY_NAME, KEY_SECRET, NSUPDATE_KEY, Zones

if TYPE_CHECKING:
    from pathlib import Path


def serial(address: Address, zone: str) -> int | None:
    """Return the serial that is served now, None where nobody answers with an SOA."""
    try:
        reply = dns.query.udp(dns.message.make_query(zone, "SOA"), address[0], timeout=0.5, port=address[1])
    except (dns.exception.DNSException, OSError):
        return None
    return int(reply.answer[0][0].serial) if reply.rcode() == dns.rcode.NOERROR and reply.answer else None


@define(eq=False, kw_only=True)
class Nameserver(Startable):
    """A real nameserver as a child process, authoritative for the zones, on one loopback address."""

    kind: ClassVar[str]
    binary: ClassVar[str]
    folder: Path
    zones: Zones
    host: str = "127.0.0.1"
    port: int = 0
    generous: bool = False
    """Whether the loopback may transfer and notify without a key, and cookies (RFC 7873) are answered."""
    child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> Address:
        return self.host, self.port

    @property
    def values(self) -> dict[str, object]:
        """What configurations are made of."""
        return {
            "host": self.host, "port": self.port, "folder": self.folder, "key": KEY_NAME, "secret": KEY_SECRET,
            "cookies": "yes" if self.generous else "no",
        }  # fmt: skip

    @abstractmethod
    def configure(self) -> list[str]:
        """Write the configuration and return the command that starts it in the foreground."""

    def start(self) -> None:
        """Start it on its port, or on one found free, and return when it answers for every zone."""
        program(self.binary)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.zones.write(self.folder)
        self._start()

    def _start(self) -> None:
        fixed = self.port

        def begin() -> Child:
            self.port = fixed or free_port(self.host)
            self.child = Child.start(self.configure(), self.folder / f"{self.kind}.log")
            return self.child

        start_until(begin, self.serves)

    def serves(self) -> bool:
        probe = packets.query(self.zones.names[0], packets.SOA)
        return all(serial(self.address, zone) is not None for zone in self.zones.names) and bool(
            dnsio.tcp(self.address, probe, 0.5)
        )

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def restart(self) -> None:
        """Start it again on the port that it had."""
        self._start()

    def change(self, zone: str, name: str, address: str) -> None:
        """Add an A record to a zone under the next serial, in the zone's file, and return when it is served."""
        assert self.child is not None
        before = serial(self.address, zone)
        assert before is not None
        self.zones.rewrite(self.folder, zone, before + 1, f"{name} A {address}\n")
        self.child.send(signal.SIGHUP)
        until(lambda: serial(self.address, zone) == before + 1, f"{self.kind} serves the new {zone}")


def update(address: Address, commands: str, *options: str, zone: str = "dynamic.test", check: bool = True) -> str:
    """Run nsupdate and return what it said."""
    host, port = address
    script = f"server {host} {port}\nzone {zone}\n{commands}\nsend\n"
    return run(["nsupdate", "-t", "5", "-r", "0", *options], stdin=script, check=check)


class Dynamic(Nameserver):
    """A nameserver that is changed by UPDATE."""

    def change(self, zone: str, name: str, address: str) -> None:
        update(self.address, f"update add {name}.{zone}. 60 A {address}", "-y", NSUPDATE_KEY, zone=zone)
