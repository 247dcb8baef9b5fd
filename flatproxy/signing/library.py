"""Whether the signing library is there: dnspython's `dns.dnssec` on cryptography, the extra `flatproxy[dnssec]`.

This module must be importable without it. Import the others of this package after `require`.
"""

from __future__ import annotations

from flatproxy.errors import ConfigError, Problem


def require(place: str = "") -> None:
    """Return where signatures can be made, else raise a `ConfigError` at the key path `place` (empty: none)."""
    try:
        from dns.dnssecalgs import get_algorithm_cls  # noqa: PLC0415 - it may be half there
        from dns.dnssectypes import Algorithm  # noqa: PLC0415
        from dns.exception import UnsupportedAlgorithm  # noqa: PLC0415
    except ImportError as error:
        raise _missing(place) from error
    try:
        # dnspython knows no algorithm where it finds no cryptography, or an older one than it works with.
        get_algorithm_cls(Algorithm.ECDSAP256SHA256)
    except UnsupportedAlgorithm as error:
        raise _missing(place) from error


def _missing(place: str) -> ConfigError:
    reason = "signing needs the package cryptography, which is not installed or too old for dnspython"
    write = "the same, after: pip install 'flatproxy[dnssec]'"
    return ConfigError(problems=(Problem(key=place, reason=reason, write=write),))
