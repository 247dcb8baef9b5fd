"""Resolvers that are asked over TLS, HTTPS and QUIC, as a configuration writes them."""

from __future__ import annotations

import pytest

from flatproxy.config.problems import Refusal
from flatproxy.config.resolvers import resolver
from flatproxy.config.settings import EncryptedServer, Endpoint


@pytest.mark.parametrize(
    ("text", "scheme", "endpoint", "name", "path"),
    [
        ("tls://9.9.9.9:853#dns.quad9.net", "tls", ("9.9.9.9", 853), "dns.quad9.net", ""),
        ("tls://9.9.9.9#DNS.quad9.net", "tls", ("9.9.9.9", 853), "dns.quad9.net", ""),
        ("tls://[2001:db8::7]:8853#192.0.2.7", "tls", ("2001:db8::7", 8853), "192.0.2.7", ""),
        ("tls://2001:db8::7#a.test", "tls", ("2001:db8::7", 853), "a.test", ""),
        ("quic://192.0.2.7#a.test", "quic", ("192.0.2.7", 853), "a.test", ""),
        ("https://a.test:443/dns-query@192.0.2.7", "https", ("192.0.2.7", 443), "a.test", "/dns-query"),
        ("https://a.test/q@192.0.2.7", "https", ("192.0.2.7", 443), "a.test", "/q"),
        ("https://a.test:8443/q@[2001:db8::7]", "https", ("2001:db8::7", 8443), "a.test", "/q"),
        ("https://a.test/q@2001:db8::7", "https", ("2001:db8::7", 443), "a.test", "/q"),
        ("https://192.0.2.7/q", "https", ("192.0.2.7", 443), "192.0.2.7", "/q"),
        ("https://[2001:db8::7]:8443/q", "https", ("2001:db8::7", 8443), "2001:db8::7", "/q"),
    ],
)
def test_what_is_read(text: str, scheme: str, endpoint: tuple[str, int], name: str, path: str) -> None:
    found = resolver(text)
    assert isinstance(found, EncryptedServer)
    assert (found.scheme, found.endpoint, found.name, found.path) == (scheme, Endpoint(*endpoint), name, path)
    assert resolver(str(found)) == found


@pytest.mark.parametrize(
    ("text", "reason", "write"),
    [
        ("tls://192.0.2.7", "the name that its certificate must have is missing", "tls://192.0.2.7:853#NAME"),
        ("tls://dns.example.net#dns.example.net", "not an IP address", "tls://192.0.2.7:853#dns.example.net"),
        ("tls://192.0.2.7:0#a.test", "no port 0", "192.0.2.7:853"),
        ("tls://0.0.0.0#a.test", "unspecified", "tls://192.0.2.7"),
        ("tls://192.0.2.7#a b", "is not the name of a host", "tls://"),
        ("https://dns.example.net/dns-query", "its address is missing", "https://dns.example.net/dns-query@ADDRESS"),
        ("https://dns.example.net@192.0.2.7", "the path is missing", "https://dns.example.net/dns-query"),
        ("https://a.test/q@192.0.2.7:443", "the port stands in the URL", "https://a.test/q@192.0.2.7"),
        ("https://a.test/q{?dns}@192.0.2.7", "not a URL", "https://"),
        ("https:///q@192.0.2.7", "not a URL", "https://"),
        ("https://a.test:0/q@192.0.2.7", "no port 0", ":443"),
        ("https://a.test:x/q@192.0.2.7", "a port is a number", ""),
        ("h3://a.test/q", "a resolver is asked over tls://, https:// or quic://", "tls://"),
    ],
)
def test_what_is_refused(text: str, reason: str, write: str) -> None:
    with pytest.raises(Refusal) as refused:
        resolver(text)
    assert reason in refused.value.reason
    assert write in refused.value.write
