"""Reads the server's identity and the catalog of PostgreSQL."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import NotSupportedError

from ormcache import reasons
from ormcache.catalog.facts import (
    IMMUTABLE,
    SHARED_SCHEMA,
    STABLE,
    STABLE_IN_C,
    VOLATILE,
    WHOLE_CATALOG,
    Code,
    Extent,
    Facts,
    Function,
    Path,
    Relation,
    Server,
)
from ormcache.catalog.postgresql_row_keys import read_row_keys
from ormcache.catalog.write_triggers import is_postgresql_function
from ormcache.sql import analyse, split_path
from ormcache.sql.vocabulary import COMMON_OPERATORS, HARMLESS_C_FUNCTIONS, IMMUTABLE_C_FUNCTIONS, RUN_SQL, UNREPEATABLE
from ormcache.utils.host import HAS_PROC, is_on_this_host, local_port

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

# The microsecond at which a server was started is its own, and its files cannot have been replaced by those of a backup
# since. The cluster's identifier and its timeline would show less: a restored copy shares them, and not every role may
# ask for them, while all roles must come to the same answer.
_IDENTITY = """
    SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database()),
           extract(epoch FROM pg_postmaster_start_time())::text
"""
_SERVER = f"""
    {_IDENTITY},
           host(inet_server_addr()), inet_client_port(), pg_backend_pid(),
           (SELECT extract(epoch FROM backend_start)::float8 FROM pg_stat_get_activity(pg_backend_pid())),
           pg_is_in_recovery(),
           current_setting('default_transaction_isolation'), current_setting('standard_conforming_strings') = 'on',
           current_user, current_setting('search_path'), session_user, current_setting('TimeZone'),
           current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('bytea_output'),
           current_setting('extra_float_digits'), current_setting('client_encoding'),
           current_setting('lc_numeric'), current_setting('lc_monetary'), current_setting('lc_time'),
           current_setting('default_text_search_config'), current_setting('xmloption'),
           current_setting('array_nulls'), current_setting('transform_null_equals'), current_setting('row_security'),
           current_setting('xmlbinary'), current_setting('timezone_abbreviations'),
           current_setting('quote_all_identifiers'), current_setting('gin_fuzzy_search_limit')
"""

# No view lists an application's own settings, and an extension's are listed once its library is loaded.
_CUSTOM_SETTINGS = """
    SELECT name, current_setting(name, true) FROM (
        SELECT unnest(%s::text[])
        UNION
        SELECT lower(split_part(entry, '=', 1)) FROM pg_db_role_setting, unnest(setconfig) entry
        WHERE split_part(entry, '=', 1) LIKE '%%.%%'
    ) AS names (name)
