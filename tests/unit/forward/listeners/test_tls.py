"""Certificates from files: what can be used, and what is said of what cannot."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization

from flatproxy.errors import FlatproxyError
from flatproxy.forward.listeners.tls import read_certificate
from tests.support.authority import Certificates


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("authority"))


def test_equal_files_are_equal_and_others_are_not(authority: Certificates) -> None:
    until = datetime(2050, 1, 1, tzinfo=UTC)
    files = authority.issue("ns.example.net", until=until)
    first = read_certificate(*files)
    assert first == read_certificate(*files)
    assert first.expires_at == until.timestamp()
    authority.issue("ns.example.net", until=until)
    assert read_certificate(*files) != first


@pytest.mark.parametrize(
    ("chain", "key", "what"),
    [
        ("one.pem", "two.key", r"listen\.key: .*two\.key: not the key of the certificate"),
        ("none.pem", "one.key", r"listen\.certificate: .*none\.pem: no such file"),
        ("one.pem", "none.key", r"listen\.key: .*none\.key: no such file"),
        ("one.key", "one.key", "no certificate in PEM form"),
        ("one.pem", "nonsense.key", "no private key in PEM form without a passphrase"),
        ("one.pem", "secret.key", "no private key in PEM form without a passphrase"),
        ("one.pem", "open.key", r"every user can use this file \(its mode is 0644\): chmod o= "),
    ],
)
def test_what_cannot_be_used(authority: Certificates, chain: str, key: str, what: str) -> None:
    folder = authority.folder
    for stem in ("one", "two"):
        if not (folder / f"{stem}.pem").exists():
            authority.issue("ns.example.net", stem=stem)
    octets = (folder / "one.key").read_bytes()
    secret = serialization.load_pem_private_key(octets, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"word")
    )
    for name, content, mode in (("nonsense", b"x", 0o600), ("secret", secret, 0o600), ("open", octets, 0o644)):
        (folder / f"{name}.key").write_bytes(content)
        (folder / f"{name}.key").chmod(mode)
    with pytest.raises(FlatproxyError, match=what):
        read_certificate(folder / chain, folder / key)


def test_a_key_that_its_group_may_read(authority: Certificates) -> None:
    """As Debian's ssl-cert group has it."""
    chain, key = authority.issue("ns.example.net", stem="group")
    key.chmod(0o640)
    assert read_certificate(chain, key).expires_at > 0
