"""Looks at the certificate that DNS over TLS presents: can it be used, and for how long. It connects nowhere."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from flatproxy.diagnose import findings
from flatproxy.errors import FlatproxyError
from flatproxy.forward.listeners import listening

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flatproxy.config.settings import Listen
    from flatproxy.diagnose.findings import Finding

SOON_DAYS = 14
"""Certificates that are renewed by themselves have more time than that left."""
_DAY_S = 86_400


def about_certificate(listen: Listen) -> Iterator[Finding]:
    """Yield what is found, nothing without `[listen] tls`."""
    key, value = "listen.certificate", str(listen.certificate)
    try:
        certificate = listening.certificate_of(listen)
    except FlatproxyError as error:
        reason = str(error).partition(": ")[2] or str(error)
        do = (
            "write the files of a certificate chain and of its key, in PEM form, that the user who runs flatproxy reads"
        )
        yield findings.error(str(error).partition(":")[0], value, reason, do)
        return
    if certificate is None:
        return
    left_days = (certificate.expires_at - time()) / _DAY_S
    renew = "renew it, then reload: systemctl reload flatproxy, or SIGHUP"
    if left_days <= 0:
        yield findings.error(key, value, "has expired: clients that verify it are not answered", renew)
    elif left_days <= SOON_DAYS:
        yield findings.warning(key, value, f"expires in {left_days:.0f} days", renew)
    else:
        yield findings.fine(key, value, f"good for {left_days:.0f} more days")
