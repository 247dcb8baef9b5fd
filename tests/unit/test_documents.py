"""The documents are held to the code: paths, links, commands, metrics and events that they name exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from flatproxy.cli import main

from .observe.fakes import registry_of, sources

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "flatproxy"
DOCS: Final = ROOT / "docs"
ARCHITECTURE: Final = DOCS / "architecture.md"
DOCUMENTS: Final = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        ROOT / "bench" / "README.md",
        ROOT / "tests" / "conformance" / "README.md",
    ]
)
_NAMED: Final = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*/?")
_ENDINGS: Final = (".py", ".md", ".toml", ".json", ".yml", ".service", ".socket", "/")
_ELSEWHERE: Final = {".toml", "names.txt", "conf.d/"}
"""An ending, and names of a reader's own files."""

of_each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def spans(document: Path) -> list[str]:
    """Give what stands between backticks in running text."""
    lines = (line for line in document.read_text().splitlines() if not line.startswith("    "))
    return re.findall(r"`([^`]+)`", " ".join(lines))


def blocks(document: Path) -> list[str]:
    """Give the indented blocks."""
    return re.findall(r"(?:^ {4}.*\n|^\n(?= {4}))+", document.read_text(), re.MULTILINE)


def is_there(path: str, document: Path) -> bool:
    """Tell whether a path exists below the checkout, the package or the document; one without a folder, anywhere."""
    if any((base / path).exists() for base in (ROOT, PACKAGE, document.parent)):
        return True
    return "/" not in path and any(
        True for base in (PACKAGE, ROOT / "config", document.parent) for _ in base.rglob(path)
    )


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@of_each
def test_each_path_that_is_named_exists(document: Path) -> None:
    named = {span for span in spans(document) if span.endswith(_ENDINGS) and _NAMED.fullmatch(span)}
    assert [path for path in sorted(named - _ELSEWHERE) if not is_there(path, document)] == []


@of_each
def test_each_link_leads_somewhere(document: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", " ".join(document.read_text().split())):
        path, _, anchor = link.partition("#")
        goal = (document.parent / path).resolve() if path else document
        headings = re.findall(r"^#+ (.+)$", goal.read_text(), re.MULTILINE) if anchor and goal.is_file() else []
        if not goal.exists() or (anchor and anchor not in map(slug, headings)):
            broken.append(link)
    assert broken == []


def metrics() -> set[str]:
    families = list(registry_of(sources()).collect())
    return {name for family in families for name in (family.name, *(sample.name for sample in family.samples))}


def events() -> set[str]:
    """Give the events that the code logs."""
    texts = (path.read_text() for path in PACKAGE.rglob("*.py"))
    return {event for text in texts for event in re.findall(r'event="(\w+)"', text)}


@of_each
def test_each_metric_that_is_named_exists(document: Path) -> None:
    named = set(re.findall(r"\bflatproxy_[a-z_]+[a-z]\b", document.read_text()))
    assert sorted(named - metrics()) == []


def test_what_shows_a_failure_exists() -> None:
    known = {name.removeprefix("flatproxy_") for name in metrics()} | events()
    shown = re.findall(r"^- Shown by: (.*(?:\n  .*)*)", (DOCS / "failures.md").read_text(), re.MULTILINE)
    named = {span for text in shown for span in re.findall(r"`([a-z]+(?:_[a-z]+)*)`", text)}
    assert len(named) > 10
    labels = {"server", "timeout", "broken"}  # one of a metric, and two of its values
    assert sorted(named - known - labels) == []


def test_each_event_has_a_row_and_each_row_an_event() -> None:
    rows = (DOCS / "metrics.md").read_text().partition("\n| Event |")[2].splitlines()
    told = {event for row in rows if row.startswith("| `") for event in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert sorted(told ^ (events() - {"note", "exception"})) == []


def commands(document: Path) -> Iterator[tuple[str, str]]:
    """Give program and first word of each command in the indented blocks and between backticks."""
    for line in [*"\n".join(blocks(document)).splitlines(), *spans(document)]:
        if match := re.match(r"[\s$]*(?:\w+=\S+ )*(?:\S*/)?(make|flatproxy) +([a-z][a-z-]*)(?= *$| +[-A-Z#])", line):
            yield match[1], match[2]


@of_each
def test_each_command_exists(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    with pytest.raises(SystemExit):
        main(["--help"])
    known = {"make": targets, "flatproxy": set(re.findall(r"^    ([a-z]+) ", capsys.readouterr().out, re.MULTILINE))}
    assert known["flatproxy"] >= {"run", "check"}
    assert [each for each in commands(document) if each[1] not in known[each[0]]] == []


def test_every_package_is_in_the_picture() -> None:
    picture = blocks(ARCHITECTURE)[0]
    packages = {f"{path.parent.relative_to(PACKAGE)}/" for path in PACKAGE.rglob("__init__.py")} - {"./"}
    assert len(packages) > 5
    assert sorted(package for package in packages if package not in picture) == []


def test_who_may_import_whom_is_the_contract() -> None:
    (contract,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    assert contract["layers"] in [block.split("\n")[:-1] for block in map(_dedented, blocks(ARCHITECTURE))]


def _dedented(block: str) -> str:
    return re.sub(r"^ {4}", "", block.strip("\n") + "\n", flags=re.MULTILINE)


def test_the_index_has_every_page() -> None:
    index = (DOCS / "README.md").read_text()
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert sorted(page for page in pages if f"]({page})" not in index) == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 200
