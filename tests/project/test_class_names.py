"""A name of a class is used once in the package: whoever reads it knows which one is meant."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ormcache"

#: Django demands these names: of every engine, and of what describes a model
FOREIGN = {"DatabaseWrapper", "Meta"}


def test_class_names_are_used_once():
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and node.name not in FOREIGN:
                places[node.name].append(f"{path.relative_to(PACKAGE)}:{node.lineno}")

    assert {name: found for name, found in places.items() if len(found) > 1} == {}
