"""MySQL and MariaDB: what a connection tells of its server, and the catalog."""

from __future__ import annotations

import socket
from typing import Any

from ormcache import reasons
from ormcache.catalog.facts import EPOCH, STABLE, VOLATILE, Code, Facts, Function, Relation, Server
from ormcache.catalog.neighbours import all_in_neighbour, in_neighbour
from ormcache.sql import read_stored
from ormcache.sql.vocabulary import WRITING_WORDS

# @@read_only is what a replica is told to be; nothing else says it without a privilege.
_SETTINGS = """
    SELECT @@hostname, @@port, @@datadir, DATABASE(), @@read_only, @@sql_mode,
           CURRENT_USER(), CURRENT_ROLE(), @@time_zone, @@collation_connection, @@character_set_client,
           @@character_set_results, @@sql_auto_is_null, @@sql_select_limit, @@group_concat_max_len,
           @@div_precision_increment, @@lc_time_names, @@default_week_format
"""
# Variables that only one of the two families has
_VARIABLES = """
    SHOW VARIABLES WHERE Variable_name IN
        ('server_uuid', 'server_uid', 'tx_isolation', 'transaction_isolation', 'old_mode', 'max_sort_length',
         'default_regex_flags', 'system_versioning_asof', 'character_set_collations', 'windowing_use_high_precision')
"""
_OWN_VARIABLES = (
    "old_mode",
    "max_sort_length",
    "default_regex_flags",
    "system_versioning_asof",
    "character_set_collations",
    "windowing_use_high_precision",
)

_RELATIONS = """
    SELECT TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE NOT IN ('TEMPORARY', 'TEMPORARY SEQUENCE')
"""
# https://dev.mysql.com/doc/refman/8.4/en/date-and-time-type-conversion.html
_TIMES = """
    SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND DATA_TYPE = 'time'
"""
_VIEWS = "SELECT TABLE_NAME, VIEW_DEFINITION FROM information_schema.VIEWS WHERE TABLE_SCHEMA = DATABASE()"
_ACTIONS = """
    SELECT REFERENCED_TABLE_NAME, CONSTRAINT_SCHEMA, TABLE_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS
    WHERE (DELETE_RULE NOT IN ('RESTRICT', 'NO ACTION') OR UPDATE_RULE NOT IN ('RESTRICT', 'NO ACTION'))
"""
_FOREIGN_KEYS = f"{_ACTIONS} AND CONSTRAINT_SCHEMA = DATABASE() AND UNIQUE_CONSTRAINT_SCHEMA = DATABASE()"
# Looks into all databases of the server, where MariaDB opens each of their tables.
_FOREIGN_KEYS_OF_OTHERS = f"{_ACTIONS} AND CONSTRAINT_SCHEMA <> DATABASE() AND UNIQUE_CONSTRAINT_SCHEMA = DATABASE()"
_FOREIGN_KEYS_TO_OTHERS = f"{_ACTIONS} AND CONSTRAINT_SCHEMA = DATABASE() AND UNIQUE_CONSTRAINT_SCHEMA <> DATABASE()"
_DATABASES = """
    SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
    WHERE SCHEMA_NAME NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')
"""
_TRIGGERS = """
    SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS
    WHERE TRIGGER_SCHEMA = DATABASE()
"""
_ROUTINES = """
    SELECT ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SQL_DATA_ACCESS FROM information_schema.ROUTINES
    WHERE ROUTINE_SCHEMA = DATABASE()
"""

#: Engines whose rows change at COMMIT and not before
_TRANSACTIONAL = frozenset({"innodb", "rocksdb", "tokudb", "ndbcluster", "ndb"})

#: Words without which a routine can change nothing
_WRITING_WORDS = WRITING_WORDS | {"replace", "call", "execute", "truncate", "load", "create", "alter", "drop", "rename"}

#: Modes under which quotes or backslashes do not read as the lexer thinks
_OTHER_LEXICON = frozenset({"ANSI_QUOTES", "ANSI", "NO_BACKSLASH_ESCAPES"})


