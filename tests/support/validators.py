"""Validating resolvers in front of flatproxy that are asked all the time, and what each of them said."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
from attrs import define, field

from .bind_resolver import BindResolver
from .knot_resolver import KnotResolver
from .unbound import Unbound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .ports import Address


_PATIENCE_S = 40.0
"""While flatproxy restarts, a validator asks it at ever longer intervals; it says SERVFAIL where it gives up."""


class Validator(Protocol):
    """A resolver that validates."""

    host: str
    port: int


@define(frozen=True)
class Said:
    """One answer of a validator: `secure` with AD, an rcode's text, or what else came of it."""

    validator: str
    question: str
    what: str
    phase: str


@define(eq=False)
class Asking:
    """Asks validators the same questions over and over, each in a thread of its own, over UDP and TCP in turn."""

    validators: Sequence[Validator]
    questions: Sequence[tuple[str, str]]
    said: list[Said] = field(factory=list)
    phase: str = ""
    """What goes on meanwhile."""
    _end: threading.Event = field(factory=threading.Event)

    @property
    def bad(self) -> list[Said]:
        return [each for each in self.said if each.what != "secure"]

    def per_validator(self) -> dict[str, int]:
        return {
            type(each).__name__: sum(said.validator == type(each).__name__ for said in self.said)
            for each in self.validators
        }

    @contextmanager
    def running(self) -> Iterator[Asking]:
        threads = [threading.Thread(target=self._ask, args=(each,)) for each in self.validators]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._end.set()
            for thread in threads:
                thread.join(2 * _PATIENCE_S)

    def _ask(self, validator: Validator) -> None:
        turn = 0
        while not self._end.wait(0.02):
            name, rdtype = self.questions[turn % len(self.questions)]
            turn += 1
            query = dns.message.make_query(name, rdtype, want_dnssec=True)
            ask = dns.query.tcp if turn % 3 == 0 else dns.query.udp
            try:
                reply = ask(query, validator.host, timeout=_PATIENCE_S, port=validator.port)
                what = dns.rcode.to_text(reply.rcode()) if reply.rcode() else "insecure"
                if what == "insecure" and reply.flags & dns.flags.AD:
                    what = "secure"
            except (dns.exception.DNSException, OSError) as error:
                what = repr(error)
            self.said.append(Said(type(validator).__name__, f"{name} {rdtype}", what, self.phase))


@contextmanager
def validators(
    folder: Path, zone: str, authority: Address, anchors: Sequence[str], *, longest_s: int = 5, knot: bool = True
) -> Iterator[list[Validator]]:
    """Start Unbound, with and without aggressive denials, BIND, and Knot Resolver with the zone's keys as anchors."""
    with ExitStack() as stack:
        made: list[Validator] = []
        for aggressive in (False, True):
            (folder / f"unbound{aggressive}").mkdir()
            made.append(
                stack.enter_context(
                    Unbound(
                        folder=folder / f"unbound{aggressive}",
                        stubs=[zone],
                        authority=authority,
                        anchors=[f"{zone}. DNSKEY {anchor}" for anchor in anchors],
                        aggressive=aggressive,
                        longest_s=longest_s,
                    )
                )
            )
        (folder / "bind").mkdir()
        made.append(
            stack.enter_context(
                BindResolver(
                    folder=folder / "bind", zone=zone, authority=authority, anchors=anchors, longest_s=longest_s
                )
            )
        )
        if knot:
            (folder / "kresd").mkdir()
            made.append(
                stack.enter_context(
                    KnotResolver(folder=folder / "kresd", zone=zone, authority=authority, anchors=anchors)
                )
            )
        yield made
