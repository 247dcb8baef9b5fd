"""The files that `include` names: which they are, and what stands in them. It does not know what a name or a rule is.

A file whose name ends in `.toml` holds `[flatten."NAME"]` tables, any other lines of two columns, name and target. A
file is not looked into where somebody else could have put it there or could write it.
"""

from __future__ import annotations

import re
import stat
import sys
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from flatproxy.config.problems import Refusal, quoted
from flatproxy.config.toml import read_toml
from flatproxy.config.values import array, text
from flatproxy.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_EXAMPLE = '["conf.d/*.toml", "names.txt"]'
BLOCK = 8_192
"""Octets of lines that are read one after the other; some more to the end of the last one."""
_TOML_KEY = re.compile(r'flatten\."(?:[^"\\]|\\.)*"')


@frozen
class Included:
    """One file that was read. `tables` is what TOML had; None for a file of two columns."""

    file: str
    content: str
    tables: Mapping[str, object] | None = None

    def blocks(self) -> Iterator[tuple[int, str]]:
        """Yield some lines after the others, with the number of the first: of a million few are there at a time."""
        start, number = 0, 1
        while start < len(self.content):
            end = self.content.find("\n", start + BLOCK)
            # What follows the last line is none.
            block = self.content[start:end] if end >= 0 else self.content[start:].removesuffix("\n")
            yield number, block
            start, number = (end + 1 if end >= 0 else len(self.content)), number + block.count("\n") + 1

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield number and text of each line."""
        for first, block in self.blocks():
            yield from enumerate(block.split("\n"), first)

    def place(self, key: str) -> str:
        """Return where the table of a key stands: file, line where that can be told, and the key."""
        found = _TOML_KEY.match(key)
        header = f"[{found[0]}]" if found else f"[{key.partition('.')[0]}]"
        line = next((number for number, written in self.lines() if written.strip().startswith(header)), 0)
        return f"{self.file}:{line}: {key}" if line else f"{self.file}: {key}"


def _pattern(value: object) -> str:
    pattern = text(value, "a file to include", '"conf.d/*.toml"')
    if not pattern or "\0" in pattern:
        raise Refusal("not the path of a file, nor a pattern of such", '"conf.d/*.toml"')
    return pattern


read_include = array(_pattern, example=_EXAMPLE)


def read_file(path: Path) -> bytes:
    """Return what is in a file; `Refusal` where it cannot be read, or where others can write it."""
    try:
        data = path.read_bytes()
        writable = _is_writable(path)
    except (OSError, ValueError) as error:
        reason = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise Refusal(reason, "the path of a file that can be read") from None
    if writable:
        # Whoever can write it can send the zone's visitors anywhere.
        raise Refusal("every user of this host can write it", f"chmod o-w {path}")
    return data


def _is_writable(path: Path) -> bool:
    return sys.platform != "win32" and bool(path.stat().st_mode & stat.S_IWOTH)


def toml_of(data: bytes) -> tuple[str, dict[str, object]]:
    """Return text and tables of a TOML file; `Refusal` where it has none."""
    decoded = _decoded(data)
    return decoded, read_toml(decoded)


def _decoded(data: bytes) -> str:
    try:
        # Editors on Windows like to start a file with a byte order mark.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Refusal(f"not UTF-8: line {line}, octet {error.start} of the file", "the file in UTF-8") from None


def files_of(main: Path, raw: Mapping[str, object], problems: list[Problem]) -> list[Path]:
    """Return the files to include, each once: as the patterns stand, those of one pattern sorted by name.

    A wildcard that matches nothing is right, for the last file may be gone from `conf.d`; a folder or a plain file
    that is not there is a problem. Names that begin with a dot are matched by no wildcard.
    """
    try:
        patterns = read_include(raw.get("include", []))
    except Refusal:
        return []  # reported with the other keys of the file
    found: dict[Path, None] = {}
    for index, pattern in enumerate(patterns):
        try:
            found.update(dict.fromkeys(_matches(main, pattern)))
        except Refusal as refusal:
            key = f"include[{index}]"
            problems.append(Problem(key=key, value=quoted(pattern), reason=refusal.reason, write=refusal.write))
    return list(found)


def _matches(main: Path, pattern: str) -> list[Path]:
    if not has_magic(pattern):
        path = main.parent / pattern
        if not path.exists():
            raise Refusal(
                f"there is no such file in {main.parent}", 'a file that is there, or a wildcard like "*.toml"'
            )
        return [path]
    folder = main.parent.joinpath(*takewhile(lambda part: not has_magic(part), Path(pattern).parts[:-1]))
    if not folder.is_dir():
        raise Refusal(f"there is no folder {folder}", f"mkdir {folder}, which may stay empty")
    found = [main.parent / match for match in sorted(glob(pattern, root_dir=main.parent))]  # noqa: PTH207 - pathlib's matches dot files
    for place in dict.fromkeys([folder, *(match.parent for match in found)]):
        if _is_writable(place):
            raise Refusal(f"every user of this host can put files into {place}", f"chmod o-w {place}")
    if main.resolve() in (match.resolve() for match in found):
        raise Refusal("this file itself is among them", 'a folder for the others, like "conf.d/*.toml"')
    return found


def included(main: Path, raw: Mapping[str, object], problems: list[Problem]) -> Iterator[tuple[Included, bytes]]:
    """Yield the files that `raw`, which stands in `main`, includes, each with its octets; add to `problems`."""
    for path in files_of(main, raw, problems):
        try:
            data = read_file(path)
            if path.suffix.lower() == ".toml":
                content, tables = toml_of(data)
                yield Included(str(path), content, tables), data
            else:
                yield Included(str(path), _decoded(data)), data
        except Refusal as refusal:
            problems.append(Problem(key=str(path), reason=refusal.reason, write=refusal.write))