"""

_USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

# Some extensions put theirs among the built-in ones; objects that are not built in have numbers from 16384 on.
_OWN = f"({_USER_SCHEMA} OR n.nspname = 'pg_catalog' AND {{}}.oid >= 16384)"

_KINDS = "c.relkind IN ('r', 'p', 'v', 'm', 'f')"

# Sequences that may hide a table of their name. When their rows change is not known.
_HIDING = "c.relkind = 'S' AND EXISTS (SELECT FROM pg_class o WHERE o.relname = c.relname AND {})".format(
    _KINDS.replace("c.", "o.")
)

# Queries with braces are restricted to some schemas or to their relations where the catalog is read in parts.
_RELATIONS = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE ({_KINDS} OR {_HIDING}) AND c.relpersistence <> 't' AND {_USER_SCHEMA} AND {{}}
"""
_VIEWS = f"""
    SELECT c.oid, c.relkind = 'm', pg_get_viewdef(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {_USER_SCHEMA} AND {{}}
"""
# Actions: a = no action, r = restrict; all others change rows of the referencing table.
_FOREIGN_KEYS = """
    SELECT DISTINCT confrelid, conrelid, confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r')
    FROM pg_constraint WHERE contype = 'f' AND {}
"""
_INHERITANCE = "SELECT inhparent, inhrelid FROM pg_inherits WHERE {}"
_RULES = """
    SELECT ev_class, rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN' AND {}
"""
_POLICIES = """
    SELECT polrelid, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy WHERE {}
"""
# "row.f" is f(row) where the row has no such column: for functions that can be called with one argument, a row
# or something that a row can be cast to (https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-USAGE).
_BY_ROW = """
    p.pronargs > 0 AND p.pronargs - p.pronargdefaults <= 1 AND (p.provariadic <> 0 OR EXISTS (
        SELECT FROM pg_type t WHERE t.oid = p.proargtypes[0] AND (
            t.typtype IN ('c', 'd') OR t.typtype = 'p' AND t.typname NOT IN ('internal', 'cstring')
            OR t.oid IN (SELECT c.casttarget FROM pg_cast c JOIN pg_type s ON s.oid = c.castsource
                         WHERE c.castcontext = 'i' AND s.typtype IN ('c', 'd'))
        )
    ))
"""
_FUNCTIONS = f"""
    SELECT p.oid, p.proname, p.provolatile, l.lanname,
           CASE WHEN l.lanname IN ('sql', 'plpgsql', 'c', 'internal') THEN p.prosrc END, pg_get_function_sqlbody(p.oid),
           (SELECT substr(setting, 13) FROM unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%'),
           pg_get_expr(p.proargdefaults, 0), {_BY_ROW}
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_OWN.format("p")}
"""
# Functions of an extension → the tables of that extension, and of those that it requires. An extension's functions look
# into its own tables and may be marked as immutable all the same: PostGIS's do with spatial_ref_sys.
_EXTENSIONS = """
    WITH RECURSIVE members AS (
        SELECT classid, objid, refobjid AS extension FROM pg_depend
        WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass
    ), required AS (
        SELECT oid AS extension, oid AS other FROM pg_extension
        UNION SELECT r.extension, d.refobjid FROM required r JOIN pg_depend d ON d.objid = r.other
              WHERE d.classid = 'pg_extension'::regclass AND d.refclassid = 'pg_extension'::regclass
    ), tables AS (
        SELECT r.extension, array_agg(c.oid) AS oids
        FROM required r JOIN members m ON m.extension = r.other AND m.classid = 'pg_class'::regclass
             JOIN pg_class c ON c.oid = m.objid AND c.relkind IN ('r', 'p', 'm', 'f')
        GROUP BY 1
    )
    SELECT m.objid, t.oids FROM members m JOIN tables t USING (extension) WHERE m.classid = 'pg_proc'::regclass
"""
# What pg_proc says of an aggregate's volatility is not true; what it is made of counts.
_AGGREGATES = """
    SELECT aggfnoid::oid, part
    FROM pg_aggregate, unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggmtransfn, aggminvtransfn]::oid[]) part
    WHERE part >= 16384
"""
_OPERATORS = f"""
    SELECT o.oprname, o.oprcode::oid FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE {_OWN.format("o")}
"""
# With the type that is cast where an extension brings both the type and the function.
_CASTS = """
    SELECT c.castfunc::oid, t.refobjid IS NOT NULL, c.castsource
    FROM pg_cast c
         LEFT JOIN pg_depend f ON f.classid = 'pg_proc'::regclass AND f.objid = c.castfunc AND f.deptype = 'e'
         LEFT JOIN pg_depend t ON t.classid = 'pg_type'::regclass AND t.objid = c.castsource AND t.deptype = 'e'
                                  AND t.refobjid = f.refobjid
    WHERE c.castfunc >= 16384
"""
# Functions that run when rows are written: of triggers and their WHEN, in defaults and CHECK constraints.
# Built-in ones are in no dependency. Nothing that indexes and generated columns call may change anything.
_RUN_BY_WRITES = """
    WITH uses AS (
        SELECT d.classid, d.objid, coalesce(o.oprcode::oid, d.refobjid) AS function
        FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
          AND d.classid IN ('pg_trigger'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)
    )
    SELECT relation, function FROM (
        SELECT tgrelid, function FROM uses JOIN pg_trigger t ON t.oid = objid WHERE classid = 'pg_trigger'::regclass
        UNION
        SELECT adrelid, function FROM uses JOIN pg_attrdef a ON a.oid = objid WHERE classid = 'pg_attrdef'::regclass
        UNION
        SELECT conrelid, function FROM uses JOIN pg_constraint c ON c.oid = objid
        WHERE classid = 'pg_constraint'::regclass AND contype = 'c' AND conrelid <> 0
    ) AS run (relation, function) WHERE {}
"""
# Domains, by their conditions and defaults. The support functions of other types are called all the time, and change
# nothing: input, output, analysis.
_CALLING = """
    SELECT coalesce(c.contypid, d.objid) AS type, coalesce(o.oprcode::oid, d.refobjid) AS function
    FROM pg_depend d
         LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
         LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
      AND (c.contypid <> 0 OR EXISTS (
          SELECT FROM pg_type t WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typtype = 'd'
      ))
"""
# Types whose values call functions: domains and what is made of them.
_TYPES = f"""
    WITH RECURSIVE made_of AS (
        SELECT oid AS whole, typbasetype AS part FROM pg_type WHERE typtype = 'd'
        UNION ALL SELECT typarray, oid FROM pg_type WHERE typarray <> 0
        UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
        UNION ALL SELECT reltype, atttypid FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
                  WHERE reltype <> 0 AND attnum > 0
    ), calling AS (
        {_CALLING}
        UNION SELECT m.whole, c.function FROM calling c JOIN made_of m ON m.part = c.type
    )
    SELECT c.type, CASE WHEN r.relkind IS NULL OR r.relkind = 'c' THEN t.typname END, c.function
    FROM calling c JOIN pg_type t ON t.oid = c.type LEFT JOIN pg_class r ON r.oid = t.typrelid
"""
# Types, and all that is made of them.
_MADE_OF = """
    WITH RECURSIVE made_of AS (
        SELECT oid AS whole, typbasetype AS part FROM pg_type WHERE typtype = 'd'
        UNION ALL SELECT typarray, oid FROM pg_type WHERE typarray <> 0
        UNION ALL SELECT rngtypid, rngsubtype FROM pg_range
        UNION ALL SELECT reltype, atttypid FROM pg_class c JOIN pg_attribute ON attrelid = c.oid
                  WHERE reltype <> 0 AND attnum > 0
    ), types AS (
        SELECT oid FROM pg_type WHERE oid IN ({})
        UNION SELECT m.whole FROM types JOIN made_of m ON m.part = types.oid
    )
    SELECT t.oid, CASE WHEN r.relkind IS NULL OR r.relkind = 'c' THEN t.typname END
    FROM types JOIN pg_type t ON t.oid = types.oid LEFT JOIN pg_class r ON r.oid = t.typrelid
"""
_RETURNING_TYPES = """
    SELECT oid FROM pg_proc WHERE prorettype IN ({0}) OR EXISTS (
        SELECT FROM unnest(proallargtypes, proargmodes) AS a (type, mode)
        WHERE type IN ({0}) AND mode IN ('o', 'b', 't')
    )
"""
_COLUMNS_OF_TYPES = "SELECT attrelid, atttypid FROM pg_attribute WHERE attnum > 0 AND atttypid IN ({})"
_ARGUMENTS_OF_TYPES = """
    SELECT p.oid, type FROM pg_proc p, unnest(proargtypes::oid[] || prorettype || proallargtypes) type
    WHERE type IN ({})
"""
_SCHEMAS = f"SELECT n.oid, n.nspname, has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE {_USER_SCHEMA}"
# What lies in a schema is found by what depends on it: pg_class has no index for that, and may have 100,000 rows.
_IN_SCHEMA = "d.refclassid = 'pg_namespace'::regclass AND d.classid = 'pg_class'::regclass"
_SCHEMAS_WITH_RELATIONS = f"""
    SELECT n.nspname FROM pg_namespace n WHERE {_USER_SCHEMA} AND EXISTS (
        SELECT FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
        WHERE {_IN_SCHEMA} AND d.refobjid = n.oid AND {_KINDS}
    ) LIMIT 2
"""
# The types of a table's rows depend on the table, and only those that were made as types on a schema.
_COMPOSITE_TYPES = """
    SELECT t.typrelid AS oid FROM pg_depend d JOIN pg_type t ON t.oid = d.objid
    WHERE d.refclassid = 'pg_namespace'::regclass AND d.classid = 'pg_type'::regclass AND t.typtype = 'c' AND {}
"""
# Whether the schema exists that "$user" means.
_OWN_SCHEMA = """
    SELECT current_user, EXISTS (SELECT FROM pg_namespace WHERE lower(nspname) = lower(current_user))
"""
_ROLES = "SELECT rolname FROM pg_roles"
_MIXED_SCHEMAS = """
    SELECT n.nspname FROM pg_namespace n WHERE {} AND EXISTS (
        SELECT FROM pg_depend d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
        AND d.classid <> 'pg_class'::regclass
    )
"""
_EVENT_TRIGGERS = "SELECT EXISTS (SELECT FROM pg_event_trigger WHERE evtenabled <> 'D')"
# The step of a recursion from types to what they are made of: elements of arrays, the types below domains and ranges.
_PARTS_OF_TYPES = """
    SELECT part.type FROM types JOIN pg_type t ON t.oid = types.type LEFT JOIN pg_range r ON r.rngtypid = t.oid
    CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype), (r.rngsubtype)) AS part (type) WHERE part.type <> 0
"""
# Which other schemas some depend on: by what a view, a rule or a policy names, by partitions and inheritance, by
# columns that are rows of a table, by foreign keys that change the rows that refer to them.
_NEEDED_SCHEMAS = f"""
    WITH RECURSIVE given AS MATERIALIZED (
        SELECT d.objid AS oid FROM pg_depend d WHERE {_IN_SCHEMA} AND d.refobjid = ANY ('{{{{{{0}}}}}}')
        UNION ALL {_COMPOSITE_TYPES.format("d.refobjid = ANY ('{{{0}}}')")}
    ), types AS (
        SELECT d.refobjid AS type FROM (
            SELECT 'pg_class'::regclass, oid FROM given
            UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM given JOIN pg_rewrite r ON r.ev_class = given.oid
            UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM given JOIN pg_policy p ON p.polrelid = given.oid
        ) AS object (class, oid) JOIN pg_depend d ON d.classid = object.class AND d.objid = object.oid
        WHERE d.refclassid = 'pg_type'::regclass
        UNION {_PARTS_OF_TYPES}
    ), needed AS (
        SELECT d.refobjid FROM given JOIN pg_rewrite r ON r.ev_class = given.oid JOIN pg_depend d
            ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
        UNION SELECT d.refobjid FROM given JOIN pg_policy p ON p.polrelid = given.oid JOIN pg_depend d
            ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_class'::regclass
        UNION SELECT inhparent FROM pg_inherits JOIN given ON given.oid = inhrelid
        UNION SELECT inhrelid FROM pg_inherits JOIN given ON given.oid = inhparent
        UNION SELECT k.conrelid FROM given JOIN pg_depend d
            ON d.refclassid = 'pg_class'::regclass AND d.refobjid = given.oid AND d.classid = 'pg_constraint'::regclass
            JOIN pg_constraint k ON k.oid = d.objid
            WHERE k.contype = 'f' AND (k.confdeltype NOT IN ('a', 'r') OR k.confupdtype NOT IN ('a', 'r'))
        UNION SELECT t.typrelid FROM types JOIN pg_type t ON t.oid = types.type
    )
    SELECT DISTINCT n.oid FROM needed JOIN pg_class c ON c.oid = needed.refobjid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND {_USER_SCHEMA} AND n.oid <> ALL ('{{{{{{0}}}}}}')
"""
# Schemas that any statement may depend on: those of rows that are arguments or answers of functions, and of tables
# that functions of extensions look into.
_SCHEMAS_OF_ROWS = f"""
    WITH RECURSIVE types AS (
        SELECT unnest(proargtypes::oid[] || prorettype || coalesce(proallargtypes, '{{}}')) AS type
        FROM pg_proc WHERE oid >= 16384
        UNION {_PARTS_OF_TYPES}
    )
    SELECT DISTINCT n.oid FROM types JOIN pg_type t ON t.oid = types.type
        JOIN pg_class c ON c.oid = t.typrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE {_USER_SCHEMA}
    UNION SELECT c.relnamespace FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass AND {_KINDS}
"""
# All that functions run by names: their code, their own search paths, the defaults of their arguments.
_TEXTS_OF_FUNCTIONS = f"""
    SELECT DISTINCT concat_ws(
        ' ', p.prosrc, pg_get_function_sqlbody(p.oid), p.proconfig, pg_get_expr(p.proargdefaults, 0)
    )
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_OWN.format("p")} AND l.lanname NOT IN ('c', 'internal')
"""
# By name alone, which the server puts together: there are many columns. Categories of types that are text nowhere:
# boolean, date, geometric, network, numeric, range, interval, bit string.
_NO_TEXT = "t.typcategory IN ('B', 'D', 'G', 'I', 'N', 'R', 'T', 'V') OR t.oid = 'uuid'::regtype"
_UNTEXTED = f"""
    SELECT a.attname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    WHERE a.attnum > 0 AND a.attrelid >= 16384 AND {{}} GROUP BY a.attname HAVING bool_and({_NO_TEXT})
"""
# Types of times of day, and what is made of them.
_TIMES = """
    WITH RECURSIVE columns AS MATERIALIZED (
        SELECT attrelid, attname, atttypid FROM pg_attribute a WHERE a.attnum > 0 AND a.attrelid >= 16384 AND {}
    ), made_of AS (
        SELECT DISTINCT atttypid AS whole, atttypid AS part FROM columns
        UNION SELECT m.whole, made.part FROM made_of m CROSS JOIN LATERAL (
            SELECT unnest(ARRAY[typbasetype, typelem]) FROM pg_type WHERE pg_type.oid = m.part
            UNION ALL SELECT rngsubtype FROM pg_range WHERE rngtypid = m.part
        ) AS made (part)
        WHERE made.part <> 0
    )
    SELECT attrelid, attname, bool_or(part = 'timetz'::regtype) FROM columns JOIN made_of ON whole = atttypid
    WHERE part IN ('time'::regtype, 'timetz'::regtype) GROUP BY attrelid, attname
"""
_PATH = "SELECT unnest(current_schemas(false))"

