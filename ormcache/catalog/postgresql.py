"""PostgreSQL: what a connection tells of its server, and the catalog."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
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
from ormcache.sql import analyse, split_path
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

# Some extensions put theirs among the built-in ones; objects that are not built in have numbers from 16384 on.
_OWN = f"({_USER_SCHEMA} OR n.nspname = 'pg_catalog' AND {{}}.oid >= 16384)"

_RELATIONS = f"""
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't' AND {_USER_SCHEMA}
"""
_VIEWS = f"""
    SELECT c.oid, c.relkind = 'm', pg_get_viewdef(c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm') AND {_USER_SCHEMA}
"""
# Actions: a = no action, r = restrict; all others change rows of the referencing table.
_FOREIGN_KEYS = """
    SELECT confrelid, conrelid FROM pg_constraint
    WHERE contype = 'f' AND (confdeltype NOT IN ('a', 'r') OR confupdtype NOT IN ('a', 'r'))
"""
_INHERITANCE = "SELECT inhparent, inhrelid FROM pg_inherits"
_RULES = """
    SELECT ev_class, rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN'
"""
_POLICIES = """
    SELECT polrelid, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) FROM pg_policy
"""
_FUNCTIONS = f"""
    SELECT p.oid, p.proname, p.provolatile, l.lanname,
           CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN p.prosrc END, pg_get_function_sqlbody(p.oid),
           (SELECT substr(setting, 13) FROM unnest(p.proconfig) setting WHERE setting LIKE 'search_path=%'),
           pg_get_expr(p.proargdefaults, 0)
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_OWN.format("p")}
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
_CASTS = "SELECT castfunc::oid FROM pg_cast WHERE castfunc >= 16384"
# Functions that run when rows are written: of triggers and their WHEN, in defaults and CHECK constraints.
# Built-in ones are in no dependency. Nothing that indexes and generated columns call may change anything.
_RUN_BY_WRITES = """
    WITH uses AS (
        SELECT d.classid, d.objid, coalesce(o.oprcode::oid, d.refobjid) AS function
        FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
        WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
          AND d.classid IN ('pg_trigger'::regclass, 'pg_attrdef'::regclass, 'pg_constraint'::regclass)
    )
    SELECT tgrelid, function FROM uses JOIN pg_trigger t ON t.oid = objid WHERE classid = 'pg_trigger'::regclass
    UNION
    SELECT adrelid, function FROM uses JOIN pg_attrdef a ON a.oid = objid WHERE classid = 'pg_attrdef'::regclass
    UNION
    SELECT conrelid, function FROM uses JOIN pg_constraint c ON c.oid = objid
    WHERE classid = 'pg_constraint'::regclass AND contype = 'c' AND conrelid <> 0
"""
# Domains, by their conditions and defaults.
_CALLING = """
    SELECT coalesce(c.contypid, d.objid) AS type, coalesce(o.oprcode::oid, d.refobjid) AS function
    FROM pg_depend d
         LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
         LEFT JOIN pg_constraint c ON d.classid = 'pg_constraint'::regclass AND c.oid = d.objid
    WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
      AND (d.classid = 'pg_type'::regclass OR c.contypid <> 0)
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
_COLUMNS_OF_TYPES = "SELECT attrelid, atttypid FROM pg_attribute WHERE attnum > 0 AND atttypid IN ({})"
_ARGUMENTS_OF_TYPES = """
    SELECT p.oid, type FROM pg_proc p, unnest(proargtypes::oid[] || prorettype || proallargtypes) type
    WHERE type IN ({})
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


def identify(connection: Any) -> Server:
    """What a Django connection that was just made tells of its server."""
    with _asking(connection.connection) as cursor:
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
        pooled=connection.connection.info.backend_pid != process,
    )


def _is_here(address: str | None, process: int) -> bool:
    """Is the server on this host, and do all that use it from this host share this process's files?

    A socket has no address. A loopback address at our end alone could be a tunnel's or a pooler's.
    """
    local = address is None or ipaddress.ip_address(address).is_loopback
    return local and (not in_container() or runs_here(process, "postgres"))


def elsewhere(connection: Any, server: Server) -> dict[str, frozenset[str]]:
    """A session of PostgreSQL stays in its database."""
    return {}


