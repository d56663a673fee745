"""Django connections are typed: as ``CachedConnection``, or as Django's own ``BaseDatabaseWrapper``, never as Any.

mypy then checks every use of them against the protocol, and ConnectionMixin, which hands itself on as one, against it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ormcache"

#: Modules whose connections are another library's: redis-py's
OTHER_CONNECTIONS = {"stores/redis/connection.py", "stores/redis/tracking.py"}

#: The attribute that has the driver's connection, of which each driver has a type of its own
DRIVER_CONNECTION = "connection/protocol.py: connection"


def untyped(tree: ast.AST) -> Iterator[str]:
    """Yield the names of parameters and variables for a connection that are annotated as Any, or not at all."""
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.arg.strip("_") == "connection":
            if node.annotation is None or ast.unparse(node.annotation) == "Any":
                yield node.arg
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Any":
            name = ast.unparse(node.target).rpartition(".")[2]
            if name.strip("_") == "connection":
                yield name


def test_connections_are_typed():
    found = [
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if str(path.relative_to(PACKAGE)) not in OTHER_CONNECTIONS
        for name in untyped(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert found == [DRIVER_CONNECTION]


def test_untyped_connections_are_found():
    source = "def f(connection, *, _connection: Any): self._connection: Any = weakref.proxy(connection)"

    assert sorted(untyped(ast.parse(source))) == ["_connection", "_connection", "connection"]