CLOCK = 2.0  # seconds by which a process may seem to have been started earlier or later: clocks are set

SEVERAL = 2  # schemas with relations, from which on each of them counts by itself

_IDLE = 0  # libpq's PQTRANS_IDLE: no transaction is open


def _tuple_rows(cursor: Any) -> type[tuple[Any, ...]]:
    """Make rows as ``psycopg.rows.tuple_row`` does, which is not installed with psycopg2."""
    return tuple


@contextmanager
def asking(driver_connection: Any) -> Iterator[Any]:
    """Provide a cursor that leaves no transaction open: with autocommit off, the driver begins one for any query.

    Its rows are tuples, whatever rows the project has its connections make.
    """
    idle = driver_connection.info.transaction_status == _IDLE
    options = {"row_factory": _tuple_rows} if hasattr(driver_connection, "row_factory") else {}  # psycopg 3 has them
    try:
        with driver_connection.cursor(**options) as cursor:
            yield cursor
    finally:
        if idle and not driver_connection.autocommit:
            driver_connection.rollback()


def identify(connection: CachedConnection) -> Server:
    """Return the server behind a Django connection that was just made."""
    with asking(connection.connection) as cursor:
        cursor.execute(_SERVER)
        name, oid, started, *rest = cursor.fetchone()
    address, port, process, began, replica, isolation, understood, user, path, *settings = rest
    # Between us and the server the number of its process is made up.
    pooled = connection.connection.info.backend_pid != process
    return Server(
        identity=_identity(oid, started),
        local=_is_here(connection.connection, address, port, process, began),
        replica=replica,
        settings=(name, *settings),
        isolation=isolation,
        understood=understood,
        path=path,
        user=user,
        pooled=pooled,
        direct=not pooled,
        steady=not pooled,  # from a primary to a standby it is a new start
    )


