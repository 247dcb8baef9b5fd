"""Flagged names from included files: which files are read, what may stand in them, and how they say what is wrong."""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

import pytest
from attrs import define

from flatproxy.config.load import load
from flatproxy.errors import ConfigError

from .configs import MINIMAL, flattened, keys, problems

if TYPE_CHECKING:
    from pathlib import Path

    from flatproxy.config.settings import Settings

TABLE = '[flatten."{}.example.com"]\ntarget = "lb.example.net"\n'
ONE, TWO, THREE = (b"%c%b\7example\3com\0" % (len(label), label) for label in (b"one", b"two", b"three"))


@define
class Folder:
    path: Path

    @property
    def main(self) -> Path:
        return self.path / "flatproxy.toml"

    def write(self, name: str, content: str) -> Path:
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path

    def load(self, include: str, more: str = "") -> Settings:
        self.write("flatproxy.toml", f"include = {include}\n{MINIMAL}{more}")
        return load(self.main)

    def refused(self, include: str, more: str = "") -> list[str]:
        """What is wrong, each with what to write, without the name of the main file."""
        with pytest.raises(ConfigError) as caught:
            self.load(include, more)
        assert caught.value.file == str(self.main)
        return [str(problem).replace(f"{self.path}/", "") for problem in caught.value.problems]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_names_come_from_tables_and_from_lines(folder: Folder) -> None:
    folder.write("conf.d/b.toml", TABLE.format("one") + 'max_ttl = "7s"\n')
    folder.write(
        "names.txt", "# ours\n\ntwo.example.com lb.example.net\n  three.example.com.\tLB.example.net  # here\n"
    )
    settings = folder.load('["conf.d/*.toml", "names.txt"]', '[defaults]\nstale_ttl = "9s"\n')
    assert list(settings.flatten) == [ONE, TWO, THREE]
    assert [rule.max_ttl_s for rule in settings.flatten.values()] == [7, 300, 300]
    assert {rule.stale_ttl_s for rule in settings.flatten.values()} == {9}
    assert settings.flatten[TWO] is settings.flatten[THREE]


def test_equal_rules_are_one_wherever_they_stand(folder: Folder) -> None:
    folder.write("a.toml", TABLE.format("one"))
    folder.write("b.txt", "two.example.com lb.example.net")
    settings = folder.load('["a.toml", "b.txt"]', TABLE.format("three"))
    assert len({id(rule) for rule in settings.flatten.values()}) == 1


def test_files_of_one_pattern_are_sorted_and_each_is_read_once(folder: Folder) -> None:
    for name in ("two", "one", "three"):
        folder.write(f"conf.d/{name}.toml", TABLE.format(name))
    settings = folder.load('["conf.d/t*.toml", "conf.d/*.toml", "conf.d/one.toml"]')
    assert list(settings.flatten) == [THREE, TWO, ONE]


def test_a_wildcard_takes_neither_hidden_files_nor_backups(folder: Folder) -> None:
    for name in (".one.toml", "one.toml~", "one.toml.bak"):
        folder.write(f"conf.d/{name}", "nonsense")
    assert folder.load('["conf.d/*.toml"]').flatten == {}


