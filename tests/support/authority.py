"""Certificates of an authority of the test's own, as files, and who trusts it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme
from attrs import define, field

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path


@define(eq=False)
class Certificates:
    """An authority that writes what it issues into a folder."""

    folder: Path
    authority: trustme.CA = field(factory=trustme.CA, init=False)

    def __attrs_post_init__(self) -> None:
        self.authority.cert_pem.write_to_path(str(self.ca_file))

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, *names: str, stem: str = "server", until: datetime | None = None) -> tuple[Path, Path]:
        """Write a chain and its key for these names or addresses, over those of the same stem; return their paths."""
        issued = self.authority.issue_cert(*names, not_after=until)
        chain, key = self.folder / f"{stem}.pem", self.folder / f"{stem}.key"
        chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        key.touch(mode=0o600)
        key.chmod(0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        return chain, key

    def client(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this authority alone."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        context.set_alpn_protocols(["dot"])
        return context