def custom_settings(connection: CachedConnection, names: Collection[str]) -> dict[str, str | None]:
    """Return the values of these settings, and of those that roles and databases begin sessions with; None: not set."""
    with asking(connection.connection) as cursor:
        cursor.execute(_CUSTOM_SETTINGS, [list(names)])
        return dict(cursor.fetchall())


def is_same(connection: CachedConnection, server: Server) -> bool:
    """Ask an open connection, in a transaction or not, whether the server behind it is still this one."""
    with asking(connection.connection) as cursor:
        cursor.execute(_IDENTITY)
        _, oid, started = cursor.fetchone()
        return _identity(oid, started) == server.identity


def is_there(server: Server) -> bool | None:
    """Return None: only a connection can show."""
    return None


def _identity(oid: int, started: str) -> str:
    """Name a database by what it keeps when it is renamed: what is written under another name is written to it."""
    return f"postgresql {oid} {started}"


def _is_here(
    driver_connection: Any, address: str | None, port: int | None, process: int, began: float | None
) -> bool | None:
    """Return whether the server is on this host, and all its clients on this host share this process's files.

    ``address``: the server's, as it sees it itself, None for a socket; a loopback address says nothing, since a tunnel
    has one at both ends. ``port``: ours, as the server sees it. ``process``, ``began``: its process for this session,
    and when that was started; None if the role may not know.
    """
    if address is not None and not ipaddress.ip_address(address).is_loopback:
        return False
    if HAS_PROC:
        return None if began is None else is_on_this_host(process, "postgres", began, within=CLOCK)
    return address is None or port == local_port(driver_connection.fileno())


