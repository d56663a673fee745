"""SQLite: what a connection tells of its file, and the catalog."""

from __future__ import annotations

import os
import re
import secrets
from typing import Any

from ormcache import reasons
from ormcache.catalog.facts import Code, Facts, Relation, Server
from ormcache.host import birth_of

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_FOREIGN_KEYS = """
    SELECT f."table", m.name, f.on_delete, f.on_update
    FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
"""
_HARMLESS_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})

_VIEW = re.compile(r"\bAS\s*\(?\s*(?=(?:SELECT|WITH|VALUES)\b)", re.IGNORECASE)
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*?\sUSING\s+(?P<module>\w+)", re.IGNORECASE | re.DOTALL)
#: Modules whose tables are kept in other tables of the same database
_MODULES = frozenset({"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"})
_TRIGGER_BODY = re.compile(r"\bBEGIN\b", re.IGNORECASE)

#: Process id → a name for its databases in memory, which are gone with it. Holds one item, any thread may put it.
_memories: dict[int, str] = {}


def identify(connection: Any, database: str) -> Server:
    """What a DB-API connection that was just made to ``database``, a path or URI, tells of its file."""
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    shared = bool(path) or "cache=shared" in database
    if path:
        real = os.path.realpath(path)
        status = os.stat(real)
        identity = f"sqlite {real} {status.st_dev} {status.st_ino} {birth_of(real)}"
    elif shared:
        identity = f"sqlite {_memory()} {database}"  # all connections of this process see one database
    else:
        identity = f"sqlite {secrets.token_hex(16)}"  # this connection's alone
    return Server(identity=identity, local=True, replica=False, settings=(), isolation="serializable", shared=shared)


def _memory() -> str:
    process = os.getpid()
    if process not in _memories:
        _memories.clear()
        _memories[process] = secrets.token_hex(16)
    return _memories[process]


def load(connection: Any) -> Facts:
    """The catalog of the main database."""
    relations, views, bodies, reaches = [], {}, [], []
    rows = connection.execute(_SCHEMA).fetchall()
    tables = {name.lower(): name for kind, name, _, _ in rows if kind in ("table", "view")}
    for kind, name, _, sql in rows:
        module = _VIRTUAL.match(sql or "") if kind == "table" else None
        if kind in ("table", "view"):
            # Unless it is known where a virtual table's module keeps its rows, they may be anywhere.
            known = module is None or module["module"].lower() in _MODULES
            relations.append(Relation(name, "main", name.lower(), None if known else reasons.FOREIGN_TABLE))
        if kind == "view":
            query = _VIEW.search(sql)
            views[name] = sql[query.end() :].rstrip(" \t\r\n;)") if query else None
        if module is not None:
            reaches += _parts(name, sql[module.end() :], tables)
    for kind, _, table, sql in rows:
        if kind == "trigger" and table.lower() in tables:
            body = _TRIGGER_BODY.search(sql)
            bodies.append((tables[table.lower()], Code(sql[body.end() :] if body else None)))
    reaches += [
        (tables[parent.lower()], child)
        for parent, child, on_delete, on_update in connection.execute(_FOREIGN_KEYS).fetchall()
        if not {on_delete, on_update} <= _HARMLESS_ACTIONS and parent.lower() in tables
    ]
    return Facts(relations=relations, views=views, reaches=reaches, bodies=bodies, schemas=frozenset({"main"}))


def _parts(name: str, arguments: str, tables: dict[str, str]) -> list[tuple[str, str]]:
    """What changes with the rows of a virtual table: the tables that its module keeps them in, and the other way."""
    prefix = f"{name.lower()}_"
    parts = [table for folded, table in tables.items() if folded.startswith(prefix)]
    found = [(name, part) for part in parts] + [(part, name) for part in parts]
    # FTS can leave the text in another table, https://sqlite.org/fts5.html#external_content_tables
    found += [(tables[word], name) for word in re.findall(r"[^\W\d]\w*", arguments.lower()) if word in tables]
    return found
