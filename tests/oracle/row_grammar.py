"""PostgreSQL's own parser on a read or a write of rows: what is ANDed in its condition, what it selects and sets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pgparse

from ormcache.sql import (
    NULL,
    Comparison,
    Elements,
    Literal,
    Placeholder,
    RowDelete,
    RowInsert,
    RowRead,
    RowUpdate,
    Table,
)

#: A column as the text names it, folded, and the values that it is compared with: ("$", position), a constant, None
Compared = tuple[tuple[str, ...], tuple[Any, ...]]

#: Parts of a SELECT that none has which is analysed
_MORE = ("distinctClause", "groupClause", "havingClause", "windowClause", "lockingClause", "withClause", "intoClause")


@dataclass
class Facts:
    """What the parser finds in one statement."""

    kind: str
    compared: list[Compared] = field(default_factory=list)
    #: whether anything else is ANDed to these
    has_more: bool = False
    #: the names of plain columns that are selected; None for others
    selected: list[tuple[str, ...] | None] = field(default_factory=list)
    #: (left, right) of each join whose condition is an equality of two columns
    joined: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)
    #: column → its value; None where that is an expression
    assigned: dict[str, Any] = field(default_factory=dict)
    inserted: list[list[Any]] = field(default_factory=list)
    #: why nobody should analyse it
    strange: list[str] = field(default_factory=list)


def facts(text: str) -> Facts | None:
    """Return what the parser finds in a text with placeholders; None: PostgreSQL does not take it for SQL."""
    for number in range(text.count("%s")):
        text = text.replace("%s", f"${number + 1}", 1)
    try:
        statements = pgparse.parse(text)
    except (pgparse.PGQueryError, ValueError):
        return None
    if len(statements) != 1:
        return Facts("several", strange=["several"])
    ((kind, node),) = statements[0]["stmt"].items()
    found = Facts(kind)
    found.strange += [part for part in _MORE if node.get(part)]
    if node.get("op", "SETOP_NONE") != "SETOP_NONE":
        found.strange.append("set operation")
    found.strange += {"subquery" for inner in _inside(node) if "SubLink" in inner or "RangeSubselect" in inner}
    found.strange += {"window" for inner in _inside(node) if "over" in inner}
    if kind != "InsertStmt":
        for part in _anded(node.get("whereClause")):
            comparison = _comparison(part)
            if comparison is None:
                found.has_more = True
            else:
                found.compared.append(comparison)
    _read(kind, node, found)
    return found


def _read(kind: str, node: dict[str, Any], found: Facts) -> None:
    if kind == "SelectStmt":
        found.selected = [_column(item["ResTarget"].get("val")) for item in node.get("targetList", ())]
        if len(node.get("fromClause", ())) != 1:
            found.strange.append("several relations")
        for relation in node.get("fromClause", ()):
            _join(relation, found)
    elif kind == "UpdateStmt":
        for item in node["targetList"]:
            target = item["ResTarget"]
            if target.get("indirection") or "MultiAssignRef" in target["val"]:
                found.strange.append("a part of a column")
            found.assigned[target["name"].lower()] = _value(target["val"])
    elif kind == "InsertStmt":
        query = node.get("selectStmt", {}).get("SelectStmt", {})
        found.inserted = [[_value(value) for value in row["List"]["items"]] for row in query.get("valuesLists", ())]
        for relation in query.get("fromClause", ()):
            found.inserted.append([_array(value) for value in _arguments(relation)])
        if node.get("onConflictClause", {}).get("action", "ONCONFLICT_NOTHING") != "ONCONFLICT_NOTHING":
            found.strange.append("upsert")
    if node.get("fromClause") and kind != "SelectStmt":
        found.strange.append("FROM")
    if node.get("usingClause"):
        found.strange.append("USING")


def _join(node: dict[str, Any], found: Facts) -> None:
    ((kind, inner),) = node.items()
    if kind == "JoinExpr":
        _join(inner["larg"], found)
        _join(inner["rarg"], found)
        condition = inner.get("quals", {}).get("A_Expr")
        sides = [_column(condition.get(side)) for side in ("lexpr", "rexpr")] if condition else [None]
        is_equality = None not in sides and _operator(condition) == "="
        is_plain = inner["jointype"] in ("JOIN_INNER", "JOIN_LEFT") and "JoinExpr" not in inner["rarg"]
        if not (is_equality and is_plain) or inner.get("isNatural") or inner.get("usingClause"):
            found.strange.append("join")
        else:
            found.joined.append((sides[0], sides[1]))
    elif kind != "RangeVar" or not inner.get("inh") or inner.get("alias", {}).get("colnames"):
        found.strange.append(kind)


def _inside(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _inside(item)
    elif isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _inside(value)


def _anded(node: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    if node is None:
        return
    inner = node.get("BoolExpr")
    if inner is not None and inner["boolop"] == "AND_EXPR":
        for part in inner["args"]:
            yield from _anded(part)
    else:
        yield node


def _operator(node: dict[str, Any]) -> str | None:
    names = [part["String"]["sval"] for part in node["name"]]
    return names[0] if len(names) == 1 else None


def _comparison(node: dict[str, Any]) -> Compared | None:
    expression = node.get("A_Expr")
    if expression is None or _operator(expression) != "=":
        return None
    left, right = expression.get("lexpr"), expression.get("rexpr")
    column = _column(left)
    if expression["kind"] == "AEXPR_IN":
        values = [_value(item) for item in right["List"]["items"]]
    elif expression["kind"] == "AEXPR_OP":
        column, values = (column, [_value(right)]) if column is not None else (_column(right), [_value(left)])
    else:
        return None
    return None if column is None or _EXPRESSION in values else (column, tuple(values))


def _column(node: dict[str, Any] | None) -> tuple[str, ...] | None:
    fields = (node or {}).get("ColumnRef", {}).get("fields")
    if not fields or not all("String" in one for one in fields):
        return None
    return tuple(one["String"]["sval"].lower() for one in fields)


_EXPRESSION = ("expression",)


def _value(node: dict[str, Any] | None) -> Any:
    """Return a constant, None for NULL, ("$", position) for a placeholder, and _EXPRESSION for all else."""
    if node is None:
        return _EXPRESSION
    if "ParamRef" in node:
        return "$", node["ParamRef"]["number"] - 1
    if "SetToDefault" in node:
        return ("default",)
    constant = node.get("A_Const")
    if constant is None:
        return _EXPRESSION
    if constant.get("isnull"):
        return None
    if "ival" in constant:
        return constant["ival"].get("ival", 0)
    if "sval" in constant:
        return constant["sval"].get("sval", "")
    if "fval" in constant and constant["fval"]["fval"].lstrip("-").isdecimal():
        return int(constant["fval"]["fval"])
    return _EXPRESSION


def against_facts(found: RowRead | RowInsert | RowUpdate | RowDelete, parsed: Facts) -> list[str]:
    """Say what the analysis finds in a statement that PostgreSQL's parser does not."""
    wrong = [f"analysed in spite of {what}" for what in parsed.strange]
    if isinstance(found, RowInsert):
        values = [[_of_operand(operand) for operand in row] for row in found.rows]
        known = [
            [one if own != _EXPRESSION else own for own, one in zip(row, theirs, strict=False)]
            for row, theirs in zip(values, parsed.inserted, strict=False)
        ]
        return wrong + _differences("rows", values, known)
    tables = found.tables if isinstance(found, RowRead) else ()
    compared = list(parsed.compared)
    for comparison in found.comparisons:
        match = next((one for one in compared if _is_same(comparison, one, tables)), None)
        if match is None:
            wrong.append(f"{comparison} is none of {compared}")
        else:
            compared.remove(match)
    if isinstance(found, RowRead):
        if found.is_all and (compared or parsed.has_more):
            wrong.append(f"there is more in WHERE: {compared}")
        columns = [None if column is None else (tables[column.table].alias, column.name) for column in found.columns]
        selected = [None if one is None else _qualified(one, tables) for one in parsed.selected]
        known = [one if own else None for own, one in zip(columns, selected, strict=False)]
        wrong += _differences("columns", columns, known)
        joins = [((tables[a.table].alias, a.name), (tables[b.table].alias, b.name)) for _, a, b, _ in found.joins]
        wrong += _differences("joins", joins, [tuple(side[-2:] for side in sides) for sides in parsed.joined])
    elif isinstance(found, RowUpdate):
        values = {name: _of_operand(operand) for name, operand in found.assigned.items()}
        wrong += _differences("names", values.keys(), parsed.assigned.keys())
        known = {name: value for name, value in values.items() if value != _EXPRESSION}
        wrong += _differences("assigned", known, {name: parsed.assigned[name] for name in known})
    return wrong


