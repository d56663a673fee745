"""Says where the analysis of a read's rows and the rows that the database returns do not agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ormcache.sql import NULL, Comparison, Literal, Placeholder, RowRead

#: Types of the columns of :mod:`tests.oracle.conditions`
_TYPES = {"id": int, "a": int, "b": int, "s": str}


def is_exact(comparison: Comparison, values: Sequence[Any]) -> bool:
    """Return whether all values are of the column's type, or NULL; what others are equal to is not for the text.

    Nor is whether there is such a column: SQLite takes "r" for a text if there is none.
    """
    wanted = _TYPES.get(comparison.column.name)
    return all(value is None or type(value) is wanted for value in values_of(comparison, values))


def fulfils(row: Mapping[str, Any], comparison: Comparison, values: Sequence[Any]) -> bool:
    """Return whether a row has one of the values that a column is compared with."""
    own = row[comparison.column.name]
    return own is not None and own in values_of(comparison, values)


def values_of(comparison: Comparison, values: Sequence[Any]) -> list[Any]:
    """Return the values that a column is compared with, None for NULL."""
    return [_value(operand, values) for operand in comparison.operands]


def _value(operand: Any, values: Sequence[Any]) -> Any:
    if isinstance(operand, Placeholder):
        return values[operand.position]
    if isinstance(operand, Literal):
        return operand.value
    assert operand is NULL
    return None


def against_rows(
    read: RowRead, values: Sequence[Any], returned: Sequence[Any], rows: Mapping[Any, Mapping[str, Any]]
) -> list[str]:
    """Say what is wrong with the analysis of a SELECT that returned rows with these primary keys.

    ``rows``: those of the only table that it reads, by primary key.
    """
    exact = [comparison for comparison in read.comparisons if is_exact(comparison, values)]
    wrong = [
        f"row {key} does not fulfil {comparison}"
        for key in returned
        for comparison in exact
        if not fulfils(rows[key], comparison, values)
    ]
    if read.is_all and len(exact) == len(read.comparisons):
        all_of_them = {key for key, row in rows.items() if all(fulfils(row, one, values) for one in exact)}
        if all_of_them != set(returned):
            wrong.append(f"{sorted(all_of_them.symmetric_difference(returned))} fulfil it, or do not")
    return wrong
