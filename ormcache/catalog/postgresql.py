"""PostgreSQL: what a connection tells of its server, and the catalog."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ormcache import reasons
from ormcache.catalog.facts import (
    IMMUTABLE,
    STABLE,
    STABLE_IN_C,
    VOLATILE,
    Code,
    Facts,
    Function,
    Path,
    Relation,
    Server,
)
from ormcache.host import in_container, runs_here
from ormcache.sql.vocabulary import HARMLESS_IN_C, UNREPEATABLE

# The microsecond at which a server was started is its own, and its files cannot have been replaced by those of a backup
# since. The cluster's identifier and its timeline would tell less: a restored copy shares them, and not every role may
# ask for them, while all roles must come to the same answer.
_SERVER = """
    SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database()),
           extract(epoch FROM pg_postmaster_start_time())::text,
           host(inet_server_addr()), pg_backend_pid(), pg_is_in_recovery(),
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

_USER_SCHEMA = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"

_RELATIONS = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {_USER_SCHEMA}
"""
_VIEWS = f"""
    SELECT c.oid, pg_get_viewdef(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'v' AND {_USER_SCHEMA}
"""
# Actions: a = no action, r = restrict; all others change rows of the referencing table.
_FOREIGN_KEYS = """
    SELECT confrelid, conrelid FROM pg_constraint
    WHERE contype = 'f' AND (confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r'))
"""
_INHERITANCE = "SELECT inhparent, inhrelid FROM pg_inherits"
_TRIGGERS = "SELECT tgrelid, tgfoid FROM pg_trigger WHERE NOT tgisinternal"
_RULES = """
    SELECT ev_class, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN'
"""
_POLICIES = """
    SELECT polrelid, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polqual IS NOT NULL
"""
_FUNCTIONS = f"""
    SELECT p.oid, p.proname, p.provolatile, l.lanname,
           CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN p.prosrc END, pg_get_function_sqlbody(p.oid),
           (SELECT substr(setting, 13) FROM unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%')
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_USER_SCHEMA}
"""
# What pg_proc says of an aggregate's volatility is not true; what it is made of counts.
_AGGREGATES = """
    SELECT aggfnoid::oid, part FROM pg_aggregate, unnest(ARRAY[aggtransfn, aggfinalfn, aggmtransfn]::oid[]) part
    WHERE part >= 16384
"""
_OPERATORS = f"""
    SELECT o.oprname, o.oprcode::oid FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE {_USER_SCHEMA}
"""
_CASTS = "SELECT castfunc::oid FROM pg_cast WHERE castfunc >= 16384"
# Functions that run when rows are written: in defaults, CHECK constraints, policies, domains. Built-in ones are in no
# dependency. Nothing that indexes and generated columns call may change anything.
_RUN_BY_WRITES = """
    WITH uses AS (
        SELECT d.classid, d.objid, coalesce(o.oprcode::oid, d.refobjid) AS function
        FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
          AND d.classid IN ('pg_attrdef'::regclass, 'pg_constraint'::regclass, 'pg_policy'::regclass,
                            'pg_type'::regclass)
    )
    SELECT adrelid, function FROM uses JOIN pg_attrdef a ON a.oid = objid WHERE classid = 'pg_attrdef'::regclass
    UNION
    SELECT conrelid, function FROM uses JOIN pg_constraint c ON c.oid = objid
    WHERE classid = 'pg_constraint'::regclass AND contype = 'c' AND conrelid <> 0
    UNION
    SELECT polrelid, function FROM uses JOIN pg_policy p ON p.oid = objid WHERE classid = 'pg_policy'::regclass
    UNION
    SELECT attrelid, function FROM uses JOIN pg_constraint c ON c.oid = objid JOIN pg_attribute ON atttypid = contypid
    WHERE classid = 'pg_constraint'::regclass AND contypid <> 0
    UNION
    SELECT attrelid, function FROM uses JOIN pg_attribute ON atttypid = objid WHERE classid = 'pg_type'::regclass
"""
_DOMAINS = """
    SELECT t.typname, d.refobjid
    FROM pg_constraint c JOIN pg_type t ON t.oid = c.contypid
         JOIN pg_depend d ON d.classid = 'pg_constraint'::regclass AND d.objid = c.oid
    WHERE d.refclassid = 'pg_proc'::regclass
"""
_SCHEMAS = f"SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE') FROM pg_namespace n WHERE {_USER_SCHEMA}"
_PATH = "SELECT unnest(current_schemas(false))"

_IDLE = 0  # libpq's PQTRANS_IDLE: no transaction is open


@contextmanager
def _asking(connection: Any) -> Iterator[Any]:
    """A cursor that leaves no transaction behind: with autocommit off, the driver begins one for the first question."""
    idle = connection.info.transaction_status == _IDLE
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        if idle and not connection.autocommit:
            connection.rollback()


def identify(connection: Any, database: str) -> Server:
    """What a DB-API connection that was just made tells of its server."""
    with _asking(connection) as cursor:
        cursor.execute(_SERVER)
        name, oid, started, *rest = cursor.fetchone()
    address, process, replica, isolation, understood, user, path, *settings = rest
    return Server(
        identity=f"postgresql {name} {oid} {started}",
        local=_is_here(address, process),
        replica=replica,
        settings=tuple(settings),
        isolation=isolation,
        understood=understood,
        path=path,
        user=user,
        # Between us and the server the number of its process is made up.
        pooled=connection.info.backend_pid != process,
    )


def _is_here(address: str | None, process: int) -> bool:
    """Is the server on this host, and do all that use it from this host share this process's files?

    A socket has no address. A loopback address at our end alone could be a tunnel's or a pooler's.
    """
    local = address is None or ipaddress.ip_address(address).is_loopback
    return local and (not in_container() or runs_here(process, "postgres"))


def load(connection: Any) -> Facts:
    """The catalog, as the DB-API connection's user sees it."""
    with _asking(connection) as cursor:

        def rows(query: str) -> list[Any]:
            cursor.execute(query)
            return list(cursor.fetchall())

        path = tuple(schema.lower() for (schema,) in rows(_PATH))
        relations = {row[0]: _relation(*row[1:]) for row in rows(_RELATIONS)}
        names = {oid: relation.name for oid, relation in relations.items()}
        functions = {row[0]: _function(path, *row[1:]) for row in rows(_FUNCTIONS)}
        parts = [(functions.get(whole), functions.get(part)) for whole, part in rows(_AGGREGATES)]
        domains = [(name, functions.get(oid)) for name, oid in rows(_DOMAINS)]
        operators = [(name, functions.get(oid)) for name, oid in rows(_OPERATORS)]
        casts = [functions.get(oid) for (oid,) in rows(_CASTS)]
        bodies = [
            (names[relation], functions[oid].code)
            for relation, oid in rows(_TRIGGERS) + rows(_RUN_BY_WRITES)
            if relation in names and oid in functions
        ]
        # What stands before the words that count: CREATE RULE name AS ON INSERT TO view WHERE … DO INSTEAD
        rules = [
            (names[oid], Code(text.partition(" RULE ")[2], True, path)) for oid, text in rows(_RULES) if oid in names
        ]
        schemas = rows(_SCHEMAS)
        cursor.execute("SELECT current_user")
        (user,) = cursor.fetchone()
        return Facts(
            relations=list(relations.values()),
            views={names[oid]: text for oid, text in rows(_VIEWS) if oid in names},
            reaches=[(names[one], names[other]) for one, other in rows(_FOREIGN_KEYS) if {one, other} <= names.keys()],
            inherits=[(names[one], names[other]) for one, other in rows(_INHERITANCE) if {one, other} <= names.keys()],
            bodies=[(relation, code) for relation, code in bodies if code is not None] + rules,
            policies=[(names[relation], text) for relation, text in rows(_POLICIES) if relation in names],
            functions=[
                *functions.values(),
                *(Function(whole.name, part.volatility, part.code) for whole, part in parts if whole and part),
                # A condition gives no answer of its own, but what it calls may change something.
                *(Function(name.lower(), IMMUTABLE, one.code) for name, one in domains if one),
            ],
            operators=[Function(name, one.volatility, one.code) for name, one in operators if one and _varies(one)],
            schemas=frozenset(schema.lower() for schema, _ in schemas),
            usable=frozenset(schema.lower() for schema, _ in schemas)
            - frozenset(schema.lower() for schema, usable in schemas if not usable),
            user=user.lower(),
            path=path,
            # Casts are called where no text shows it.
            obstacle=reasons.FUNCTION if any(one and _varies(one) for one in casts) else None,
        )


def _relation(schema: str, name: str, kind: str | bytes, persistence: str | bytes) -> Relation:
    obstacle = reasons.UNLOGGED if _text(persistence) == "u" else None
    if _text(kind) == "f":
        obstacle = reasons.FOREIGN_TABLE
    shown = name if schema == "public" else f"{schema}.{name}"
    return Relation(shown, schema.lower(), name.lower(), obstacle)


def _function(
    path: Path,
    name: str,
    volatility: str | bytes,
    language: str,
    source: str | None,
    stored: str | None,
    search_path: str | None,
) -> Function:
    """``stored``: the body where the database keeps it parsed, its names as seen along ``path``."""
    volatility, folded = _text(volatility), name.lower()
    if language in ("c", "internal"):
        if volatility == STABLE:
            return Function(folded, STABLE_IN_C)
        harmless = volatility == IMMUTABLE or folded in UNREPEATABLE or folded in HARMLESS_IN_C
        return Function(folded, volatility, None if harmless else Code(None))
    reads = volatility != VOLATILE
    if stored is not None:
        return Function(folded, volatility, Code(stored, True, path, reads))
    if search_path is not None:
        return Function(folded, volatility, Code(source, True, path_of(search_path), reads))
    return Function(folded, volatility, Code(source, reads=reads))


def path_of(setting: str) -> Path:
    """The schemas in a plain ``search_path``; None for one that takes more than reading."""
    if any(sign in setting for sign in "\"$'"):
        return () if setting == '""' else None
    return tuple(schema.strip().lower() for schema in setting.split(","))


def _varies(function: Function) -> bool:
    return function.volatility not in (IMMUTABLE, STABLE_IN_C)


def _text(char: str | bytes) -> str:
    """The type "char" comes as str or as bytes, depending on the driver."""
    return char.decode() if isinstance(char, bytes) else char
