"""Reads the identity of an SQLite file, and its catalog."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection
from typing import TYPE_CHECKING

from ormcache import reasons
from ormcache.catalog.facts import IMMUTABLE, VOLATILE, WHOLE_CATALOG, Code, Extent, Facts, Function, Relation, Server
from ormcache.catalog.other_databases import all_in_database
from ormcache.catalog.sqlite_row_keys import read_row_keys
from ormcache.sql import spatialite
from ormcache.utils.host import boot, creation_time
from ormcache.utils.interruptions import let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

_SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master"
_FOREIGN_KEYS = """
    SELECT f."table", m.name, f.on_delete, f.on_update, f."from"
    FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'
"""
_HARMLESS_ACTIONS = frozenset({"NO ACTION", "RESTRICT"})


_WORDS = re.compile(r"""--[^\n]*|/\*.*?\*/|"[^"]*"|'[^']*'|`[^`]*`|\[[^]]*\]|(\w+)""", re.DOTALL)


def _behind(word: str, sql: str) -> str | None:
    """Return what follows the first such word outside of comments and quotes; None if there is none."""
    for match in _WORDS.finditer(sql):
        if match[1] and match[1].upper() == word:
            return sql[match.end() :]
    return None


_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*?\sUSING\s+(?P<module>\w+)", re.IGNORECASE | re.DOTALL)
#: Modules whose tables are kept in other tables of the same database
_MODULES = frozenset({"fts3", "fts4", "fts5", "rtree", "rtree_i32", "geopoly"})

_INSTANCE = "sqlite"

#: Process id → a name for its databases in memory, which are gone with it. Holds one item, any thread may put it.
_memories: dict[int, str] = {}


def identify(connection: CachedConnection) -> Server:
    """Return what stands for the server: the file behind a Django connection that was just made."""
    database = str(connection.ormcache.settings["NAME"])  # a path or a URI
    path = connection.connection.execute("PRAGMA database_list").fetchone()[2]
    # An init_command can have made some.
    temporary = connection.connection.execute("SELECT 1 FROM sqlite_temp_master LIMIT 1").fetchone()
    one_cache = "cache=shared" in database  # of all connections of the process: there are locks and no snapshots
    shared = bool(path) or one_cache
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
        settings=_libraries(connection),
        isolation="serializable",
        shared=shared,
        file=path or None,
        instance=_INSTANCE,
        understood=temporary is None,
        snapshots=not one_cache,
    )


def _libraries(connection: CachedConnection) -> tuple[object, ...]:
    """Return the versions of the libraries that SpatiaLite computes with in this process; none without SpatiaLite.

    Processes with other versions may compute other results from the same rows.
    """
    if not hasattr(connection, "lib_spatialite_paths"):  # an attribute of GeoDjango's engine
        return ()
    row = connection.connection.execute("SELECT spatialite_version(), geos_version(), proj4_version()").fetchone()
    return tuple(row)


def is_same(connection: CachedConnection, server: Server) -> bool:
    """Return True: a connection keeps the file that it has opened, whatever becomes of its path."""
    return True


def is_there(server: Server) -> bool | None:
    """Return whether the path still leads to the same file. A database in memory exists as long as its connections."""
    if server.file is None:
        return True
    try:
        return server.identity == f"{_INSTANCE} {_identity_of(server.file)}"
    except OSError as error:
        let_through(error)
        return False


def _identity_of(path: str) -> str:
    real = os.path.realpath(path)
    status, birth = os.stat(real), creation_time(real)
    # Two containers may have one file under two paths. Only where a deleted file's number may have come back unnoticed
    # is the path to distinguish files.
    # The boot: a copy of a whole disk, in another machine, has all the rest in common. And when the power goes off,
    # SQLite can lose what was committed last (WAL), which a store on another host would still have.
    return f"{'' if birth else real} {status.st_dev} {status.st_ino} {birth} {boot()}"


def custom_settings(connection: CachedConnection, names: Collection[str]) -> dict[str, str | None]:
    """Return none: only PostgreSQL has custom settings."""
    return {}


def elsewhere(connection: CachedConnection, server: Server) -> dict[str, frozenset[str]]:
    """Return the files that are attached to a connection: their names, and what stands for all their relations."""
    attached = connection.connection.execute("PRAGMA database_list").fetchall()[1:]
    return {name.lower(): all_in_database(_identity_of(path)) for _, name, path in attached if path and name != "temp"}


def _memory() -> str:
    process = os.getpid()
    if process not in _memories:
        _memories.clear()
        _memories[process] = secrets.token_hex(16)
    return _memories[process]


def extent(connection: CachedConnection, schemas: frozenset[str] | None) -> Extent:
    """Return that the catalog is read in one go, whatever part of it is wanted."""
    return WHOLE_CATALOG