def load(connection: Any) -> Facts:
    """The catalog, as the connection's user sees it."""
    with _asking(connection.connection) as cursor:

        def rows(query: str) -> list[Any]:
            cursor.execute(query)
            return list(cursor.fetchall())

        path = tuple(schema.lower() for (schema,) in rows(_PATH))
        relations = {row[0]: _relation(*row[1:]) for row in rows(_RELATIONS)}
        names = {oid: relation.name for oid, relation in relations.items()}
        found = rows(_FUNCTIONS)
        functions = {row[0]: _function(path, *row[1:]) for row in found}
        parts = [(functions.get(whole), functions.get(part)) for whole, part in rows(_AGGREGATES)]
        besides = [
            (functions[oid].name, Code(f"SELECT {defaults}", True, path, reads=True, origin=f"a default of {name}()"))
            for oid, name, *_, defaults in found
            if defaults is not None
        ]
        of_types, columns = _run_by_values(rows, functions) if rows(_CALLING) else ([], [])
        besides += of_types
        operators = [(name, functions.get(oid)) for name, oid in rows(_OPERATORS)]
        casts = [functions.get(oid) for (oid,) in rows(_CASTS)]
        bodies = [
            (names[relation], functions[oid].code)
            for relation, oid in rows(_RUN_BY_WRITES)
            if relation in names and oid in functions
        ]
        # What stands before the words that count: CREATE RULE name AS ON INSERT TO view WHERE … DO INSTEAD
        rules = [
            (names[oid], Code(text.partition(" RULE ")[2], True, path, origin=f"the rule {rule}"))
            for oid, rule, text in rows(_RULES)
            if oid in names
        ]
        views = [(names[oid], is_stored, text) for oid, is_stored, text in rows(_VIEWS) if oid in names]
        # Nothing but REFRESH writes to a materialized view.
        refreshes = [
            (name, Code(text, True, path, reads=True, origin="the query of the materialized view"))
            for name, is_stored, text in views
            if is_stored
        ]
        policies = [(names[relation], *conditions) for relation, *conditions in rows(_POLICIES) if relation in names]
        checks = [
            (name, Code(condition, True, path, reads=True, origin="a row-level policy"))
            for name, *conditions in policies
            for condition in conditions
            if condition is not None
        ]
        schemas = rows(_SCHEMAS)
        cursor.execute("SELECT current_user")
        (user,) = cursor.fetchone()
        return Facts(
            relations=list(relations.values()),
            views={name: text for name, is_stored, text in views if not is_stored},
            reaches=[(names[one], names[other]) for one, other in rows(_FOREIGN_KEYS) if {one, other} <= names.keys()],
            inherits=[(names[one], names[other]) for one, other in rows(_INHERITANCE) if {one, other} <= names.keys()],
            bodies=[(relation, code) for relation, code in bodies if code is not None]
            + [(names[relation], code) for relation, code in columns if relation in names]
            + [*rules, *refreshes, *checks],
            policies=[(name, using) for name, using, _ in policies if using is not None],
            functions=[
                *functions.values(),
                *(Function(whole.name, part.volatility, part.code) for whole, part in parts if whole and part),
                # These give no answer of their own, but what they call may change something.
                *(Function(name, IMMUTABLE, code) for name, code in besides),
            ],
            operators=[Function(name, one.volatility, one.code) for name, one in operators if one and _varies(one)],
            usable=frozenset(schema.lower() for schema, _ in schemas)
            - frozenset(schema.lower() for schema, usable in schemas if not usable),
            user=user.lower(),
            path=path,
            # Casts are called where no text shows it.
            obstacle=reasons.FUNCTION if any(one and _varies(one) for one in casts) else None,
        )


def _run_by_values(
    rows: Callable[[str], list[Any]], functions: Mapping[int, Function]
) -> tuple[list[tuple[str, Code]], list[tuple[int, Code]]]:
    """What values of domains, and of types that are made of domains, run.

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
                by_name.append((name.lower(), code))
    if not by_type:
        return [], []
    types = ", ".join(map(str, by_type))
    by_name += [
        (functions[oid].name, code)
        for oid, type_ in rows(_ARGUMENTS_OF_TYPES.format(types))
        if oid in functions
        for code in by_type[type_]
    ]
    columns = rows(_COLUMNS_OF_TYPES.format(types))
    return by_name, [(relation, code) for relation, type_ in columns for code in by_type[type_]]


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
    defaults: str | None,
) -> Function:
    """``stored``: the body where the database keeps it parsed, its names as seen along ``path``."""
    volatility, folded, origin = _text(volatility), name.lower(), f"the function {name}()"
    if defaults is not None and analyse(f"SELECT {defaults}", "postgresql").obstacle is not None:
        volatility = VOLATILE  # f(at timestamptz DEFAULT now())
    if language in ("c", "internal"):
        if volatility == STABLE:
            return Function(folded, STABLE_IN_C)
        harmless = volatility == IMMUTABLE or folded in UNREPEATABLE or folded in HARMLESS_IN_C
        return Function(folded, volatility, None if harmless else Code(None, origin=origin))
    reads, believed = volatility != VOLATILE, volatility == IMMUTABLE
    if stored is not None:
        return Function(folded, volatility, Code(stored, True, path, reads, believed, origin))
    if search_path is not None:
        return Function(folded, volatility, Code(source, True, _path(search_path), reads, believed, origin))
    return Function(folded, volatility, Code(source, reads=reads, believed=believed, origin=origin))


def _path(setting: str) -> Path:
    """The schemas in a function's own ``search_path``, folded; None where it depends on who runs it."""
    names = split_path(setting)
    return None if names is None or "$user" in names else tuple(name.lower() for name in names if name)


def _varies(function: Function) -> bool:
    return function.volatility not in (IMMUTABLE, STABLE_IN_C)


def _text(char: str | bytes) -> str:
    """The type "char" comes as str or as bytes, depending on the driver."""
    return char.decode() if isinstance(char, bytes) else char
