"""What `check` and `explain` say of the keys of signed zones."""

from __future__ import annotations

import asyncio
from functools import cache
from time import time
from typing import TYPE_CHECKING

import dns.message
import dns.rrset
import pytest
from attrs import define

from flatproxy.config.settings import Access, Dnssec, Endpoint, Listen, Settings, State, Upstream
from flatproxy.diagnose.signatures import SigningZones, signing_in, words
from flatproxy.errors import UpstreamTimeout
from flatproxy.flatten.stores.sqlite import write
from flatproxy.signing import keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dns.name
    import dns.rdatatype

ZONE = b"\7example\3com\0"
TTL_S = 300


@cache
def key(algorithm: str = "ED25519", number: int = 0) -> keys.Key:
    return keys.generate(ZONE, algorithm)


def text(made: keys.Key, flags: int = 256) -> str:
    return made.dnskey.to_text(chunksize=0).replace("256 ", f"{flags} ", 1)


THEIRS = text(key("ED25519", 1))


@define
class Nameserver:
    """Answers with these DNSKEY records; None: it is silent."""

    published: Sequence[str] | None

    async def ask(self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> dns.message.Message:
        if self.published is None:
            raise UpstreamTimeout
        made = dns.message.make_response(dns.message.make_query(name, rdtype))
        if self.published:
            made.answer.append(dns.rrset.from_text_list(name, TTL_S, "IN", rdtype, self.published))
        return dns.message.from_wire(made.to_wire())


def settings(folder: Path, *ours: keys.Key, state: str = "", age_s: float = 60.0, off: str = "") -> Settings:
    """Return settings with these keys, the first of which is in this state as the file has it."""
    paths = tuple(keys.write_pair(each, folder) for each in ours)
    if state:
        now = time()
        row = (ZONE, ours[0].algorithm, ours[0].tag, state, now - age_s, now - age_s + TTL_S, TTL_S, off)
        write(folder / "state", [], [row])
    return Settings(
        listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
        upstream=Upstream(servers=(Endpoint("127.0.0.1", 9),)),
        access=Access(zones=(ZONE,)),
        flatten={},
        dnssec={ZONE: Dnssec(key=paths)},
        state=State(path=folder / "state") if state else None,
    )


def said(configured: Settings, published: Sequence[str] | None) -> list[tuple[str, str, str]]:
    """Return severity, value and text of what is found."""
    probe = SigningZones(configured, lambda: Nameserver(published))  # type: ignore[arg-type, return-value]
    asyncio.run(probe.probe())
    return [(each.severity.name.lower(), each.value, f"{each.what}: {each.do}") for each in probe.found]


def test_a_key_that_is_not_there_is_to_be_published(tmp_path: Path) -> None:
    ((severity, value, what),) = said(settings(tmp_path, key()), [THEIRS])
    assert (severity, value) == ("warning", str(key().tag))
    assert "absent" in what
    assert key().record in what


def test_one_that_is_there_must_be_seen_for_its_ttl(tmp_path: Path) -> None:
    ((severity, _value, what),) = said(settings(tmp_path, key()), [THEIRS, text(key())])
    assert severity == "info"
    assert "5 min" in what


def test_one_that_waits_says_for_how_long(tmp_path: Path) -> None:
    ((severity, _value, what),) = said(settings(tmp_path, key(), state="waiting"), [THEIRS, text(key())])
    assert severity == "info"
    assert "waiting" in what
    assert "may sign in 3 min" in what or "may sign in 4 min" in what


def test_an_active_one_says_since_when(tmp_path: Path) -> None:
    configured = settings(tmp_path, key(), state="active", age_s=7_300.0)
    ((severity, _value, what),) = said(configured, [THEIRS, text(key())])
    assert severity == "ok"
    assert "active for 2 h" in what
    assert "flagged names are signed" in what
    assert next(iter(words(signing_in(configured, ZONE)))).startswith(f"key {key().tag} (ED25519): active for 2 h")


def test_an_active_one_does_not_sign_where_another_algorithm_is_not_ours(tmp_path: Path) -> None:
    configured = settings(tmp_path, key(), state="active", off="the reason")
    active, why = said(configured, [THEIRS, text(key()), text(key("ECDSAP256SHA256"), 257)])
    assert "are signed" not in active[2]
    assert why[0] == "warning"
    assert "nothing is signed" in why[2]
    assert "ECDSAP256SHA256" in why[2]
    assert "nothing is signed: the reason" in list(words(signing_in(configured, ZONE)))


def test_an_algorithm_that_is_ours_alone_signs_nothing(tmp_path: Path) -> None:
    found = said(settings(tmp_path, key("ECDSAP256SHA256")), [THEIRS, text(key("ECDSAP256SHA256"))])
    assert ("warning", "") in [(severity, value) for severity, value, _what in found]
    assert "no other key" in found[-1][2]


def test_two_keys_cover_a_rollover_of_algorithms(tmp_path: Path) -> None:
    ours = key(), key("ECDSAP256SHA256")
    published = [THEIRS, text(key("ECDSAP256SHA256", 1)), *map(text, ours)]
    assert [severity for severity, _value, _what in said(settings(tmp_path, *ours), published)] == ["info", "info"]


@pytest.mark.parametrize(("published", "word"), [(None, "not known"), ([], "not signed")])
def test_a_nameserver_without_an_answer_is_told(tmp_path: Path, published: list[str] | None, word: str) -> None:
    ((severity, _value, what),) = said(settings(tmp_path, key()), published)
    assert severity == "warning"
    assert word in what


def test_a_key_signing_key_is_warned_of(tmp_path: Path) -> None:
    base = keys.write_pair(key(), tmp_path)
    path = tmp_path / f"{base.name}.key"
    path.write_text(path.read_text().replace("256 ", "257 ", 1))
    configured = Settings(
        listen=Listen(dns=(Endpoint("127.0.0.1", 0),)),
        upstream=Upstream(servers=(Endpoint("127.0.0.1", 9),)),
        access=Access(zones=(ZONE,)),
        flatten={},
        dnssec={ZONE: Dnssec(key=(base,))},
    )
    found = said(configured, [THEIRS, text(key(), 257)])
    assert found[0][0] == "warning"
    assert "SEP" in found[0][2]


def test_a_pair_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    configured = settings(tmp_path, key())
    path = configured.dnssec[ZONE].key[0]
    (path.parent / f"{path.name}.private").chmod(0o644)
    ((severity, _value, what),) = said(configured, [THEIRS])
    assert severity == "error"
    assert "chmod 600" in what