def identify(connection: Any) -> Server:
    """What a Django connection that was just made tells of its server."""
    with connection.connection.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = {name.lower(): value for name, value in cursor.fetchall()}
        cursor.execute(_SETTINGS)
        host, port, directory, current, read_only, mode, *settings = cursor.fetchone()
    unique = variables.get("server_uuid") or variables.get("server_uid") or ""
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation") or "unknown"
    instance = f"mysql {unique} {host} {port} {directory}"
    return Server(
        identity=f"{instance} {current}",
        local=host == socket.gethostname(),
        replica=bool(read_only),
        settings=(mode, *map(variables.get, _OWN_VARIABLES), *settings),
        isolation=isolation.lower().replace("-", " "),
        understood=_OTHER_LEXICON.isdisjoint(mode.split(",")),
        instance=instance,
    )


def elsewhere(connection: Any, server: Server) -> dict[str, frozenset[str]]:
    """The database that USE has led a connection to, whatever the text of a statement names."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT DATABASE()")
        (current,) = cursor.fetchone()
    if current is None or f"{server.instance} {current}" == server.identity:
        return {}
    return {"": all_in_neighbour(current)}


def load(connection: Any) -> Facts:
    """The catalog of the current database, as far as the connection's user may see it."""
    with connection.connection.cursor() as cursor:

        def rows(query: str) -> list[Any]:
            cursor.execute(query)
            return list(cursor.fetchall())

        cursor.execute("SELECT DATABASE()")
        schema = (cursor.fetchone()[0] or "").lower()
        relations = []
        for name, kind, engine in rows(_RELATIONS):
            obstacle = None
            if kind == "SEQUENCE":
                obstacle = reasons.SEQUENCE
            elif kind != "VIEW" and (engine or "").lower() not in _TRANSACTIONAL:
                obstacle = reasons.NOT_TRANSACTIONAL
            relations.append(Relation(name, schema, name.lower(), obstacle))
        by_folded = {relation.bare: relation.name for relation in relations}
        others: dict[str, list[str]] = {}
        for (database,) in rows(_DATABASES):
            if database.lower() != schema:
                others.setdefault(database.lower(), []).append(database)
        reaches = [(parent, by_folded.get((child or "").lower(), EPOCH)) for parent, _, child in rows(_FOREIGN_KEYS)]
        if others:
            leaving = rows(_FOREIGN_KEYS_OF_OTHERS)
            reaches += [(parent, in_neighbour(other, EPOCH)) for parent, other, _ in leaving]
            # What cascades there can cascade back.
            returning = rows(_FOREIGN_KEYS_TO_OTHERS) if leaving else []
            reaches += [
                (parent, by_folded.get((child or "").lower(), EPOCH))
                for parent, *_ in leaving
                for *_, child in returning
            ]
        times: dict[str, set[str]] = {}
        for table, column in rows(_TIMES):
            times.setdefault(table, set()).add(column.lower())
        return Facts(
            relations=relations,
            views={name: text or None for name, text in rows(_VIEWS)},
            reaches=[
                (by_folded[parent.lower()], child) for parent, child in reaches if (parent or "").lower() in by_folded
            ],
            bodies=[
                (by_folded[table.lower()], Code(body, origin=f"the trigger {name}"))
                for table, name, body in rows(_TRIGGERS)
            ],
            functions=[_function(*row) for row in rows(_ROUTINES)],
            neighbours=others,
            times={table: frozenset(columns) for table, columns in times.items()},
        )


def _function(name: str, kind: str, body: str | None, access: str) -> Function:
    # What a function claims of itself is not enforced, so its words count as well.
    words = None if body is None else read_stored(body, "mysql")
    claims = kind == "FUNCTION" and access in ("NO SQL", "READS SQL DATA")
    writes = not claims or words is None or not words.names.isdisjoint(_WRITING_WORDS)
    code = Code(body, reads=not writes, origin=f"the {kind.lower()} {name}")
    return Function(name.lower(), VOLATILE if writes else STABLE, code)
