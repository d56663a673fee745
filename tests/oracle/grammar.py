"""PostgreSQL's own parser on a text: its kind, the relations in it, the functions that it calls by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import pgparse

from ormcache.sql import Name

#: Statements that change rows
WRITES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})

#: What the parser makes of LIKE … ESCAPE
_ESCAPES = frozenset({"like_escape", "similar_to_escape"})

_PLACEHOLDER = re.compile(r"%(?:%|[sbt]|\(\w+\)[sbt])")


@dataclass
class Parsed:
    kinds: list[str] = field(default_factory=list)
    #: relations other than the text's own; also those that are written
    relations: set[Name] = field(default_factory=set)
    #: relations that are written, the text's own words alone
    targets: set[Name] = field(default_factory=set)
    #: functions that are called by name, folded
    functions: set[str] = field(default_factory=set)
    #: CURRENT_DATE and its like; what SQL's own syntax calls without a name
    unnamed: set[str] = field(default_factory=set)
    #: it does nothing but read
    plain: bool = True
    temporary: bool = False


def parse(text: str, *, formatted: bool = True) -> Parsed | None:
    """None: PostgreSQL does not take it for SQL. ``formatted``: with the placeholders of the DB-API, ``%`` doubled."""
    for candidate in _without_placeholders(text) if formatted else [text]:
        try:
            statements = pgparse.parse(candidate)
        except (pgparse.PGQueryError, ValueError):
            continue
        return _Reader().read(statements)
    return None


def _without_placeholders(text: str) -> Iterator[str]:
    """PostgreSQL takes ``$1`` in expressions alone, and not everywhere a number where it takes a text."""
    numbers = count(1)
    yield _PLACEHOLDER.sub(partial(_replaced, by=lambda: f"${next(numbers)}"), text)
    for literal in ("'1'", "1", "NULL", "x"):
        yield _PLACEHOLDER.sub(partial(_replaced, by=lambda literal=literal: literal), text)


def _replaced(match: re.Match[str], by: Any) -> str:
    return "%" if match.group() == "%%" else by()


class _Reader:
    def __init__(self) -> None:
        self._found = Parsed()

    def read(self, statements: list[dict[str, Any]]) -> Parsed:
        found = self._found
        for statement in statements:
            ((kind, node),) = statement["stmt"].items()
            found.kinds.append(kind)
            found.plain = found.plain and kind == "SelectStmt"
            if kind == "ExplainStmt" and not runs(node):
                targets = set(found.targets)
                self._walk(node, frozenset())
                found.targets = targets
                continue
            self._walk(statement["stmt"], frozenset())
            if kind == "TruncateStmt":
                found.targets |= {name_of(relation["RangeVar"]) for relation in node["relations"]}
            elif kind == "RefreshMatViewStmt" or (kind == "CopyStmt" and node.get("is_from")):
                found.targets.add(name_of(node["relation"]))
        return found

    def _walk(self, node: Any, ctes: frozenset[str]) -> None:
        if isinstance(node, list):
            for item in node:
                self._walk(item, ctes)
        elif isinstance(node, dict):
            if "relname" in node and "relpersistence" in node:
                self._relation(node, ctes)
            for key, value in node.items():
                if key in WRITES:
                    self._write(value, ctes)
                elif key == "FuncCall":
                    self._call(value, ctes)
                else:
                    self._look(key, value)
                    if key not in ("withClause", "lockingClause"):
                        self._walk(value, self._with(node, ctes) if "withClause" in node else ctes)

    def _with(self, node: dict[str, Any], ctes: frozenset[str]) -> frozenset[str]:
        """The names that a query's WITH adds to those around it; their own queries are walked on the way."""
        clause = node["withClause"]
        own = [item["CommonTableExpr"] for item in clause["ctes"]]
        if clause.get("recursive"):
            ctes |= {cte["ctename"] for cte in own}
        for cte in own:
            self._walk(cte["ctequery"], ctes)
            ctes |= {cte["ctename"]}
        return ctes

    def _write(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        self._found.plain = False
        # A table that has the name of a CTE is written all the same.
        self._relation(node["relation"], frozenset())
        self._found.targets.add(name_of(node["relation"]))
        self._walk({key: value for key, value in node.items() if key != "relation"}, ctes)

    def _call(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        name = node["funcname"][-1]["String"]["sval"].lower()
        by_name = node.get("funcformat") == "COERCE_EXPLICIT_CALL" and name not in _ESCAPES
        (self._found.functions if by_name else self._found.unnamed).add(name)
        self._walk({key: value for key, value in node.items() if key != "funcname"}, ctes)

    def _relation(self, node: dict[str, Any], ctes: frozenset[str]) -> None:
        if node["relpersistence"] == "t":
            self._found.temporary = True
        if "schemaname" in node or node["relname"] not in ctes:
            self._found.relations.add(name_of(node))

    def _look(self, key: str, value: Any) -> None:
        if key in ("lockingClause", "intoClause"):
            self._found.plain = False
        elif key == "SQLValueFunction":
            self._found.unnamed.add(value["op"].removeprefix("SVFOP_").lower())
        elif key == "RangeTableSample":
            self._found.unnamed.add("tablesample")


def runs(explain: dict[str, Any]) -> bool:
    """EXPLAIN ANALYZE runs what it explains."""
    return any(option["DefElem"]["defname"] == "analyze" for option in explain.get("options", ()))


def name_of(node: dict[str, Any]) -> Name:
    schema = node.get("schemaname")
    return None if schema is None else schema.lower(), node["relname"].lower()
