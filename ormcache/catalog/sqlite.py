"""SQLite: what a connection tells of its file, and the catalog."""

from __future__ import annotations

import os
import re
import secrets
from typing import Any

from ormcache import reasons
from ormcache.catalog.facts import Code, Facts, Relation, Server
from ormcache.catalog.neighbours import all_in_neighbour
from ormcache.host import birth_of

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_FOREIGN_KEYS = """
    SELECT f."table", m.name, f.on_delete, f.on_update
    FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
"""
_HARMLESS_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})


def _up_to(word: str) -> re.Pattern[str]:
    """All of a text up to the first such word that is in no comment and in no quotes."""
    skipped = r"""--[^\n]*|/\*.*?\*/|"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^]]*\]"""
    return re.compile(rf"""(?:{skipped}|(?!{word}\b)\w+|[^\w"'`[])*+\b{word}\b""", re.IGNORECASE | re.DOTALL)


_VIEW = _up_to("AS")
_TRIGGER_BODY = _up_to("BEGIN")
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*?\sUSING\s+(?P<module>\w+)", re.IGNORECASE | re.DOTALL)
#: Modules whose tables are kept in other tables of the same database
_MODULES = frozenset({"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"})

_INSTANCE = "sqlite"

#: Process id → a name for its databases in memory, which are gone with it. Holds one item, any thread may put it.
_memories: dict[int, str] = {}


def identify(connection: Any) -> Server:
    """What a Django connection that was just made tells of its file."""
    database = str(connection.settings_dict["NAME"])  # a path or a URI
    path = connection.connection.execute("PRAGMA database_list").fetchone()[2]
    # An init_command can have made some.
    temporary = connection.connection.execute("SELECT 1 FROM sqlite_temp_master LIMIT 1").fetchone()
    shared = bool(path) or "cache=shared" in database
    if path:
        own = _identity_of(path)
    elif shared:
        own = f"{_memory()} {database}"  # all connections of this process see one database
    else:
        own = secrets.token_hex(16)  # this connection's alone
    return Server(
        identity=f"{_INSTANCE} {own}",
        local=True,
        replica=False,
        settings=(),
        isolation="serializable",
        shared=shared,
        instance=_INSTANCE,
        understood=temporary is None,
    )


def _identity_of(path: str) -> str:
    real = os.path.realpath(path)
    status = os.stat(real)
    return f"{real} {status.st_dev} {status.st_ino} {birth_of(real)}"


def elsewhere(connection: Any, server: Server) -> dict[str, frozenset[str]]:
    """The files that are attached to a connection: by what name, and what stands for all that they hold."""
    attached = connection.connection.execute("PRAGMA database_list").fetchall()[1:]
    return {name.lower(): all_in_neighbour(_identity_of(path)) for _, name, path in attached if path and name != "temp"}


def _memory() -> str:
    process = os.getpid()
    if process not in _memories:
        _memories.clear()
        _memories[process] = secrets.token_hex(16)
    return _memories[process]


def load(connection: Any) -> Facts:
    """The catalog of the main database."""
    relations, views, bodies, reaches = [], {}, [], []
    rows = connection.connection.execute(_SCHEMA).fetchall()
    tables = {name.lower(): name for kind, name, _, _ in rows if kind in ("table", "view")}
    for kind, name, _, sql in rows:
        module = _VIRTUAL.match(sql or "") if kind == "table" else None
        if kind in ("table", "view"):
            # Unless it is known where a virtual table's module keeps its rows, they may be anywhere.
            known = module is None or module["module"].lower() in _MODULES
            obstacle = None if known else reasons.FOREIGN_TABLE
            if name.lower().startswith("sqlite_"):
                obstacle = reasons.SYSTEM_CATALOG  # SQLite itself writes it: the next number of a column, statistics
            relations.append(Relation(name, "main", name.lower(), obstacle))
        if kind == "view":
            query = _VIEW.match(sql)
            views[name] = sql[query.end() :] if query else None
        if module is not None:
            reaches += _parts(name, tables)
            contents = _contents(name, sql[module.end() :], tables)
            if contents:
                views[name] = f"SELECT * FROM {', '.join(contents)}"
    for kind, name, table, sql in rows:
        if kind == "trigger" and table.lower() in tables:
            body = _TRIGGER_BODY.match(sql)
            text = sql[body.end() :] if body else None
            bodies.append((tables[table.lower()], Code(text, origin=f"the trigger {name}")))
    reaches += [
        (tables[parent.lower()], child)
        for parent, child, on_delete, on_update in connection.connection.execute(_FOREIGN_KEYS).fetchall()
        if not {on_delete, on_update} <= _HARMLESS_ACTIONS and parent.lower() in tables
    ]
    return Facts(relations=relations, views=views, reaches=reaches, bodies=bodies)


def _parts(name: str, tables: dict[str, str]) -> list[tuple[str, str]]:
    """What changes with the rows of a virtual table: the tables that its module keeps them in, and the other way."""
    prefix = f"{name.lower()}_"
    parts = [table for folded, table in tables.items() if folded.startswith(prefix)]
    return [(name, part) for part in parts] + [(part, name) for part in parts]


def _contents(name: str, arguments: str, tables: dict[str, str]) -> list[str]:
    """The tables and views that a virtual table takes its rows from, quoted; any that its arguments name.

    FTS can leave the text in another table, https://sqlite.org/fts5.html#external_content_tables
    """
    lowered = arguments.lower()
    named = [table for folded, table in tables.items() if folded in lowered and table != name]
    return ['"' + table.replace('"', '""') + '"' for table in named if _names(lowered, table.lower())]


def _names(text: str, table: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(table)}(?!\w)", text) is not None
