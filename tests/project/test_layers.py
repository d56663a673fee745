"""Imports go one way: from the layers of ``docs/drawings/rooms.py``, which the documentation shows too.

A module imports only from rooms of the layers below its own, and from modules of its own room, without a circle. What
only types need (``if TYPE_CHECKING:``) does not count. That importing a submodule also runs its package is Python's
business.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parents[2]

LAYERS = run_path(str(ROOT / "docs" / "drawings" / "rooms.py"))["LAYERS"]
#: Room → how many layers lie above it
DEPTH = {room: depth for depth, layer in enumerate(LAYERS) for room in layer.rooms}

#: Rooms and modules that need nothing but Python: no Django, no database, no store
PURE = {
    "sql",
    "reasons",
    "cache.adaptive",
    "cache.probes",
    "cache.keys",
    "cache.layout",
    "cache.packer",
    "cache.unpacker",
    "cache.value_codec",
    "cache.value_types",
    "cache.serializer",
    "database.current_time",
    "stores.serializer",
    "telemetry.history",
    "telemetry.query_stats",
    "telemetry.tally",
    "utils.bounded",
    "utils.interruptions",
    "utils.log_throttle",
    "write_path.buffered_cursor",
}

#: Modules that import others by name when they are first needed; the names stand in them as strings
LAZY = {"ormcache", "pytest_plugin", "stores"}

#: The one function that may import: Django calls it when all apps are loaded, and not before may its module be imported
IMPORTING_FUNCTIONS = {("apps", "ready")}


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted((ROOT / "ormcache").rglob("*.py")):
        parts = path.relative_to(ROOT / "ormcache").with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "ormcache"
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def statements(module: ast.Module) -> list[tuple[ast.AST, str | None]]:
    """Every node that is not only for types, with the name of the innermost function around it."""
    return list(_statements(module))


def _statements(node: ast.AST, function: str | None = None) -> Iterator[tuple[ast.AST, str | None]]:
    for child in ast.iter_child_nodes(node):
        if is_for_types(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield other, function
                yield from _statements(other, function)
            continue
        yield child, function
        inner = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        yield from _statements(child, inner)


def imported(node: ast.AST) -> Iterator[str]:
    """The modules, by their full names, that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        for alias in node.names:
            inner = f"{node.module}.{alias.name}"
            yield inner if inner.removeprefix("ormcache.") in MODULES else node.module


def own(name: str) -> str | None:
    """A module of ormcache as the table calls it; None for anybody else's."""
    return name.removeprefix("ormcache.") if name.split(".", maxsplit=1)[0] == "ormcache" else None


def dependencies(module: str) -> set[str]:
    found = set()
    for node, _ in statements(MODULES[module]):
        found.update(own(name) for name in imported(node))
        if module in LAZY and isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith("ormcache.") and own(node.value) in MODULES:
                found.add(own(node.value))
    if module in LAZY:
        found.discard(module)  # its own name, as the name of a signal's receiver
    return {name for name in found if name is not None}


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_one_layer() -> None:
    assert sorted(DEPTH) == sorted(set(map(room, MODULES)))
    assert len(DEPTH) == sum(len(layer.rooms) for layer in LAYERS), "a room stands in the table twice"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_lower_layers(module: str) -> None:
    others = {other for other in dependencies(module) if room(other) != room(module)}
    wrong = {other for other in others if DEPTH[room(other)] <= DEPTH[room(module)]}

    assert not wrong, f"ormcache.{module} must not import {', '.join(sorted(wrong))}"


def test_no_room_has_a_circle() -> None:
    graph = {module: {other for other in dependencies(module) if other != module} for module in MODULES}

    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name in PURE or room(name) in PURE))
def test_pure_modules_need_nothing_but_python(module: str) -> None:
    names = {name.split(".")[0] for node, _ in statements(MODULES[module]) for name in imported(node)}

    assert names - {"ormcache"} <= sys.stdlib_module_names


def test_only_commands_draw() -> None:
    drawing = {
        module
        for module, tree in MODULES.items()
        for node, _ in statements(tree)
        if any(name.partition(".")[0] == "rich" for name in imported(node))
    }

    assert drawing
    assert all(module.startswith("management.") for module in drawing)


def test_modules_import_at_their_top() -> None:
    inside = {
        (module, function)
        for module, tree in MODULES.items()
        for node, function in statements(tree)
        if function is not None and isinstance(node, (ast.Import, ast.ImportFrom))
    }

    assert inside == IMPORTING_FUNCTIONS


def test_imports_by_name_are_known() -> None:
    lazy = {
        module
        for module, tree in MODULES.items()
        for node, _ in statements(tree)
        if (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    }

    assert lazy == LAZY


#: What Windows lacks → the rooms or modules that may use it
ONLY_ON_POSIX = {
    r"\bos\.(fork|register_at_fork)\b": {"utils.forks"},
    r"\bos\.(get|gete|set|sete)[ug]id\b": {"utils.host", "checks", "stores.embedded.files", "stores.embedded.presence"},
    r"\bselect\.poll\b": {"utils.sockets"},
    r"^import (fcntl|grp|pwd|resource|termios)\b": {"stores.embedded.files", "stores.embedded.presence"},
}


def test_what_windows_lacks_is_used_where_that_is_known() -> None:
    for module, tree in MODULES.items():
        code = ast.unparse(tree)
        for pattern, users in ONLY_ON_POSIX.items():
            assert module in users or not re.search(pattern, code, re.MULTILINE), f"{module}: {pattern}"