def elsewhere(connection: CachedConnection, server: Server) -> dict[str, frozenset[str]]:
    """Return none: a session of PostgreSQL stays in its database."""
    return {}


def extent(connection: CachedConnection, schemas: frozenset[str] | None) -> Extent:
    """Return which schemas have to be read for what lies in these, folded, and for what that depends on."""
    if schemas is None:
        return Extent(None, is_divided=True)
    with asking(connection.connection) as cursor:
        cursor.execute(_OWN_SCHEMA)
        user, has_schema = cursor.fetchone()
        own = frozenset() if has_schema else frozenset({user.lower()})
        # Nobody makes one that is called like a role without invalidating everything, nor one of the system's names.
        schemas = frozenset(name for name in schemas - own if not name.startswith("pg_"))
        if schemas <= {SHARED_SCHEMA} and len(_rows(cursor, _SCHEMAS_WITH_RELATIONS)) < SEVERAL:
            return WHOLE_CATALOG
        with _along_no_path(connection.connection, cursor):
            return Extent(_with_needed(cursor, schemas), is_divided=True)


def _with_needed(cursor: Any, schemas: frozenset[str]) -> frozenset[str]:
    """Return these schemas, whether they exist or not, and those that statements about them can depend on."""
    folded = {oid: name.lower() for oid, name, _ in _rows(cursor, _SCHEMAS)}
    found = {oid for oid, name in folded.items() if name in schemas}
    found.update(oid for (oid,) in _rows(cursor, _SCHEMAS_OF_ROWS))
    named = _named_by_functions(cursor, folded.values())
    found.update(oid for oid, name in folded.items() if name in named)
    while True:
        oids = ",".join(map(str, sorted(found)))
        needed = {oid for (oid,) in _rows(cursor, _NEEDED_SCHEMAS.format(oids))}
        if not needed:
            return schemas | {folded[oid] for oid in found if oid in folded}
        found |= needed


