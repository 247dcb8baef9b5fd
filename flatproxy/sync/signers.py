"""Who signs updates: a TSIG key, or Kerberos by way of GSS-TSIG (RFC 3645).

The GSS library is an extra and imported where it is used.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any, Protocol

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TKEY
import dns.rrset
import dns.tsig
from attrs import field, frozen

from flatproxy.errors import ConfigError, FlatproxyError, Problem
from flatproxy.sync.keys import read_tsig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flatproxy.config.settings import Sync

    Exchange = Callable[[bytes], Awaitable[bytes]]

_GSS_MODE = 3
"""Key agreement by GSS-API (RFC 2930 section 2.5)."""
_LIFE_S = 3600
_ROUNDS = 8


class SyncFailed(FlatproxyError):
    """The record could not be written."""


class UpdateSigner(Protocol):
    """Gives the key that one update is signed with."""

    @property
    def name(self) -> str:
        """Return what messages call it."""

    async def key(self, exchange: Exchange, primary: dns.name.Name) -> dns.tsig.Key:
        """Return the key; `SyncFailed` where there is none. `primary` is the nameserver's name (SOA MNAME)."""


@frozen
class TsigSigner:
    """A key that both sides have."""

    shared: dns.tsig.Key = field(repr=False)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"the key {self.shared.name.to_text(omit_final_dot=True)}"

    async def key(self, exchange: Exchange, primary: dns.name.Name) -> dns.tsig.Key:  # noqa: ARG002 - as UpdateSigner's
        """Return the key."""
        return self.shared


@frozen
class GssSigner:
    """A key agreed on with the nameserver for each update, for the service DNS/MNAME, by this process's tickets."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return "Kerberos"

    async def key(self, exchange: Exchange, primary: dns.name.Name) -> dns.tsig.Key:
        """Agree on a key (RFC 3645 section 3). The tickets come from where Kerberos keeps them for this process."""
        import gssapi  # noqa: PLC0415 - an extra

        service = f"DNS@{primary.to_text(omit_final_dot=True).lower()}"
        # One label and a suffix of its own: Samba counts the octets of the TSIG as if its owner were not compressed.
        key_name = dns.name.from_text(f"{secrets.token_hex(8)}.key.")
        try:
            context = await asyncio.to_thread(_context, service)
            token = await asyncio.to_thread(context.step)
            for _ in range(_ROUNDS):
                reply = await exchange(_key_exchange(key_name, token))
                token = await asyncio.to_thread(context.step, _token(reply, key_name))
                if context.complete:
                    return dns.tsig.Key(key_name, context, dns.tsig.GSS_TSIG)
        except gssapi.exceptions.GSSError as error:
            raise SyncFailed(f"no Kerberos context with {service}: {' '.join(str(error).split())}") from None
        raise SyncFailed(f"no Kerberos context with {service}: it does not come to an end")


def _context(service: str) -> Any:  # noqa: ANN401 - the library has no annotations here
    import gssapi  # noqa: PLC0415 - an extra

    flags = gssapi.RequirementFlag
    return gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.hostbased_service),
        usage="initiate",
        flags=flags.mutual_authentication | flags.integrity | flags.replay_detection,
    )


def _key_exchange(key_name: dns.name.Name, token: bytes) -> bytes:
    """Return the TKEY query that carries a token (RFC 2930 section 4.3)."""
    query = dns.message.make_query(key_name, dns.rdatatype.TKEY, dns.rdataclass.ANY)
    query.flags = 0
    now = int(time.time())
    algorithm = dns.name.from_text("gss-tsig.")
    tkey = dns.rdtypes.ANY.TKEY.TKEY(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TKEY, algorithm, now, now + _LIFE_S, _GSS_MODE, 0, token
    )
    query.additional.append(dns.rrset.from_rdata(key_name, 0, tkey))
    return query.to_wire()


def _token(reply: bytes, key_name: dns.name.Name) -> bytes:
    """Return the token in a reply. Its signature proves nothing before the context is there; a false token fails."""
    try:
        message = dns.message.from_wire(reply, keyring=lambda _message, _name: None, continue_on_error=True)
    except dns.exception.DNSException as error:
        raise SyncFailed(f"the reply to the key exchange is odd: {error}") from None
    for rrset in message.answer:
        if rrset.rdtype == dns.rdatatype.TKEY and rrset.name == key_name:
            if rrset[0].error:
                raise SyncFailed(f"the nameserver refuses the key exchange: error {rrset[0].error}")
            return bytes(rrset[0].key)
    raise SyncFailed(f"the nameserver agrees on no key: {dns.rcode.to_text(message.rcode())}")


def signer_of(sync: Sync) -> UpdateSigner:
    """Return who signs; `ConfigError` where the key cannot be used or the library is not there."""
    if sync.key_file is not None:
        return TsigSigner(read_tsig(sync.key_file))
    try:
        import gssapi  # noqa: F401, PLC0415 - an extra
    except ImportError:
        reason = "Kerberos needs the package gssapi, which is not installed"
        write = "the same, after: pip install 'flatproxy[gss]' (or Debian's python3-gssapi)"
        raise ConfigError(problems=(Problem(key="sync.gss", value="true", reason=reason, write=write),)) from None
    return GssSigner()
