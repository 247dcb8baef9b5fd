from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flatproxy.config import toml
from flatproxy.config.load import load
from flatproxy.config.problems import Refusal

from .configs import MINIMAL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LINES = [
    *(f'[flatten."{name}"]' for name in "abcdef"),
    'target = "x"',
    'types = ["A"]',
    'types = [\n[flatten."z"]\n]',
    "[listen]",
    'dns = ["a"]',
    "[flatten]",
    "flatten = 5",
    "flatten = {a = 1}",
    'flatten.y.target = "z"',
    '"q" = {target = "r"}',
    '[flatten."a".views.x]',
    '# [flatten."z"]',
    '["flatten"]',
    "[[flatten]]",
    'x = """\n[flatten."z"]\n"""',
    "[ flatten . 'k' ]",
    "include = ['a']",
    "",
]


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(toml, "_PIECE", 2)
        yield


@given(st.lists(st.sampled_from(LINES), max_size=14).map("\n".join))
@example('[flatten."a"]\n[flatten."b"]\n[flatten."c"]\n[flatten."a"]')
@example('[listen]\n[flatten."a"]\n[flatten."b"]\n[flatten."c"]\n[listen]')
@example('[flatten."a"]\n[flatten."b"]\n[flatten."c"]\nx = \'\'\'\n[flatten."d"]\n\'\'\'')
@example('[flatten]\n[flatten."a"]\n[flatten."b"]\n[flatten."c"]\n[flatten]')
@example('flatten = {a = 1}\n[flatten."b"]\n[flatten."c"]\n[flatten."d"]')
def test_pieces_say_what_the_whole_says(text: str) -> None:
    assert _said(toml.read_toml, text) == _said(tomllib.loads, text)


def _said(read: Callable[[str], dict[str, object]], text: str) -> tuple[object, ...]:
    """What it returns, in the order of the file, as problems are told; or why it refuses."""
    try:
        found = read(text)
    except Refusal as refusal:
        return (refusal.reason,)
    except ValueError as error:
        return (f"not TOML: {error}",)
    flatten = found.get("flatten")
    return found, list(found), list(flatten) if isinstance(flatten, dict) else flatten


def test_equal_tables_are_one_object() -> None:
    text = "".join(f'[flatten."n{number}"]\ntarget = "t{number % 2}"\ntypes = ["A"]\n' for number in range(20))
    tables = list(toml.read_toml(text)["flatten"].values())
    assert len({id(table) for table in tables}) == 2
    assert tables[0] is tables[2] is tables[18]


@pytest.mark.parametrize("kind", ["tables", "columns"])
def test_a_reload_makes_no_name_and_no_rule_anew(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "flatproxy.toml"

    def write(*names: str) -> None:
        if kind == "tables":
            path.write_text(MINIMAL + "".join(f'[flatten."{name}"]\ntarget = "lb.example.net"\n' for name in names))
        else:
            path.write_text(f'include = ["names.txt"]\n{MINIMAL}')
            (tmp_path / "names.txt").write_text("".join(f"{name} lb.example.net\n" for name in names))

    write("a.example.com", "b.example.com", "c.example.com")
    first = load(path).flatten
    write("c.example.com", "d.example.com", "A.example.com")
    second = load(path, before=first).flatten
    assert list(second) == [b"\1" + name + b"\7example\3com\0" for name in (b"c", b"d", b"a")]
    of_first = {name: name for name in first}
    assert [name is of_first.get(name) for name in second] == [True, False, True]
    assert {id(rule) for rule in (*first.values(), *second.values())} == {id(first[b"\1a\7example\3com\0"])}
    assert len(first) == 3
    assert (first.added, second.added) == (None, (b"\1d\7example\3com\0",))


def test_a_table_below_a_name_stays_with_it() -> None:
    table = '[flatten."n{0}.example.com"]\ntarget = "t.test"\n[flatten."n{0}.example.com".health]\ncheck = "http"\n'
    text = MINIMAL + "".join(map(table.format, range(500)))
    assert toml._read_pieces(text) == tomllib.loads(text)