def _named_by_functions(cursor: Any, names: Collection[str]) -> set[str]:
    """Return those of these folded names that may stand in what functions run."""
    words: set[str] = set()
    # In quotes a name can have anything in it, and its quotes are doubled.
    quoted = {name: name.replace('"', '""') for name in names if not _WORDS.fullmatch(name)}
    found: set[str] = set()
    for (text,) in _rows(cursor, _TEXTS_OF_FUNCTIONS):
        folded = text.lower()
        words.update(_WORDS.findall(folded))
        found.update(name for name, in_text in quoted.items() if in_text in folded)
    return found | words.intersection(names)


_WORDS = re.compile(r"\w+")


@contextmanager
def _along_no_path(driver_connection: Any, cursor: Any) -> Iterator[None]:
    """Have the database write out the schema of every name, so that a part of the catalog needs no other part.

    What is set for it is put back, as it would be by itself at the end of a transaction. The planner takes the small
    parts for large ones, and would spend more time on compiling the queries than on running them.
    """
    if driver_connection.info.transaction_status == _IDLE and driver_connection.autocommit:
        cursor.execute("BEGIN")
        try:
            cursor.execute(_SET_BY)
            yield
        finally:
            cursor.execute("ROLLBACK")
        return
    cursor.execute("SELECT current_setting('search_path'), current_setting('jit')")
    before = cursor.fetchone()
    cursor.execute(_SET_BY)
    yield
    cursor.execute("SELECT current_setting('search_path')")
    (path,) = cursor.fetchone()
    cursor.execute("SELECT set_config('search_path', %s, true), set_config('jit', %s, true)", before)
    if path:
        raise NotSupportedError("the search path was set back meanwhile")  # in a pipeline, by the end of its statement


_SET_BY = "SELECT set_config('search_path', '', true), set_config('jit', 'off', true)"


def _rows(cursor: Any, query: str) -> list[Any]:
    cursor.execute(query)
    return list(cursor.fetchall())


def load(connection: CachedConnection, extent: Extent = WHOLE_CATALOG) -> Facts:
    """Read the catalog as the connection's user sees it."""
    with asking(connection.connection) as cursor:
        if not extent.is_divided:
            return _facts(cursor, extent)
        with _along_no_path(connection.connection, cursor):
            return _facts(cursor, extent)


def _among(column: str, oids: Collection[int] | None) -> str:
    """Return a condition of SQL: the column holds one of these numbers; None: any number."""
    return "true" if oids is None else f"{column} = ANY ('{{{','.join(map(str, oids))}}}'::oid[])"


