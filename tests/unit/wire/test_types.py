from __future__ import annotations

import ast
from ipaddress import ip_address
from pathlib import Path

import pytest

from flatproxy.wire import types

IPV4 = bytes([192, 0, 2, 1])
IPV6 = b"\x20\x01\x0d\xb8" + bytes(11) + b"\1"
HTTPS = b"\0\1\0\0\1\0\3\2h2"
PACKAGE = Path(__file__).parents[3] / "flatproxy"


@pytest.mark.parametrize(("number", "text"), [(1, "A"), (28, "AAAA"), (65, "HTTPS"), (6, "SOA"), (65_280, "TYPE65280")])
def test_each_type_has_a_text(number: int, text: str) -> None:
    assert types.text_of(number) == text


def test_what_is_flattened_is_found_by_its_text() -> None:
    assert [types.number_of(text) for text in types.TEXTS] == [1, 28, 64, 65]
    assert {b"\0\1\0\1", b"\0\x1c\0\1", b"\0\x40\0\1", b"\0\x41\0\1"} == types.QUESTIONS
    assert [types.text_of_address(version) for version in (4, 6)] == ["A", "AAAA"]


@pytest.mark.parametrize(
    ("number", "rdata", "good"),
    [
        (1, IPV4, True),
        (1, IPV6, False),
        (1, b"", False),
        (28, IPV6, True),
        (28, IPV4, False),
        (65, HTTPS, True),
        (65, HTTPS[:-1], False),
        (65, b"", False),
    ],
)
def test_what_is_rdata_of_a_type(number: int, rdata: bytes, *, good: bool) -> None:
    assert types.is_rdata(number, rdata) is good


def test_rdatas_in_text() -> None:
    assert types.rdata_texts(1, [IPV4]) == ["192.0.2.1"]
    assert types.rdata_texts(28, [IPV6]) == ["2001:db8::1"]
    assert types.rdata_texts(65, [HTTPS]) == ['1 . alpn="h2"']
    assert str(types.rdata_texts(1, [IPV4, bytes([192, 0, 2, 2])])) == "192.0.2.1, 192.0.2.2"
    assert str(types.rdata_texts(1, [])) == "no address"
    assert str(types.rdata_texts(65, [])) == "no record"


def test_addresses_by_type() -> None:
    both = [ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    assert [types.address_rdatas(number, both) for number in (1, 28, 65)] == [(IPV4,), (IPV6,), ()]


def test_type_numbers_are_written_nowhere_else() -> None:
    """A module that has `TYPE_… = …`, or a mapping from a type's text to its number, says them a second time."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "wire" / "types.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found += [
                    f"{path.name}: {target.id}"
                    for target in targets
                    if isinstance(target, ast.Name) and target.id.startswith("TYPE_") and target.id != "TYPE_CHECKING"
                ]
            if isinstance(node, ast.Dict):
                keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                found += [f"{path.name}:{node.lineno}" for _ in keys & {"A", "AAAA"}]
    assert found == []
