"""Imports go one way: a module of ormcache imports only from modules above it in the table below.

Strictly above, so that no circle can be. What only types need (``if TYPE_CHECKING:``) does not count. A package's
own line stands for its ``__init__``; that importing a submodule also runs its package is Python's business.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: One line a layer, "ormcache." left out; the package itself is "ormcache".
LAYERS = """
# pure: no Django, no database, no store
reasons  sql.lexer  sql.lists  sql.search_path  keys  rows  fetched  seldom  worth  figures.history  figures.tally
figures.text
sql.times
sql.statement
sql.vocabulary  sql.settings
sql.names  sql.other  sql.session
sql.stored  sql.writing  sql.temporary  sql.masking
sql.reading
sql.analysis
sql

# outside: the settings, the doors to a cache, what the database adds
conf  decorating  host  signals  stores.facts
stores.base  stores.idle  stores.resp
scope
stores.files  stores.redis_address  stores.redis_scripts  stores.memcached_link  stores.remembering
stores.redis_link
stores.embedded  stores.redis  stores.memcached  stores.django  stores.request
stores.push
stores.near
stores
catalog.facts
catalog.lookup  catalog.functions  catalog.neighbours
catalog.views
catalog.scope
catalog.catalog  catalog.causes
catalog.postgresql  catalog.mysql  catalog.sqlite  catalog.other
catalog

# protocol
stamps

# knowledge: of the process, of a database, of a session, of a connection
columns  figures.caller  flights  local  pending  planning  selection  shadow  switch  values
figures.counting  session
figures
figures.report
database  recording  tenants
keeping  publishing
registry
state
account  transaction

marking  hindrances
transaction_control

# paths: of a read and of a write; neither imports the other
reads  writes
compiler  cursors

# wiring
connection

# insight: what is going on, computed for people
insight  insight.plain  insight.quantities  insight.meanings  insight.outcomes  insight.wording  insight.explanation
insight.aliases  insight.verdicts
insight.statements
insight.explaining  insight.metrics  insight.advice
insight.readings  insight.overview  insight.gathering
insight.statistics  insight.advising
insight.listing

checks  control  warming
insight.health

# commands
management  management.commands  management.subcommands  management.output
management.common  management.watching  management.words
management.subcommands.explain  management.subcommands.check  management.subcommands.invalidate
management.subcommands.stats  management.subcommands.tables  management.subcommands.queries
management.subcommands.advise  management.subcommands.warm
management.commands.ormcache

# for tests of projects
testing.asserting  testing.overriding
testing
pytest_plugin

# doors
ormcache  apps  backends  contrib  middleware
backends.postgresql  backends.mysql  backends.sqlite3  backends.wrap
backends.postgresql.base  backends.mysql.base  backends.sqlite3.base  backends.wrap.base
contrib.prometheus.collector  contrib.opentelemetry.instruments  contrib.opentelemetry.spans
contrib.prometheus  contrib.opentelemetry.instrumentor
contrib.prometheus.apps  contrib.prometheus.views  contrib.opentelemetry
contrib.opentelemetry.apps
contrib.debug_toolbar.rendering  contrib.debug_toolbar.telling
contrib.debug_toolbar.plan
contrib.debug_toolbar.panel
contrib.debug_toolbar
contrib.admin  contrib.admin.apps  contrib.admin.drawing  contrib.admin.models  contrib.admin.templatetags
contrib.admin.charts  contrib.admin.templatetags.ormcache_admin
contrib.admin.page
contrib.admin.views
contrib.admin.admin  contrib.admin.urls
"""

#: Modules that import others by name when they are first needed; the names stand in them as strings
LAZY = {"ormcache", "pytest_plugin", "stores"}

#: The one function that may import: Django calls it when all apps are loaded, and not before may its module be imported
IMPORTING_FUNCTIONS = {("apps", "ready")}

LINES = [line.split() for line in LAYERS.splitlines() if line and not line.startswith("#")]
LAYER = {module: number for number, line in enumerate(LINES) for module in line}
PURE = {module for line in LAYERS.partition("# outside")[0].splitlines() if line[:1] != "#" for module in line.split()}


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


def statements(node: ast.AST, function: str | None = None) -> Iterator[tuple[ast.AST, str | None]]:
    """Every node that is not only for types, with the name of the innermost function around it."""
    for child in ast.iter_child_nodes(node):
        if is_for_types(child):
            for other in child.orelse:  # type: ignore[attr-defined]
                yield other, function
                yield from statements(other, function)
            continue
        yield child, function
        inner = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        yield from statements(child, inner)


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


def test_every_module_has_its_layer() -> None:
    assert sorted(LAYER) == sorted(MODULES)
    assert len(LAYER) == sum(map(len, LINES)), "a module stands in the table twice"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_lower_layers(module: str) -> None:
    wrong = {other for other in dependencies(module) if LAYER.get(other, len(LINES)) >= LAYER[module]}

    assert not wrong, f"ormcache.{module} must not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("module", sorted(PURE))
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