def _facts(cursor: Any, extent: Extent) -> Facts:
    def rows(query: str) -> list[Any]:
        return _rows(cursor, query)

    def of_relations(query: str, column: str) -> list[Any]:
        """Return the rows that belong to the relations of this extent, by the column that refers to them."""
        return rows(query.replace("{}", _among(column, those)))

    schemas = rows(_SCHEMAS)
    given = extent.schemas
    existing = frozenset(schema.lower() for _, schema, _ in schemas)
    path = tuple(schema.lower() for (schema,) in rows(_PATH))
    oids = None if given is None else [oid for oid, schema, _ in schemas if schema.lower() in given]
    within = "true"
    if oids is not None:
        within = f"c.oid IN (SELECT d.objid FROM pg_depend d WHERE {_IN_SCHEMA} AND {_among('d.refobjid', oids)})"
    relations = {row[0]: _relation(*row[1:]) for row in rows(_RELATIONS.format(within))}
    those = None if oids is None else [*relations]
    names = {oid: relation.name for oid, relation in relations.items()}
    every_function = rows(_FUNCTIONS)
    found = [row for row in every_function if not is_postgresql_function(row[1], row[4])]
    functions = {row[0]: _function(path, *row[1:]) for row in found}
    # An extension can have dozens of tables. One of them stands for all, so that a query depends on that one alone.
    of_extensions: set[tuple[str, str]] = set()
    for oid, members in rows(_EXTENSIONS):
        tables = [names[table] for table in sorted(members) if table in names]
        if tables and oid in functions:
            functions[oid] = replace(functions[oid], reads=frozenset(tables[:1]))
            of_extensions.update((table, tables[0]) for table in tables[1:])
    cast_reason, cast_names, cast_relations = _unrepeatable_casts(rows, functions)
    for relation in cast_relations & relations.keys():
        if relations[relation].bypass_reason is None:
            relations[relation] = replace(relations[relation], bypass_reason=reasons.FUNCTION)
    parts = [(functions.get(whole), functions.get(part)) for whole, part in rows(_AGGREGATES)]
    besides = [
        # These give no answer of their own, but what they call may change something.
        replace(
            functions[oid],
            volatility=IMMUTABLE,
            code=Code(f"SELECT {defaults}", True, path, reads=True, origin=f"a default of {name}()"),
        )
        for oid, name, *_, defaults, _ in found
        if defaults is not None
    ]
    of_types, columns = _run_by_values(rows, functions) if rows(_CALLING) else ([], [])
    besides += of_types
    operators = [(name, functions.get(oid)) for name, oid in rows(_OPERATORS)]
    bodies = [
        (names[relation], functions[oid].code)
        for relation, oid in of_relations(_RUN_BY_WRITES, "relation")
        if relation in names and oid in functions
    ]
    # What stands before the words that count: CREATE RULE name AS ON INSERT TO view WHERE … DO INSTEAD
    rules = [
        (names[oid], Code(text.partition(" RULE ")[2], True, path, origin=f"the rule {rule}"))
        for oid, rule, text in of_relations(_RULES, "ev_class")
        if oid in names
    ]
    views = [(names[oid], is_stored, text) for oid, is_stored, text in of_relations(_VIEWS, "c.oid") if oid in names]
    # Nothing but REFRESH writes to a materialized view.
    refreshes = [
        (name, Code(text, True, path, reads=True, origin="the query of the materialized view"))
        for name, is_stored, text in views
        if is_stored
    ]
    policies = [
        (names[relation], *conditions)
        for relation, *conditions in of_relations(_POLICIES, "polrelid")
        if relation in names
    ]
    checks = [
        (name, Code(condition, True, path, reads=True, origin="a row-level policy"))
        for name, *conditions in policies
        for condition in conditions
        if condition is not None
    ]
    times: dict[str, set[str]] = {}
    for oid, column, zoned in of_relations(_TIMES, "a.attrelid"):
        if oid in relations:
            times.setdefault(names[oid], set()).add(column.lower())
            if zoned and relations[oid].bypass_reason is None:
                # Values that such a column is compared with get the time zone's offset of today.
                relations[oid] = replace(relations[oid], bypass_reason=reasons.CLOCK)
    keys = [
        (names[one], names[other], acts)
        for one, other, acts in of_relations(_FOREIGN_KEYS, "conrelid")
        if {one, other} <= names.keys()
    ]
    composites = rows(_COMPOSITE_TYPES.format(_among("d.refobjid", oids)))
    columned = None if those is None else [*those, *(oid for (oid,) in composites)]
    cursor.execute("SELECT current_user")
    (user,) = cursor.fetchone()
    return Facts(
        relations=list(relations.values()),
        views={name: text for name, is_stored, text in views if not is_stored},
        reaches=[*((one, other) for one, other, acts in keys if acts), *of_extensions],
        references=[(one, other) for one, other, _ in keys],
        inherits=[
            (names[one], names[other])
            for one, other in of_relations(_INHERITANCE, "inhparent")
            if {one, other} <= names.keys()
        ],
        bodies=[(relation, code) for relation, code in bodies if code is not None]
        + [(names[relation], code) for relation, code in columns if relation in names]
        + [*rules, *refreshes, *checks],
        policies=[(name, using) for name, using, _ in policies if using is not None],
        functions=[
            *functions.values(),
            *(replace(whole, volatility=part.volatility, code=part.code) for whole, part in parts if whole and part),
            *besides,
            *cast_names,
        ],
        operators=[
            Function(name, one.volatility, one.code, reads=one.reads)
            for name, one in operators
            if one and (_varies(one) or (one.reads and name not in COMMON_OPERATORS))
        ],
        times={name: frozenset(columns) for name, columns in times.items()},
        keys=read_row_keys(rows, lambda column: _among(column, those), names),
        untexted=frozenset(column.lower() for (column,) in rows(_UNTEXTED.format(_among("a.attrelid", columned)))),
        extent=extent,
        schemas=existing,
        mixed_schemas=frozenset(schema.lower() for (schema,) in rows(_MIXED_SCHEMAS.format(_among("n.oid", oids)))),
        awaited=_named_by_functions(cursor, given - existing)
        if given is not None and given - existing
        else frozenset(),
        roles=frozenset() if given is None else given & {role.lower() for (role,) in rows(_ROLES)},
        has_event_triggers=bool(rows(_EVENT_TRIGGERS)[0][0]),
        has_write_triggers=len(found) < len(every_function),
        # Of schemas whose names differ in case alone, a path that is folded does not show which one it has.
        usable=existing
        - frozenset(schema.lower() for _, schema, usable in schemas if not usable or schema != schema.lower()),
        user=user.lower(),
        path=path,
        bypass_reason=cast_reason,
    )