def test_a_path_may_be_absolute(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    there = tmp_path_factory.mktemp("elsewhere")
    (there / "names").write_text("one.example.com lb.example.net\n")
    assert list(folder.load(f'["{there}/names"]').flatten) == [ONE]
    assert list(folder.load(f'["{there}/n*"]').flatten) == [ONE]


def test_signs_in_the_folders_own_name_are_no_wildcards(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "[odd]*")
    folder.path.mkdir()
    folder.write("conf.d/one.toml", TABLE.format("one"))
    assert list(folder.load('["conf.d/*.toml"]').flatten) == [ONE]


def test_the_digest_is_that_of_all_files_one_after_the_other(folder: Folder) -> None:
    folder.write("a.toml", TABLE.format("one"))
    folder.write("b.txt", "two.example.com lb.example.net\n")
    digest = folder.load('["b.txt", "*a.toml"]').digest
    whole = b"".join(path.read_bytes() for path in (folder.main, folder.path / "b.txt", folder.path / "a.toml"))
    assert digest == hashlib.sha256(whole).hexdigest()


def test_a_wildcard_may_match_nothing_where_its_folder_is(folder: Folder) -> None:
    (folder.path / "conf.d").mkdir()
    assert folder.load('["conf.d/*.toml"]').flatten == {}


@pytest.mark.parametrize(
    ("include", "said"),
    [
        ('["conf.d/*.toml"]', 'include[0] = "conf.d/*.toml": there is no folder conf.d\n    write: mkdir conf.d'),
        ('["names.txt"]', 'include[0] = "names.txt": there is no such file in '),
        ('["*.toml"]', 'include[0] = "*.toml": this file itself is among them\n    write: a folder for the others'),
        ('"names.txt"', 'include = "names.txt": an array of strings is needed, not a string\n    write: ["names.txt"]'),
        ("[1]", "include[0] = 1: a file to include is a string, not an integer"),
        ('[""]', 'include[0] = "": not the path of a file'),
        ('["conf.d/one.toml", "conf.d/one.toml"]', "the same as item [0]"),
        ('["."]', ": cannot be read: Is a directory"),
    ],
)
def test_what_names_no_file_is_refused(folder: Folder, include: str, said: str) -> None:
    assert said in folder.refused(include)[0]


def test_include_in_a_table_is_told_where_it_belongs(folder: Folder) -> None:
    """As it is when the line is written below a table."""
    found = problems(flattened(access={"zones": ["example.com"], "include": ["a.toml"]}))
    assert [problem.write for problem in found] == [
        'include = ["a.toml"] at the top of the file, before the first table'
    ]
    found = problems(flattened(flatten={"include": ["a.toml"]}))
    assert "at the top of the file, before the first table" in found[0].write


def test_includes_without_a_file_to_look_from_are_still_checked() -> None:
    assert keys(flattened(include=5)) == ["include"]
    assert keys(flattened(include=["a.toml"])) == []


LINES = [
    ("one.example.com", "a line has two columns, name and target, not 1", "example.com lb.example.net"),
    ("one.example.com lb.example.net 60", "two columns, name and target, not 3", "example.com lb.example.net"),
    ("one.example.net lb.example.net", "not in a zone of access.zones", 'like "one.example.net'),
    ("*.example.com lb.example.net", "flagged names are exact", "each name"),
    ("one.example.com 192.0.2.1", "an IP address is not a name", "a host name"),
    ("one.example.com One.Example.com.", "its own target", "another name"),
    ("ONE.example.com lb.example.net\none.example.com a.example.net", "the same name as in line 3", "one line"),
]


@pytest.mark.parametrize(("line", "reason", "write"), LINES)
def test_a_wrong_line_is_said_with_file_and_line(folder: Folder, line: str, reason: str, write: str) -> None:
    folder.write("names.txt", f"# first\n\n{line}\ntwo.example.com lb.example.net\n")
    (said,) = folder.refused('["names.txt"]')
    number = 2 + len(line.split("\n"))
    assert said.startswith(f'names.txt:{number}: "{line.split()[-2 if len(line.split()) == 4 else 0]}": ')
    assert reason in said
    assert write in said.partition("write: ")[2]


def test_many_wrong_lines_are_not_all_said(folder: Folder) -> None:
    folder.write("names.txt", "wrong\n" * 5_000)
    said = folder.refused('["names.txt"]')
    assert len(said) == 101
    assert said[-1].startswith("names.txt: the first 100 wrong lines are shown, what follows them was not read")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# names\n" + TABLE.format("one") + 'ttl = "1s"\n', 'a.toml:2: flatten."one.example.com".ttl = "1s": '),
        ('[flatten."x.example.net"]\ntarget = "lb.example.com"\n', 'a.toml:1: flatten."x.example.net": not in a zone'),
        ('flatten."one.example.com" = 5\n', 'a.toml: flatten."one.example.com" = 5: a table is needed'),
        ("flatten = 5\n", "a.toml: flatten = 5: a table is needed, not an integer"),
        ('[access]\nzones = ["."]\n', "a.toml:1: access = {zones"),
        ('include = ["b.toml"]\n', "a.toml: include = "),
        ("[flatten\n", "a.toml: not TOML: Expected ']'"),
        ("# \udcff\n", "a.toml: not UTF-8: line 1, octet 2"),
    ],
)
def test_wrong_tables_are_said_with_their_file(folder: Folder, content: str, said: str) -> None:
    path = folder.write("a.toml", "")
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    found = folder.refused('["a.toml"]')
    assert len(found) == 1
    assert found[0].startswith(said)
    assert "write: " in found[0]


@pytest.mark.parametrize(("first", "second"), [("a.toml", "b.toml"), ("a.toml", "b.txt"), ("a.txt", "b.toml")])
def test_a_name_in_two_files_is_said_with_both(folder: Folder, first: str, second: str) -> None:
    for name in (first, second):
        folder.write(name, TABLE.format("one") if name.endswith("toml") else "one.example.com lb.example.net")
    (said,) = folder.refused(f'["{first}", "{second}"]')
    assert said.startswith(f"{second}:1: ")
    assert f"the same name as in {first}\n" in said


def test_a_name_of_the_main_file_is_not_taken_again(folder: Folder) -> None:
    folder.write("names.txt", "one.example.com lb.example.net")
    (said,) = folder.refused('["names.txt"]', TABLE.format("one"))
    assert "the same name as in the file that includes this one" in said


def test_all_that_is_wrong_is_said_at_once(folder: Folder) -> None:
    folder.write("a.txt", "wrong\n")
    folder.write("b.toml", "[flatten\n")
    said = folder.refused('["a.txt", "b.toml", "c.toml"]', '[flatten."other.example.net"]\ntarget = "lb.example.net"\n')
    assert len(said) == 4


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
class TestWritableByOthers:
    def test_such_a_file_is_not_even_parsed(self, folder: Folder) -> None:
        path = folder.write("conf.d/a.toml", "nonsense")
        path.chmod(0o646)
        for include in ('["conf.d/*.toml"]', '["conf.d/a.toml"]'):
            (said,) = folder.refused(include)
            assert said.startswith("conf.d/a.toml: every user of this host can write it\n    write: chmod o-w ")

    def test_a_wildcard_takes_nothing_from_a_folder_that_anyone_can_put_files_into(self, folder: Folder) -> None:
        path = folder.write("conf.d/a.toml", TABLE.format("one"))
        path.parent.chmod(0o1777)
        (said,) = folder.refused('["conf.d/*.toml"]')
        assert "every user of this host can put files into conf.d" in said
        assert list(folder.load('["conf.d/a.toml"]').flatten) == [ONE]
        path.parent.chmod(0o755)
        assert list(folder.load('["conf.d/*.toml"]').flatten) == [ONE]
