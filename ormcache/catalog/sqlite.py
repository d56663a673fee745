"""SQLite: what a connection tells of its file, and the catalog."""

from __future__ import annotations

import os
import re
import secrets
from typing import Any

from ormcache import reasons
from ormcache.catalog.base import Facts, Relation, Server
from ormcache.host import birth_of

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_FOREIGN_KEYS = """
    SELECT f."table", m.name, f.on_delete, f.on_update
    FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
"""
_HARMLESS_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})

_VIEW = re.compile(r"\bAS\s*\(?\s*(?=(?:SELECT|WITH|VALUES)\b)", re.IGNORECASE)
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s", re.IGNORECASE)
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
    relations, views, bodies = [], {}, []
    rows = connection.execute(_SCHEMA).fetchall()
    for kind, name, _, sql in rows:
        if kind in ("table", "view"):
            # A virtual table's module may keep its rows anywhere.
            obstacle = reasons.FOREIGN_TABLE if kind == "table" and _VIRTUAL.match(sql or "") else None
            relations.append(Relation(name, "main", name.lower(), obstacle))
        if kind == "view":
            query = _VIEW.search(sql)
            views[name] = sql[query.end() :].rstrip(" \t\r\n;)") if query else None
    by_folded = {relation.bare: relation.name for relation in relations}
    for kind, _, table, sql in rows:
        if kind == "trigger" and table.lower() in by_folded:
            body = _TRIGGER_BODY.search(sql)
            bodies.append((by_folded[table.lower()], sql[body.end() :] if body else None))
    reaches = [
        (by_folded[parent.lower()], by_folded[child.lower()])
        for parent, child, on_delete, on_update in connection.execute(_FOREIGN_KEYS).fetchall()
        if not {on_delete, on_update} <= _HARMLESS_ACTIONS and parent.lower() in by_folded
    ]
    return Facts(relations=relations, views=views, reaches=reaches, bodies=bodies, schemas=frozenset({"main"}))
