"""A public name stands for one thing in the whole package, whatever module it is read from."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[2] / "flatproxy"

EVERYWHERE = {
    "log": "each module's own logger, which names the module",
    "T": "a type variable",
    "main": "the entry point of a command",
    "render": "each report's text, in a module of that name",
}


def _defined(module: ast.Module) -> Iterator[str]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def _defined_twice() -> dict[str, list[str]]:
    modules: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for name in _defined(ast.parse(path.read_text())):
            if not name.startswith("_"):
                modules[name].append(str(path.relative_to(PACKAGE)))
    return {name: where for name, where in modules.items() if len(where) > 1}


OF_PARTS = {
    "AddressHealth": "what a part needs of an address, as a Protocol",
    "NameStatus": "what a part needs of a status, as a Protocol",
    "Server": "likewise",
    "connector": "each kind of encrypted resolver has one",
}
"""A Protocol has the name of what fits it."""


def test_no_name_is_defined_in_two_modules() -> None:
    allowed = EVERYWHERE.keys() | OF_PARTS.keys()
    assert {name: where for name, where in _defined_twice().items() if name not in allowed} == {}


def test_the_exceptions_are_still_needed() -> None:
    assert (EVERYWHERE.keys() | OF_PARTS.keys()) - _defined_twice().keys() == set()
