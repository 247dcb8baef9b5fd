"""A zone-signing key as the pair of files K<zone>+<algorithm>+<tag>.key and .private: read, checked, made, written.

The format is that of BIND's and ldns's tools. Nothing here decides when a key signs. No octet of a private key may get
into an error, a log line or a `repr`.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from typing import TYPE_CHECKING

import dns.dnssec
import dns.exception
import dns.name
import dns.rdatatype
import dns.zonefile
from attrs import field, frozen
from dns.dnssecalgs import get_algorithm_cls_from_dnskey
from dns.dnssecalgs.cryptography import CryptographyPrivateKey
from dns.dnssecalgs.ecdsa import PrivateECDSAP256SHA256, PrivateECDSAP384SHA384
from dns.dnssecalgs.eddsa import PrivateED25519
from dns.dnssecalgs.rsa import PrivateRSASHA256
from dns.dnssectypes import Algorithm
from dns.rdtypes.ANY.DNSKEY import DNSKEY
from dns.rdtypes.dnskeybase import Flag

from flatproxy.config.secret_files import is_shared
from flatproxy.errors import ConfigError, Problem
from flatproxy.signing import private_format
from flatproxy.wire import names

if TYPE_CHECKING:
    from pathlib import Path


RSA_BITS = 2048
DNSSEC_PROTOCOL = 3
"""The one value that the protocol field may have (RFC 4034 section 2.1.2)."""
_PLAIN = re.compile(rb"[A-Za-z0-9_-]")


@frozen(kw_only=True)
class Key:
    """A key of the zone with this apex (wire form, lower case). `rdata` is its DNSKEY record's, in wire form."""

    zone: bytes
    dnskey: DNSKEY
    rdata: bytes
    tag: int
    private: CryptographyPrivateKey = field(repr=False, eq=False)

    @property
    def algorithm(self) -> int:
        """The algorithm's number (RFC 8624)."""
        return int(self.dnskey.algorithm)

    @property
    def is_ksk(self) -> bool:
        """Whether it has the SEP flag: such a key is meant to sign keys (RFC 4034 section 2.1.1)."""
        return bool(self.dnskey.flags & Flag.SEP)

    @property
    def record(self) -> str:
        """The DNSKEY record as a zone file has it, without a TTL."""
        return f"{_owner(self.zone)} IN DNSKEY {self.dnskey.to_text(chunksize=0)}"


def algorithm_name(key: Key) -> str:
    """Return the algorithm as RFC 8624 and the command line have it."""
    return Algorithm(key.algorithm).name


def _key(zone: bytes, dnskey: DNSKEY, private: CryptographyPrivateKey) -> Key:
    return Key(zone=zone, dnskey=dnskey, rdata=dnskey.to_wire() or b"", tag=dns.dnssec.key_id(dnskey), private=private)


def _owner(zone: bytes) -> str:
    return names.to_name(zone).to_text()


def generate(zone: bytes, algorithm: str) -> Key:
    """Return a new zone-signing key (flags 256) of one of the four algorithms that `flatproxy keygen` offers."""
    private: CryptographyPrivateKey
    if algorithm == "RSASHA256":
        private = PrivateRSASHA256.generate(RSA_BITS)
    elif algorithm == "ED25519":
        private = PrivateED25519.generate()
    elif algorithm == "ECDSAP384SHA384":
        private = PrivateECDSAP384SHA384.generate()
    else:
        private = PrivateECDSAP256SHA256.generate()
    return _key(zone, private.public_key().to_dnskey(Flag.ZONE, DNSSEC_PROTOCOL), private)


