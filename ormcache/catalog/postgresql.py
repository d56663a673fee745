"""PostgreSQL: what a connection tells of its server, and the catalog."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ormcache import reasons
from ormcache.catalog.base import IMMUTABLE, STABLE, STABLE_IN_C, VOLATILE, Facts, Relation, Server
from ormcache.host import in_container, runs_here

# The microsecond at which a server was started is its own, and its files cannot have been replaced by those of a backup
# since. The cluster's identifier and its timeline would tell less: a restored copy shares them, and not every role may
# ask for them, while all roles must come to the same answer.
_SERVER = """
    SELECT current_database(), (SELECT oid FROM pg_database WHERE datname = current_database()),
           extract(epoch FROM pg_postmaster_start_time())::text,
           host(inet_server_addr()), pg_backend_pid(), pg_is_in_recovery(),
           current_setting('default_transaction_isolation'), current_setting('standard_conforming_strings') = 'on',
           current_user, session_user, current_setting('search_path'), current_setting('TimeZone'),
           current_setting('DateStyle'), current_setting('IntervalStyle'), current_setting('bytea_output'),
           current_setting('extra_float_digits'), current_setting('client_encoding'),
           current_setting('lc_numeric'), current_setting('lc_monetary'), current_setting('lc_time'),
           current_setting('default_text_search_config'), current_setting('xmloption'),
           current_setting('array_nulls'), current_setting('transform_null_equals'), current_setting('row_security')
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
_TRIGGERS = """
    SELECT t.tgrelid, n.nspname = 'pg_catalog', l.lanname, coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
    FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
         JOIN pg_language l ON l.oid = p.prolang
    WHERE NOT t.tgisinternal
"""
_RULES = """
    SELECT ev_class, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN'
"""
_POLICIES = """
    SELECT polrelid, pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polqual IS NOT NULL
"""
_FUNCTIONS = f"""
    SELECT p.proname, CASE WHEN p.provolatile = 's' AND l.lanname = 'c' THEN 'c' ELSE p.provolatile END, l.lanname,
           CASE WHEN p.provolatile = 'v' THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) END
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE {_USER_SCHEMA}
"""
_SCHEMAS = f"SELECT n.nspname FROM pg_namespace n WHERE {_USER_SCHEMA}"

_IDLE = 0  # libpq's PQTRANS_IDLE: no transaction is open

_READABLE = ("sql", "plpgsql")
_BY_VOLATILITY = IMMUTABLE + STABLE_IN_C + STABLE + VOLATILE


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
    address, process, replica, isolation, understood, *settings = rest
    return Server(
        identity=f"postgresql {name} {oid} {started}",
        local=_is_here(address, process),
        replica=replica,
        settings=tuple(settings),
        isolation=isolation,
        understood=understood,
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

        relations: dict[int, Relation] = {}
        for oid, schema, name, kind, persistence in rows(_RELATIONS):
            shown = name if schema == "public" else f"{schema}.{name}"
            obstacle = reasons.UNLOGGED if _text(persistence) == "u" else None
            if _text(kind) == "f":
                obstacle = reasons.FOREIGN_TABLE
            relations[oid] = Relation(shown, schema.lower(), name.lower(), obstacle)
        names = {oid: relation.name for oid, relation in relations.items()}

        reaches = [(parent, child) for parent, child in rows(_FOREIGN_KEYS)]
        for parent, child in rows(_INHERITANCE):
            # Rows of a child are rows of its parent, and a write to the parent may land in the child.
            reaches += [(parent, child), (child, parent)]
        bodies: list[tuple[int, str | None]] = [
            (relation, body if language in _READABLE else None)
            for relation, built_in, language, body in rows(_TRIGGERS)
            if not built_in
        ]
        bodies += [(relation, rule) for relation, rule in rows(_RULES)]
        functions: dict[str, str] = {}
        sources: dict[str, list[str | None]] = {}
        for name, volatility, language, body in rows(_FUNCTIONS):
            folded = name.lower()
            worst = max(functions.get(folded, "i"), _text(volatility), key=_BY_VOLATILITY.index)
            functions[folded] = worst
            if _text(volatility) == "v":
                sources.setdefault(folded, []).append(body if language in _READABLE else None)
        return Facts(
            relations=list(relations.values()),
            views={names[oid]: text for oid, text in rows(_VIEWS) if oid in names},
            reaches=[(names[one], names[other]) for one, other in reaches if one in names and other in names],
            bodies=[(names[relation], body) for relation, body in bodies if relation in names],
            policies=[(names[relation], text) for relation, text in rows(_POLICIES) if relation in names],
            functions=functions,
            sources=sources,
            schemas=frozenset(schema.lower() for (schema,) in rows(_SCHEMAS)),
        )


def _text(char: str | bytes) -> str:
    """The type "char" comes as str or as bytes, depending on the driver."""
    return char.decode() if isinstance(char, bytes) else char
