"""Reads the server's identity and the catalog of MySQL and MariaDB."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ormcache import reasons
from ormcache.catalog.facts import (
    EPOCH,
    STABLE,
    VOLATILE,
    WHOLE_CATALOG,
    Code,
    Extent,
    Facts,
    Function,
    Relation,
    Server,
)
from ormcache.catalog.mysql_row_keys import read_row_keys
from ormcache.catalog.other_databases import all_in_database, name_in_database
from ormcache.catalog.write_triggers import is_mysql_trigger
from ormcache.sql import analyse, read_code
from ormcache.sql.vocabulary import WRITING_WORDS
from ormcache.utils.host import HAS_PROC, is_on_this_host, pids_of

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

# What no two servers share, and what one server has only until it is started again: its rows may then be older ones
# (innodb_flush_log_at_trx_commit, a backup put in place). Server ids, host names, ports and paths are equal in
# containers of one description, and server_uuid is copied with a data directory. Inside one statement NOW and Uptime
# are of the same moment, so their difference is one number until the server ends, in seconds. Every user may ask.
_START = """
    SELECT @@hostname, @@port, @@datadir, UNIX_TIMESTAMP(),
           (SELECT VARIABLE_VALUE FROM {}.global_status WHERE VARIABLE_NAME = 'Uptime'), UUID(),
           CONNECTION_ID(), @@read_only
"""
_SETTINGS = """
    SELECT DATABASE(), @@sql_mode,
           CURRENT_USER(), CURRENT_ROLE(), @@time_zone, @@collation_connection, @@character_set_client,
           @@character_set_results, @@sql_auto_is_null, @@sql_select_limit, @@group_concat_max_len,
           @@div_precision_increment, @@lc_time_names, @@default_week_format, @@init_connect
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
    SELECT TABLE_NAME, TABLE_TYPE, ENGINE, CREATE_OPTIONS FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE NOT IN ('TEMPORARY', 'TEMPORARY SEQUENCE')
"""
# https://dev.mysql.com/doc/refman/8.4/en/date-and-time-type-conversion.html
_TIMES = """
    SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND DATA_TYPE = 'time'
"""
# Of MariaDB, which lets them ask anything that it would not let an index ask.
_VIRTUAL = """
    SELECT TABLE_NAME, GENERATION_EXPRESSION FROM information_schema.COLUMNS
    WHERE TABLE_SCHEMA = DATABASE() AND EXTRA LIKE '%VIRTUAL%' AND VERSION() LIKE '%MariaDB%'
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
    SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME, ACTION_STATEMENT,
           ACTION_TIMING = 'BEFORE' AND EVENT_MANIPULATION <> 'DELETE'
    FROM information_schema.TRIGGERS
    WHERE TRIGGER_SCHEMA = DATABASE()
"""
_ROUTINES = """
    SELECT ROUTINE_NAME, ROUTINE_TYPE, ROUTINE_DEFINITION, SQL_DATA_ACCESS FROM information_schema.ROUTINES
    WHERE ROUTINE_SCHEMA = DATABASE()