def load(connection: CachedConnection, extent: Extent = WHOLE_CATALOG) -> Facts:
    """Read the catalog of the main database."""
    relations, views, bodies, reaches = [], {}, [], []
    rows = connection.connection.execute(_SCHEMA).fetchall()
    tables = {name.lower(): name for kind, name, _, _ in rows if kind in ("table", "view")}
    for kind, name, _, sql in rows:
        module = _VIRTUAL.match(sql or "") if kind == "table" else None
        if kind in ("table", "view"):
            # Unless it is known where a virtual table's module keeps its rows, they may be anywhere.
            known = module is None or module["module"].lower() in _MODULES
            bypass_reason = None if known else reasons.FOREIGN_TABLE
            if name.lower().startswith("sqlite_"):
                bypass_reason = (
                    reasons.SYSTEM_CATALOG
                )  # SQLite itself writes it: the next number of a column, statistics
            relations.append(Relation(name, "main", name.lower(), bypass_reason))
        if kind == "view":
            views[name] = _behind("AS", sql)
        if module is not None:
            reaches += _parts(name, tables)
            contents = _contents(name, sql[module.end() :], tables)
            if contents:
                views[name] = f"SELECT * FROM {', '.join(contents)}"
    for kind, name, table, sql in rows:
        if kind == "trigger" and table.lower() in tables:
            body = _behind("BEGIN", _ALIGN.sub(_quote_index, sql))
            bodies.append((tables[table.lower()], Code(body, origin=f"the trigger {name}")))
    foreign_keys = connection.connection.execute(_FOREIGN_KEYS).fetchall()
    reaches += [
        (tables[parent.lower()], child)
        for parent, child, on_delete, on_update, _ in foreign_keys
        if not {on_delete, on_update} <= _HARMLESS_ACTIONS and parent.lower() in tables
    ]
    functions = _functions_of_spatialite(tables)
    if _SRS_OVERRIDES in tables and _SRS in tables:
        reaches.append((tables[_SRS_OVERRIDES], tables[_SRS]))
    keys = read_row_keys(
        connection.connection,
        {name: sql for kind, name, _, sql in rows if kind == "table"},
        {(table, column) for _, table, _, _, column in foreign_keys},
    )
    return Facts(relations=relations, views=views, reaches=reaches, bodies=bodies, functions=functions, keys=keys)


#: Tables that functions of SpatiaLite may look into, on systems of coordinates. The first one stands for both.
_SRS, _SRS_OVERRIDES = "spatial_ref_sys", "spatial_ref_sys_aux"

#: By this the triggers of SpatiaLite write to a spatial index, which they name in a text
_ALIGN = re.compile(r"\bRTreeAlign\(\s*'((?:[^']|'')+)'", re.IGNORECASE)


def _quote_index(match: re.Match[str]) -> str:
    """Turn a call of RTreeAlign() into the name of the table that it writes to."""
    return '("' + match[1].replace("''", "'").replace('"', '""') + '"'


_ALTERING = Code("ALTER", origin="a function of SpatiaLite")
_OPAQUE = Code(None, origin="a function of SpatiaLite")
#: The functions of SpatiaLite that change the database or the session
_CHANGING_FUNCTIONS = (
    *(Function(name, VOLATILE, _ALTERING, by_row=False) for name in spatialite.CHANGE_DATABASE),
    *(Function(name, VOLATILE, _OPAQUE, by_row=False) for name in spatialite.CHANGE_SESSION),
)


def _functions_of_spatialite(tables: dict[str, str]) -> list[Function]:
    """Return what is known of the functions of the extension SpatiaLite.

    A database without its tables may have other functions by these names, which programs add to connections: they are
    not repeatable there. ``tables``: of the database, by their folded names.
    """
    functions = [*_CHANGING_FUNCTIONS]
    if _SRS in tables:
        reads = frozenset({tables[_SRS]})
        functions += [Function(name, IMMUTABLE, by_row=False, reads=reads) for name in spatialite.REPEATABLE]
    return functions


def _parts(name: str, tables: dict[str, str]) -> list[tuple[str, str]]:
    """Return what changes with a virtual table: the tables that hold its rows, and it along with them."""
    prefix = f"{name.lower()}_"
    parts = [table for folded, table in tables.items() if folded.startswith(prefix)]
    return [(name, part) for part in parts] + [(part, name) for part in parts]


def _contents(name: str, arguments: str, tables: dict[str, str]) -> list[str]:
    """Return the tables and views that a virtual table may take its rows from, quoted: any that its arguments name.

    FTS can leave the text in another table, https://sqlite.org/fts5.html#external_content_tables
    """
    lowered = arguments.lower()
    named = [table for folded, table in tables.items() if folded in lowered and table != name]
    return ['"' + table.replace('"', '""') + '"' for table in named if _names(lowered, table.lower())]


def _names(text: str, table: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(table)}(?!\w)", text) is not None