def write_pair(key: Key, directory: Path) -> Path:
    """Write the pair and return its path without `.key` and `.private`.

    The private file can be read by its owner only, from its first moment on. `FileExistsError` where one of the two
    exists; other `OSError`s as they come; nothing is left behind then.
    """
    base = directory / f"K{_file_name(key.zone)}+{key.algorithm:03}+{key.tag:05}"
    secret = private_format.file_text(Algorithm(key.algorithm), key.private.key)
    made: list[str] = []
    try:
        for suffix, text, mode in ((".private", secret, 0o600), (".key", f"{key.record}\n", 0o644)):
            number = os.open(f"{base}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(f"{base}{suffix}")
            with open(number, "w", encoding="ascii") as file:  # noqa: PTH123 - open already
                file.write(text)
    except OSError:
        for path in made:
            os.unlink(path)  # noqa: PTH108 - beside os.open
        raise
    return base


def _file_name(zone: bytes) -> str:
    """Return the zone as BIND has it in file names: what is no letter, digit, hyphen or underscore, as %XX."""
    labels = names.to_name(zone).labels
    return (
        ".".join(
            "".join(chr(octet) if _PLAIN.fullmatch(bytes((octet,))) else f"%{octet:02X}" for octet in label)
            for label in labels
        )
        or "."
    )


def read(base: Path, zone: bytes, place: str = "") -> Key:
    """Return the key of the pair at `base`, the path without `.key` and `.private`.

    Raises a `ConfigError` with the key path `place` where the pair cannot be read, is not whole, can be read by other
    users, or is no key of the zone `zone` (wire form, lower case) that can sign.
    """
    stem = str(base).removesuffix(".key").removesuffix(".private")
    pair = _Pair(stem, zone, place)
    dnskey = pair.public()
    private = pair.private(dnskey)
    return _key(zone, dnskey, private)


@frozen
class _Pair:
    """The two files at `stem`, and how errors speak of them."""

    stem: str
    zone: bytes
    place: str

    def _wrong(self, suffix: str, reason: str, write: str = "") -> ConfigError:
        name = names.to_text(self.zone)
        write = write or f"a zone-signing key of {name}; flatproxy keygen {name} makes one"
        if self.place:
            problem = Problem(key=self.place, value=f'"{self.stem}"', reason=f"{suffix}: {reason}", write=write)
        else:
            problem = Problem(reason=f"{self.stem}{suffix}: {reason}", write=write)
        return ConfigError(problems=(problem,))

    def _read(self, suffix: str, *, secret: bool) -> str:
        try:
            with open(self.stem + suffix, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - a stem has dots
                status = os.fstat(file.fileno())
                if secret and is_shared(status) and sys.platform != "win32":
                    reason = f"other users can use this file (its mode is {stat.S_IMODE(status.st_mode):04o})"
                    raise self._wrong(suffix, reason, f"the same, after: chmod 600 {self.stem}{suffix}")
                return file.read(1 << 16)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            name = names.to_text(self.zone)
            write = f"the path of a pair, without .key and .private; flatproxy keygen {name} makes one"
            raise self._wrong(suffix, reason, write) from None

    def public(self) -> DNSKEY:
        """Return what `.key` holds, a key of the zone that may sign its records."""
        text = self._read(".key", secret=False)
        try:
            rrsets = dns.zonefile.read_rrsets(
                text, rdclass=None, default_ttl=3600, relativize=False, origin=dns.name.root
            )
        except (dns.exception.DNSException, ValueError):
            raise self._wrong(".key", "not a DNSKEY record as zone files have it") from None
        if len(rrsets) != 1 or rrsets[0].rdtype != dns.rdatatype.DNSKEY or len(rrsets[0]) != 1:
            raise self._wrong(".key", "not one DNSKEY record and nothing else")
        dnskey = rrsets[0][0]
        if names.to_wire(rrsets[0].name) != self.zone:
            raise self._wrong(".key", f"the key of {rrsets[0].name.to_text(omit_final_dot=True)}")
        if not isinstance(dnskey, DNSKEY) or dnskey.protocol != DNSSEC_PROTOCOL or not dnskey.flags & Flag.ZONE:
            raise self._wrong(".key", "not the key of a zone (flag 256, protocol 3)")
        if dnskey.flags & Flag.REVOKE:
            raise self._wrong(".key", "the key is revoked")
        return dnskey

    def private(self, dnskey: DNSKEY) -> CryptographyPrivateKey:
        """Return what `.private` holds, the other half of this DNSKEY."""
        text = self._read(".private", secret=True)
        try:
            algorithm, secret = private_format.parse_file(text)
        except private_format.Unreadable as error:
            raise self._wrong(".private", str(error)) from None
        if algorithm == dnskey.algorithm:
            private = get_algorithm_cls_from_dnskey(dnskey)(key=secret)
            assert isinstance(private, CryptographyPrivateKey)
            if private.public_key().to_dnskey(dnskey.flags, dnskey.protocol).key == dnskey.key:
                return private
        raise self._wrong(".private", "not the private half of the key in the .key file")
