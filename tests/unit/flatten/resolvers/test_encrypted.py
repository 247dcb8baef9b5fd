"""A resolver over TLS, HTTPS and QUIC: one connection for all, what is verified, and what becomes of trouble."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import dns.message
import dns.rcode
import pytest

from flatproxy.config.resolvers import resolver
from flatproxy.config.settings import EncryptedServer, Endpoint
from flatproxy.errors import ChainBroken, FlatproxyError, UpstreamTimeout
from flatproxy.flatten.resolvers.encrypted import Authorities, EncryptedResolver
from tests.support.authority import Certificates
from tests.support.encrypted import EncryptedFront
from tests.support.internet import FakeInternet, Mood
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

NAME = "dns.example.net"
QUERY = dns.message.make_query("lb.test", "A")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def internet() -> Iterator[FakeInternet]:
    with FakeInternet() as running:
        running.set("lb.test", "A", ["203.0.113.1"])
        running.set("other.test", "A", ["203.0.113.2"])
        yield running


@pytest.fixture(params=["tls", "https", "quic"])
def front(request: pytest.FixtureRequest, authority: Certificates, internet: FakeInternet) -> Iterator[EncryptedFront]:
    with EncryptedFront(scheme=request.param, internet=internet, files=authority.issue(NAME)) as running:
        yield running


def server_of(front: EncryptedFront, name: str = NAME, path: str = "/dns-query") -> EncryptedServer:
    return EncryptedServer(
        scheme=front.scheme, endpoint=Endpoint(*front.address), name=name, path=path if front.scheme == "https" else ""
    )


@asynccontextmanager
async def opened(server: EncryptedServer, ca_file: Path | None) -> AsyncIterator[EncryptedResolver]:
    made = EncryptedResolver.opened(server, Authorities.read(ca_file))
    try:
        yield made
    finally:
        await made.close()


def address(response: dns.message.Message) -> str:
    return str(response.answer[0][0])


def test_many_questions_go_over_one_connection(front: EncryptedFront, authority: Certificates) -> None:
    async def talk() -> None:
        async with opened(server_of(front), authority.ca_file) as made:
            assert address(await made.ask(QUERY, 5)) == "203.0.113.1"
            other = dns.message.make_query("other.test", "A")
            answers = await asyncio.gather(*(made.ask(each, 5) for each in [QUERY, other] * 10))
            assert [address(answer) for answer in answers] == ["203.0.113.1", "203.0.113.2"] * 10

    asyncio.run(talk())
    if front.scheme != "https":  # HTTP/1.1 has one request at a time
        assert front.opened == 1
    assert front.asked == 21


def test_over_tls_the_order_of_answers_does_not_matter(internet: FakeInternet, authority: Certificates) -> None:
    async def talk(front: EncryptedFront) -> None:
        async with opened(server_of(front), authority.ca_file) as made:
            other = dns.message.make_query("other.test", "A")
            one, two = await asyncio.gather(made.ask(QUERY, 5), made.ask(other, 5))
            assert (address(one), address(two)) == ("203.0.113.1", "203.0.113.2")

    with EncryptedFront(scheme="tls", internet=internet, files=authority.issue(NAME), backwards=True) as front:
        asyncio.run(talk(front))


def test_a_certificate_for_another_name_is_not_good(front: EncryptedFront, authority: Certificates) -> None:
    async def talk() -> None:
        async with opened(server_of(front, "other.example.net"), authority.ca_file) as made:
            with pytest.raises(ChainBroken, match="certificate"):
                await made.ask(QUERY, 5)

    asyncio.run(talk())
    assert front.asked == 0


def test_an_authority_that_nobody_named_is_not_good(front: EncryptedFront, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path)

    async def talk(ca_file: Path | None) -> None:
        async with opened(server_of(front), ca_file) as made:
            with pytest.raises(ChainBroken, match="certificate"):
                await made.ask(QUERY, 5)

    asyncio.run(talk(stranger.ca_file))
    asyncio.run(talk(None))
    assert front.asked == 0


def test_an_address_can_be_the_name(internet: FakeInternet, authority: Certificates) -> None:
    async def talk(front: EncryptedFront) -> None:
        async with opened(server_of(front, "127.0.0.1"), authority.ca_file) as made:
            assert address(await made.ask(QUERY, 5)) == "203.0.113.1"

    for scheme in ("tls", "https", "quic"):
        files = authority.issue("127.0.0.1", stem="address")
        with EncryptedFront(scheme=scheme, internet=internet, files=files) as front:
            asyncio.run(talk(front))


def test_a_server_that_comes_back_is_asked_on_a_new_connection(front: EncryptedFront, authority: Certificates) -> None:
    async def talk() -> None:
        loop = asyncio.get_running_loop()
        async with opened(server_of(front), authority.ca_file) as made:
            await made.ask(QUERY, 5)
            await loop.run_in_executor(None, front.stop)
            with pytest.raises((ChainBroken, UpstreamTimeout)):
                await made.ask(QUERY, 0.4)
            await loop.run_in_executor(None, front.start)
            assert address(await made.ask(QUERY, 10)) == "203.0.113.1"

    asyncio.run(talk())


def test_a_connection_that_is_dead_without_a_word_costs_half_of_the_time(
    front: EncryptedFront, authority: Certificates
) -> None:
    """As behind an address translator that forgot it: what was unanswered is sent again on a new one."""

    async def talk() -> None:
        async with opened(server_of(front), authority.ca_file) as made:
            await made.ask(QUERY, 5)
            front.go_deaf()
            assert address(await made.ask(QUERY, 6)) == "203.0.113.1"

    asyncio.run(talk())
    assert front.opened >= 2


def test_silence_is_a_timeout_and_an_error_an_answer(
    front: EncryptedFront, authority: Certificates, internet: FakeInternet
) -> None:
    async def talk() -> None:
        async with opened(server_of(front), authority.ca_file) as made:
            await made.ask(QUERY, 5)
            internet.mood = Mood.SERVFAIL
            assert (await made.ask(QUERY, 5)).rcode() == dns.rcode.SERVFAIL
            internet.mood = Mood.SILENT
            with pytest.raises(UpstreamTimeout, match=f"{front.scheme}://.*no answer within 0.3 s"):
                await made.ask(QUERY, 0.3)

    try:
        asyncio.run(talk())
    finally:
        internet.mood = Mood.HONEST


def test_another_status_than_2xx_is_no_answer(internet: FakeInternet, authority: Certificates) -> None:
    async def talk(front: EncryptedFront) -> None:
        async with opened(server_of(front, path="/other"), authority.ca_file) as made:
            with pytest.raises(ChainBroken, match="404"):
                await made.ask(QUERY, 5)

    with EncryptedFront(scheme="https", internet=internet, files=authority.issue(NAME)) as front:
        asyncio.run(talk(front))


@pytest.mark.parametrize("scheme", ["tls", "https", "quic"])
def test_nobody_there(scheme: str, authority: Certificates) -> None:
    path = "/dns-query" if scheme == "https" else ""
    server = EncryptedServer(
        scheme=scheme,  # type: ignore[arg-type]
        endpoint=Endpoint("127.0.0.1", free_port()),
        name=NAME,
        path=path,
    )

    async def talk() -> None:
        async with opened(server, authority.ca_file) as made:
            with pytest.raises((ChainBroken, UpstreamTimeout)):
                await made.ask(QUERY, 1)

    asyncio.run(talk())


def test_a_file_without_certificates(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(FlatproxyError, match=r"resolver\.ca_file: .*no such file"):
        Authorities.read(file)
    file.write_text("nothing")
    with pytest.raises(FlatproxyError, match=r"resolver\.ca_file: .*no certificates in PEM form"):
        Authorities.read(file)


def test_what_is_written_is_what_is_asked() -> None:
    for text in (
        "tls://192.0.2.7:8853#dns.example.net",
        "quic://[2001:db8::7]:853#dns.example.net",
        "https://dns.example.net:443/dns-query@192.0.2.7",
    ):
        assert str(resolver(text)) == text
