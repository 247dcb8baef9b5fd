"""What a test of sync has: a primary with a secondary, an internet that targets resolve in, and configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from .ports import Address, text
from .primaries import KEY_FILE, ZONE, Primary, records

if TYPE_CHECKING:
    from pathlib import Path

    from .internet import FakeInternet

OLD = (["192.0.2.1"], ["2001:db8::1"])
"""What the zone says of every name at first: A and AAAA."""


def owner_of(label: str) -> str:
    """Return the name that a test calls by its first label."""
    return ZONE if label == "apex" else f"{label}.{ZONE}"


@define(eq=False)
class Syncing:
    """Each name `nX` of the zone has a target of its own: `nX.lb.test`, which has an A and an AAAA record."""

    primary: Primary
    internet: FakeInternet
    folder: Path

    def point(self, label: str, addresses: list[str], others: list[str]) -> None:
        """Let the target of a name have these A and AAAA records."""
        self.internet.set(f"{label}.lb.test", "A", addresses, ttl=1)
        self.internet.set(f"{label}.lb.test", "AAAA", others, ttl=1)

    def has(self, label: str, *, secondary: bool = False) -> tuple[list[str], list[str]]:
        """Return what the zone has at a name, at the primary or at the secondary."""
        assert self.primary.secondary is not None
        address = self.primary.secondary.address if secondary else self.primary.address
        owner = owner_of(label)
        return records(address, owner, "A"), records(address, owner, "AAAA")

    def config(self, *labels: str, listen: bool = False, key: str = KEY_FILE, **sync: object) -> str:
        """Return a configuration that keeps these names in step, in files of its own."""
        where = self._where(labels)
        where.mkdir(exist_ok=True)
        key_path = where / "sync.key"
        key_path.write_text(key)
        key_path.chmod(0o600)
        server: Address = sync.pop("server", self.primary.address)  # type: ignore[assignment]
        more = "".join(f"{name} = {value!r}\n" for name, value in {"interval": "1s", **sync}.items())
        tables = [
            '[listen]\ndns = ["127.0.0.1:0"]\nhttp = "127.0.0.1:0"\n' if listen else "",
            f'[upstream]\nservers = ["{text(self.primary.address)}"]\n',
            f'[access]\nzones = ["{ZONE}"]\n',
            f'[resolver]\nservers = ["{text(self.internet.address)}"]\ntimeout = "1s"\n',
            '[defaults]\nspecial = "allow"\n',
            f'[state]\npath = "{where / "state.sqlite"}"\n',
            f'[sync]\nserver = "{text(server)}"\nkey_file = "{key_path}"\n{more}',
        ]
        tables += [f'[flatten."{owner_of(label)}"]\ntarget = "{label}.lb.test"\nsync = true\n' for label in labels]
        return "\n".join(tables)

    def _where(self, labels: tuple[str, ...]) -> Path:
        return self.folder / ("-".join(labels) or "none")

    def file(self, *labels: str, **more: object) -> Path:
        """Write a configuration without [listen], and return its path."""
        path = self._where(labels) / "flatproxy.toml"
        content = self.config(*labels, **more)  # type: ignore[arg-type]
        path.write_text(content)
        return path
