"""Every merge policy protects a column that needs it, and the reason stands beside the column."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import schema.records
from schema.base import Policy
from schema.registry import load

FILES = sorted(path for folder in schema.records.__path__ for path in Path(folder).glob("*.py") if path.stem != "__init__")


def test_every_policy_is_used_by_a_declared_column() -> None:
    used = {column.merge for record in load().values() for column in record.columns}
    assert used == set(Policy)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_reason_for_a_policy_stands_beside_the_column(path: Path) -> None:
    lines = path.read_text().splitlines()
    tree = ast.parse(path.read_text())
    explained = {  # FROZEN = Policy.FROZEN  # why
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and "#" in lines[node.lineno - 1]
    }
    for node in ast.walk(tree):
        merge = next((word.value for word in getattr(node, "keywords", ()) if word.arg == "merge"), None)
        if merge is None or (isinstance(merge, ast.Name) and merge.id in explained):
            continue
        assert isinstance(node, ast.Call)
        assert node.end_lineno
        beside = lines[node.lineno - 2 : node.end_lineno]
        assert any("#" in line for line in beside), f"{path.name}:{node.lineno} has no reason for its policy"
