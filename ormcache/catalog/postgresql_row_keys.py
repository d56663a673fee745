"""Reads from PostgreSQL the columns that identify the rows of its tables.

A database of many tenants has the same tables over and over. So the server describes the columns of a table in one text
without the numbers of relations, and each such text is read once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ormcache.catalog.row_keys import KeyColumn, KeyKind, RowKeys

# Of one column, and every row is in it, at once. The operator class is a built-in one, so that "equal" is what it says.
# Those of constraints: any other one can go by a DROP INDEX, which invalidates nothing and has nobody read the catalog.
_UNIQUE_INDEXES = """
    SELECT indrelid AS relation, indkey[0] AS number, CASE WHEN indisprimary THEN 'p' ELSE 'u' END AS role,
           NULL::oid AS target, NULL::smallint AS target_number
    FROM pg_index JOIN pg_constraint u ON u.conrelid = indrelid AND conindid = indexrelid AND contype IN ('p', 'u')
    WHERE indisunique AND indimmediate AND indisvalid AND indisready AND indislive
      AND indnkeyatts = 1 AND indclass[0] < 16384 AND {indrelid}
"""
# With its target if no row can violate it: validated, which one that is NOT ENFORCED never is, and with its triggers.
_FOREIGN_KEYS = """
    SELECT conrelid, unnest(conkey), 'f', CASE WHEN holds THEN confrelid END, CASE WHEN holds THEN confkey[1] END
    FROM (
        SELECT conrelid, conkey, confrelid, confkey, cardinality(conkey) = 1 AND convalidated AND NOT EXISTS (
            SELECT FROM pg_trigger WHERE tgconstraint = k.oid AND tgenabled IN ('D', 'R')
        ) AS holds
        FROM pg_constraint k WHERE contype = 'f' AND {conrelid}
    ) AS foreign_keys
"""
# The bits of tgtype: 1 = for each row, 2 = before, 4 = INSERT, 16 = UPDATE.
_HAS_PLAIN_WRITES = """
    NOT EXISTS (
        SELECT FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal AND tgtype & 3 = 3 AND tgtype & 20 <> 0
    ) AND NOT EXISTS (SELECT FROM pg_rewrite WHERE ev_class = c.oid)
"""
# The names of all columns, where folding could change one: where one has a capital letter, or one beyond ASCII.
_NAMES_TO_FOLD = """
    CASE WHEN c.oid IN (
        SELECT attrelid FROM pg_attribute JOIN pg_class r ON r.oid = attrelid AND r.relkind = 'r'
        WHERE attnum > 0 AND attrelid >= 16384 AND {attrelid} AND attname::text COLLATE "C" ~ '[^ -@[-~]'
    ) THEN (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0)
    END
"""
# Tables whose rows are in no other relation, and are seen by everybody. An operator of somebody else's may be preferred
# to the built-in "=" for two values of built-in types.
_TABLES = """
    c.relkind = 'r' AND c.relpersistence <> 't' AND NOT c.relrowsecurity
    AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = c.oid)
    AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
    AND NOT EXISTS (
        SELECT FROM pg_operator WHERE oprname = '=' AND oid >= 16384 AND oprleft < 16384 AND oprright < 16384
    )
"""
# Of types whose equal values are the same value; a text under any collation that is deterministic. Since PostgreSQL 18,
# NOT NULL can be NOT VALID.
_COLUMNS = """
    SELECT attrelid, attnum, attname, atttypid::integer, atttypmod,
           attnotnull AND (attrelid, attnum) NOT IN (
               SELECT conrelid, conkey[1] FROM pg_constraint WHERE contype = 'n' AND NOT convalidated
           ) AS attnotnull,
           atthasdef OR attidentity <> '' AS has_default
    FROM pg_attribute
    WHERE attnum > 0 AND atttypid IN (20, 21, 23, 25, 1043, 2950) AND attgenerated = '' AND {attrelid}
      AND (attcollation = 0 OR attcollation IN (SELECT oid FROM pg_collation WHERE collisdeterministic))
"""
_ROW_KEYS = f"""
    SELECT c.oid,
           json_agg(json_build_array(
               role, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.has_default, t.attname
           ) ORDER BY {{order}})::text,
           array_agg(target::bigint ORDER BY {{order}}), {_HAS_PLAIN_WRITES}, {_NAMES_TO_FOLD},
           current_setting('server_encoding') = 'UTF8'
    FROM ({_UNIQUE_INDEXES} UNION ALL {_FOREIGN_KEYS}) AS keys
         JOIN pg_class c ON c.oid = relation
         JOIN ({_COLUMNS}) AS a ON a.attrelid = relation AND a.attnum = number
         LEFT JOIN pg_attribute t ON t.attrelid = target AND t.attnum = target_number
    WHERE {_TABLES} GROUP BY c.oid
"""

#: By their oids, which are fixed: smallint, integer, bigint
_BITS = {21: 16, 23: 32, 20: 64}
_UUID = 2950
_HEADER = 4  # by which the modifier of a varchar's type is greater than its length; it is -1 where there is no limit


class _Description(NamedTuple):
    """What tables of the same columns have in common."""

    keys: RowKeys
    #: for each item of the description: a column, and the one that it refers to if it surely does
    references: list[tuple[str, str | None]]


def read_row_keys(
    rows: Callable[[str], list[Any]], restrict: Callable[[str], str], names: Mapping[int, str]
) -> dict[str, RowKeys]:
    """Return the key columns of each table that has any.

    ``rows``: runs a query. ``restrict``: returns the condition that a column holds the number of a relation that is to
    be read. ``names``: of the relations, by their numbers.
    """
    restrictions = {column: restrict(column) for column in ("indrelid", "conrelid", "attrelid")}
    query = _ROW_KEYS.format(**restrictions, order="a.attnum, role, target, target_number")
    descriptions: dict[tuple[str, bool], _Description] = {}
    found = {}
    for oid, text, targets, is_plain, to_fold, is_unicode in rows(query):
        if oid not in names or (to_fold is not None and len({name.lower() for name in to_fold}) < len(to_fold)):
            continue
        description = descriptions.get((text, is_plain))
        if description is None:
            description = descriptions[text, is_plain] = _described(json.loads(text), is_plain, is_unicode)
        references = {
            column: (names[target], other)
            for (column, other), target in zip(description.references, targets, strict=True)
            if other is not None and target in names
        }
        found[names[oid]] = description.keys._replace(references=references) if references else description.keys
    return found


def _described(items: list[list[Any]], is_plain: bool, is_unicode: bool) -> _Description:
    """``is_unicode``: does the database store UTF-8? Otherwise it converts texts, and two characters may become one."""
    primary = None
    unique, columns, references = set(), {}, []
    for role, name, type_, modifier, is_required, has_default, other in items:
        bits = _BITS.get(type_)
        kind = KeyKind.UUID if type_ == _UUID else KeyKind.INTEGER if bits else KeyKind.TEXT
        column = KeyColumn(
            name.lower(),
            kind,
            lowest=-(2 ** (bits - 1)) if bits else None,
            highest=2 ** (bits - 1) - 1 if bits else None,
            length=modifier - _HEADER if modifier >= 0 else None,
            ascii_only=kind is KeyKind.TEXT and not is_unicode,
            is_nullable=not is_required,
            is_null_by_default=not (is_required or has_default),
        )
        columns[column.name] = column
        if role == "p":
            primary = column.name
        elif role == "u":
            unique.add(column.name)
        references.append((column.name, None if other is None else other.lower()))
    keys = RowKeys(primary, frozenset(unique - {primary}), columns, has_plain_writes=is_plain)
    return _Description(keys, references)