"""

CLOCK = 5.0  # seconds by which a server may seem to have been started earlier or later than its process

#: Engines whose rows change at COMMIT and not before
_TRANSACTIONAL = frozenset({"innodb", "rocksdb", "tokudb", "ndbcluster", "ndb"})

#: Words without which a routine can change nothing
_WRITING_WORDS = WRITING_WORDS | {"replace", "call", "execute", "truncate", "load", "create", "alter", "drop", "rename"}

#: Modes under which quotes or backslashes do not read as the lexer thinks
_OTHER_LEXICON = frozenset({"ANSI_QUOTES", "ANSI", "NO_BACKSLASH_ESCAPES"})


def identify(connection: CachedConnection) -> Server:
    """Return the server behind a Django connection that was just made."""
    with connection.connection.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = {name.lower(): value for name, value in cursor.fetchall()}
        cursor.execute(_SETTINGS)
        current, mode, *settings = cursor.fetchone()
        host, started, instance, process, replica = _instance(cursor, variables)
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation") or "unknown"
    return Server(
        identity=f"{instance} {current}",
        local=host == socket.gethostname() and _is_here(started),
        replica=replica,
        settings=(mode, *map(variables.get, _OWN_VARIABLES), *settings),
        isolation=isolation.lower().replace("-", " "),
        understood=_OTHER_LEXICON.isdisjoint(mode.split(",")),
        # A proxy's own number of the connection is another one than the server's; handshakes have 32 bits for it.
        direct=_numbered(connection.connection) == process % 2**32,
        # A switchover makes a replica of a running server, and later perhaps the primary again.
        steady=False,
        instance=instance,
    )


def is_same(connection: CachedConnection, server: Server) -> bool:
    """Ask an open connection whether the server behind it is still this one, and still the primary.

    Looks into no table, so it fixes no snapshot.
    """
    with connection.connection.cursor() as cursor:
        cursor.execute(_VARIABLES)
        variables = {name.lower(): value for name, value in cursor.fetchall()}
        _, _, instance, _, replica = _instance(cursor, variables)
        return instance == server.instance and replica == server.replica


def is_there(server: Server) -> bool | None:
    """Return None: only a connection can show."""
    return None


def _numbered(driver_connection: Any) -> int | None:
    """Return the number that a driver's connection got when it was made; None if the driver does not know it."""
    return int(driver_connection.thread_id()) if hasattr(driver_connection, "thread_id") else None


def _is_here(started: float) -> bool:
    """Return whether such a server is among the processes of this host and has the same shared memory."""
    if not HAS_PROC:
        return True
    return any(is_on_this_host(process, "", started, within=CLOCK) for process in pids_of("mariadbd", "mysqld"))


def _instance(cursor: Any, variables: Mapping[str, str]) -> tuple[str, int, str, int, bool]:
    """Ask for the server's host, its start, and what distinguishes it from others until it ends.

    Then for the connection's number, and whether the server is set to be read-only, as a replica is: nothing else shows
    a replica without a privilege.
    """
    is_mariadb = "old_mode" in variables
    # MySQL has these tables whatever its performance schema is set to.
    cursor.execute(_START.format("information_schema" if is_mariadb else "performance_schema"))
    host, port, directory, now, uptime, uuid, process, read_only = cursor.fetchone()
    # Under SET timestamp both are off by as much, and Uptime is an unsigned number.
    started = (int(now) - int(uptime)) % 2**64
    # A number that MariaDB draws at its start, and the address of its network card; MySQL draws another one whenever
    # its clock is set back.
    _, _, _, drawn, card = uuid.split("-")
    own = variables.get("server_uuid") or variables.get("server_uid") or ""
    instance = f"mysql {own} {host} {port} {directory} {started} {card} {drawn if is_mariadb else ''}"
    return host, started, instance, int(process), bool(read_only)


def custom_settings(connection: CachedConnection, names: Collection[str]) -> dict[str, str | None]:
    """Return none: only PostgreSQL has custom settings."""
    return {}


def elsewhere(connection: CachedConnection, server: Server) -> dict[str, frozenset[str]]:
    """Return the database that USE has led a connection to, in which every name of a statement may lie."""
    with connection.connection.cursor() as cursor:
        cursor.execute("SELECT DATABASE()")
        (current,) = cursor.fetchone()
    if current is None or f"{server.instance} {current}" == server.identity:
        return {}
    return {"": all_in_database(current)}


def extent(connection: CachedConnection, schemas: frozenset[str] | None) -> Extent:
    """Return that the catalog is read in one go, whatever part of it is wanted."""
    return WHOLE_CATALOG