def _run_by_values(
    rows: Callable[[str], list[Any]], functions: Mapping[int, Function]
) -> tuple[list[Function], list[tuple[int, Code]]]:
    """Return what values of domains, and of types that are made of domains, run.

    By the names of those types and of the functions that take or give them, and by the oids of relations with a column
    of one.
    """
    by_type: dict[int, list[Code]] = {}
    by_name = []
    for type_, name, oid in rows(_TYPES):
        code = functions[oid].code if oid in functions else None
        if code is not None:
            by_type.setdefault(type_, []).append(code)
            if name is not None:  # a table's name stands for its rows, which run nothing when they are read
                by_name.append(Function(name.lower(), IMMUTABLE, code))
    if not by_type:
        return [], []
    types = ", ".join(map(str, by_type))
    by_name += [
        replace(functions[oid], volatility=IMMUTABLE, code=code)
        for oid, type_ in rows(_ARGUMENTS_OF_TYPES.format(types))
        if oid in functions
        for code in by_type[type_]
    ]
    columns = rows(_COLUMNS_OF_TYPES.format(types))
    return by_name, [(relation, code) for relation, type_ in columns for code in by_type[type_]]


def _unrepeatable_casts(
    rows: Callable[[str], list[Any]], functions: dict[int, Function]
) -> tuple[str | None, list[Function], set[int]]:
    """Find what casts keep from being cached: casts are called where no text shows it.

    Returns a bypass reason for all results of the database, names of types and functions whose values are cast, and the
    oids of relations with such values in a column. Where an extension brings a type and its cast, as PostGIS's topology
    does, the cast is a part of the type: it concerns values of the type alone, and changes nothing.
    """
    sources = set()
    for oid, is_own, source in rows(_CASTS):
        function = functions.get(oid)
        if function is None or not _varies(function):
            continue
        if not is_own:
            return reasons.FUNCTION, [], set()
        sources.add(source)
        functions[oid] = replace(function, code=None, by_row=False)
    if not sources:
        return None, [], set()
    types = dict(rows(_MADE_OF.format(", ".join(map(str, sources)))))
    listed = ", ".join(map(str, types))
    named = [Function(name.lower(), VOLATILE) for name in types.values() if name is not None]
    named += [
        replace(functions[oid], volatility=VOLATILE, code=None)
        for (oid,) in rows(_RETURNING_TYPES.format(listed))
        if oid in functions
    ]
    return None, named, {relation for relation, _ in rows(_COLUMNS_OF_TYPES.format(listed))}


def _relation(schema: str, name: str, kind: str | bytes, persistence: str | bytes) -> Relation:
    bypass_reason = reasons.UNLOGGED if _text(persistence) == "u" else None
    if _text(kind) == "f":
        bypass_reason = reasons.FOREIGN_TABLE
    if _text(kind) == "S":
        bypass_reason = reasons.SEQUENCE
    shown = name if schema == "public" else f"{schema}.{name}"
    return Relation(shown, schema.lower(), name.lower(), bypass_reason)


def _function(
    path: Path,
    name: str,
    volatility: str | bytes,
    language: str,
    source: str | None,
    stored: str | None,
    search_path: str | None,
    defaults: str | None,
    by_row: bool,
) -> Function:
    """``stored``: the body where the database keeps it parsed, its names as seen along ``path``."""
    volatility, folded, origin = _text(volatility), name.lower(), f"the function {name}()"
    if defaults is not None and analyse(f"SELECT {defaults}", "postgresql").bypass_reason is not None:
        volatility = VOLATILE  # f(at timestamptz DEFAULT now())
    make = partial(Function, folded, by_row=by_row)
    if language in ("c", "internal"):
        if source is not None and source.lower() in RUN_SQL and folded not in RUN_SQL:
            return make(VOLATILE, Code(None, origin=origin))  # by another name than its own
        if folded in IMMUTABLE_C_FUNCTIONS:
            return make(IMMUTABLE)
        if volatility == STABLE:
            return make(STABLE_IN_C)
        harmless = volatility == IMMUTABLE or folded in UNREPEATABLE or folded in HARMLESS_C_FUNCTIONS
        return make(volatility, None if harmless else Code(None, origin=origin))
    reads, believed = volatility != VOLATILE, volatility == IMMUTABLE
    if stored is not None:
        return make(volatility, Code(stored, True, path, reads, believed, origin))
    if search_path is not None:
        return make(volatility, Code(source, True, _path(search_path), reads, believed, origin))
    return make(volatility, Code(source, reads=reads, believed=believed, origin=origin))


def _path(setting: str) -> Path:
    """Return the schemas in a function's own ``search_path``, folded; None if they depend on who runs it."""
    names = split_path(setting)
    return None if names is None or "$user" in names else tuple(name.lower() for name in names if name)


def _varies(function: Function) -> bool:
    return function.volatility not in (IMMUTABLE, STABLE_IN_C)


def _text(char: str | bytes) -> str:
    """Return a value of the type "char" as str: some drivers return bytes."""
    return char.decode() if isinstance(char, bytes) else char
