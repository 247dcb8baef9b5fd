"""What the folder promises to the rest: who may import what, who may change what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from attrs import fields

from flatproxy.table.target import Target

PACKAGE = Path(__file__).parents[3] / "flatproxy"
TARGET = {attribute.name.lstrip("_") for attribute in fields(Target)}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PACKAGE / folder).rglob("*.py"))


def assigned(path: Path) -> list[str]:
    """Return what a module assigns to attributes of something that is called a target."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            owner = node.value.id if isinstance(node.value, ast.Name) else getattr(node.value, "attr", "")
            if owner == "target" and node.attr.lstrip("_") in TARGET:
                found.append(f"{path.name}:{node.lineno} {node.attr}")
    return found


def test_nobody_but_a_target_assigns_its_attributes() -> None:
    assert [line for path in modules("") for line in assigned(path)] == []


@pytest.mark.parametrize("path", modules("table"), ids=lambda path: path.stem)
def test_the_table_knows_no_socket_no_task_and_no_clock(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    tops = {name.split(".")[0] for name in imported}
    assert tops & {"asyncio", "socket", "time", "datetime", "threading"} == set()
    ours = {name.split(".")[1] for name in imported if name.startswith("flatproxy.")}
    assert ours <= {"config", "wire", "table"}
    assert {name for name in imported if name.startswith("twisted")} <= {"twisted.logger"}
