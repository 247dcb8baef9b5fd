"""The text of a `.private` file, versions 1.2 and 1.3: lines of a field and a base64 number.

BIND and ldns write it alike but for comments, times and the lengths of numbers. No error shows what a field holds.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from dns.dnssectypes import Algorithm

from flatproxy.errors import FlatproxyError

if TYPE_CHECKING:
    from collections.abc import Mapping

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey | rsa.RSAPrivateKey

_CURVES: Final[Mapping[int, ec.EllipticCurve]] = {
    Algorithm.ECDSAP256SHA256: ec.SECP256R1(),
    Algorithm.ECDSAP384SHA384: ec.SECP384R1(),
}
_RSA_FIELDS: Final = (
    "Modulus",
    "PublicExponent",
    "PrivateExponent",
    "Prime1",
    "Prime2",
    "Exponent1",
    "Exponent2",
    "Coefficient",
)


class Unreadable(FlatproxyError):
    """Not a private key in BIND's format."""


def parse_file(text: str) -> tuple[int, PrivateKey]:
    """Return the algorithm's number and the key; `Unreadable` where the text is no private key that can sign."""
    lines = dict(line.partition(":")[::2] for line in text.splitlines())
    if not lines.get("Private-key-format", "").strip().startswith("v1."):
        raise Unreadable("not a private key in BIND's format (Private-key-format: v1.2 or v1.3)")
    number = (lines.get("Algorithm", "").split() or [""])[0]
    if not number.isdecimal():
        raise Unreadable("without the number of its algorithm")
    if "Label" in lines:
        raise Unreadable("the key itself is in a hardware module, which is not supported")
    algorithm = int(number)
    try:
        return algorithm, _key(algorithm, lines)
    except KeyError as error:
        raise Unreadable(f"without the field {error.args[0]}") from None
    except (ValueError, binascii.Error):
        raise Unreadable("its numbers make no key") from None


def _key(algorithm: int, lines: Mapping[str, str]) -> PrivateKey:
    if algorithm in {Algorithm.RSASHA256, Algorithm.RSASHA512}:
        n, e, d, p, q, dmp1, dmq1, iqmp = (int.from_bytes(_octets(lines, name), "big") for name in _RSA_FIELDS)
        public = rsa.RSAPublicNumbers(e, n)
        return rsa.RSAPrivateNumbers(
            p=p, q=q, d=d, dmp1=dmp1, dmq1=dmq1, iqmp=iqmp, public_numbers=public
        ).private_key()
    if algorithm in _CURVES:
        return ec.derive_private_key(int.from_bytes(_octets(lines, "PrivateKey"), "big"), _CURVES[algorithm])
    if algorithm == Algorithm.ED25519:
        return ed25519.Ed25519PrivateKey.from_private_bytes(_octets(lines, "PrivateKey"))
    if algorithm == Algorithm.ED448:
        return ed448.Ed448PrivateKey.from_private_bytes(_octets(lines, "PrivateKey"))
    raise Unreadable(f"its algorithm, number {algorithm}, is not one that may sign any more, or not supported")


def _octets(lines: Mapping[str, str], name: str) -> bytes:
    return base64.b64decode(lines[name].strip(), validate=True)


def file_text(algorithm: Algorithm, key: PrivateKey) -> str:
    """Return a private key as version 1.2 has it."""
    if isinstance(key, rsa.RSAPrivateKey):
        secret = key.private_numbers()
        public = secret.public_numbers
        numbers = (public.n, public.e, secret.d, secret.p, secret.q, secret.dmp1, secret.dmq1, secret.iqmp)
        fields = {
            name: number.to_bytes((number.bit_length() + 7) // 8, "big")
            for name, number in zip(_RSA_FIELDS, numbers, strict=True)
        }
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        size = (key.key_size + 7) // 8
        fields = {"PrivateKey": key.private_numbers().private_value.to_bytes(size, "big")}
    else:
        fields = {"PrivateKey": key.private_bytes_raw()}
    head = f"Private-key-format: v1.2\nAlgorithm: {algorithm.value} ({algorithm.name})\n"
    return head + "".join(f"{name}: {base64.b64encode(octets).decode()}\n" for name, octets in fields.items())