def _qualified(parts: tuple[str, ...], tables: tuple[Table, ...]) -> tuple[str, ...]:
    return (tables[0].alias, *parts) if len(parts) == 1 else parts[-2:]


def _is_same(comparison: Comparison, compared: Compared, tables: tuple[Table, ...]) -> bool:
    name, values = compared
    if comparison.column.name != name[-1] or tuple(map(_of_operand, comparison.operands)) != values:
        return False
    return len(name) == 1 or not tables or tables[comparison.column.table].alias == name[-2]


def _arguments(relation: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the arguments of the only function in ``FROM f(…)``."""
    (function,) = relation["RangeFunction"]["functions"]
    call = function["List"]["items"][0]["FuncCall"]
    assert call["funcname"] == [{"String": {"sval": "unnest"}}]
    return call["args"]


def _array(node: dict[str, Any]) -> Any:
    """Return ("each of", position) for a list that is passed, and _EXPRESSION for all else."""
    value = _value(node.get("TypeCast", {}).get("arg"))
    return ("each of", value[1]) if isinstance(value, tuple) and value[0] == "$" else _EXPRESSION


def _of_operand(operand: Any) -> Any:
    if isinstance(operand, Elements):
        return "each of", operand.position
    if isinstance(operand, Placeholder):
        return "$", operand.position
    if isinstance(operand, Literal):
        return operand.value
    if operand is NULL:
        return None
    return ("default",) if operand.value == "DEFAULT" else _EXPRESSION


def _differences(what: str, own: Any, theirs: Any) -> list[str]:
    return [] if own == theirs else [f"{what}: {own} for {theirs}"]