def load(connection: CachedConnection, extent: Extent = WHOLE_CATALOG) -> Facts:
    """Read the catalog of the current database, as far as the connection's user may see it."""
    with connection.connection.cursor() as cursor:

        def rows(query: str) -> list[Any]:
            cursor.execute(query)
            return list(cursor.fetchall())

        cursor.execute("SELECT DATABASE()")
        schema = (cursor.fetchone()[0] or "").lower()
        relations, plain_tables = [], set()
        for name, kind, engine, options in rows(_RELATIONS):
            bypass_reason = None
            if kind == "SEQUENCE":
                bypass_reason = reasons.SEQUENCE
            elif kind != "VIEW" and (engine or "").lower() not in _TRANSACTIONAL:
                bypass_reason = reasons.NOT_TRANSACTIONAL
            elif kind == "BASE TABLE" and engine.lower() == "innodb" and "partitioned" not in (options or "").lower():
                plain_tables.add(name)
            relations.append(Relation(name, schema, name.lower(), bypass_reason))
        by_folded = {relation.bare: relation.name for relation in relations}
        others: dict[str, list[str]] = {}
        for (database,) in rows(_DATABASES):
            if database.lower() != schema:
                others.setdefault(database.lower(), []).append(database)
        reaches = [(parent, by_folded.get((child or "").lower(), EPOCH)) for parent, _, child in rows(_FOREIGN_KEYS)]
        if others:
            leaving = rows(_FOREIGN_KEYS_OF_OTHERS)
            reaches += [(parent, name_in_database(other, EPOCH)) for parent, other, _ in leaving]
            # What cascades there can cascade back.
            returning = rows(_FOREIGN_KEYS_TO_OTHERS) if leaving else []
            reaches += [
                (parent, by_folded.get((child or "").lower(), EPOCH))
                for parent, *_ in leaving
                for *_, child in returning
            ]
        every_trigger = rows(_TRIGGERS)
        triggers = [
            (by_folded[table.lower()], name, body, changes_row)
            for table, name, body, changes_row in every_trigger
            if not is_mysql_trigger(name, body)
        ]
        times: dict[str, set[str]] = {}
        for table, column in rows(_TIMES):
            times.setdefault(table, set()).add(column.lower())
        for table, expression in rows(_VIRTUAL):
            bypass_reason = _reason_of_virtual_column(expression, times.get(table, set()))
            if bypass_reason is not None:
                relations = [
                    replace(one, bypass_reason=one.bypass_reason or bypass_reason) if one.name == table else one
                    for one in relations
                ]
        return Facts(
            relations=relations,
            views={name: text or None for name, text in rows(_VIEWS)},
            reaches=[
                (by_folded[parent.lower()], child) for parent, child in reaches if (parent or "").lower() in by_folded
            ],
            bodies=[(table, Code(body, origin=f"the trigger {name}")) for table, name, body, _ in triggers],
            keys=read_row_keys(rows, plain_tables, {table for table, _, _, changes_row in triggers if changes_row}),
            functions=[_function(*row) for row in rows(_ROUTINES)],
            other_databases=others,
            has_write_triggers=len(triggers) < len(every_trigger),
            times={table: frozenset(columns) for table, columns in times.items()},
        )


def _reason_of_virtual_column(expression: str | None, times: set[str]) -> str | None:
    """Return why a column that is computed at each read excludes its table from the cache, or None."""
    statement = analyse(f"SELECT {expression}", "mysql")
    if statement.time_conversions is not None and (
        statement.time_conversions.always or statement.time_conversions.includes(times)
    ):
        return reasons.CLOCK
    return statement.bypass_reason


def _function(name: str, kind: str, body: str | None, access: str) -> Function:
    # What a function claims of itself is not enforced, so its words count as well.
    words = None if body is None else read_code(body, "mysql")
    claims = kind == "FUNCTION" and access in ("NO SQL", "READS SQL DATA")
    writes = not claims or words is None or not words.names.isdisjoint(_WRITING_WORDS)
    code = Code(body, reads=not writes, origin=f"the {kind.lower()} {name}")
    return Function(name.lower(), VOLATILE if writes else STABLE, code)
