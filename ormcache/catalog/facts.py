"""Holds what a reader found in a database, before any conclusion is drawn from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ormcache.catalog.row_keys import RowKeys

#: The pseudo relation that every result depends on: a write that could be anything changes it.
EPOCH = "*"
#: What a write changes that can be to any row
ALL_ROWS = frozenset({EPOCH})
#: The pseudo relation that every schema change changes, so that other processes read their catalogs anew.
SCHEMA = "*schema"
#: What something that cannot be read may change: all rows, and what the catalog says
ALL_ROWS_AND_SCHEMA = frozenset({EPOCH, SCHEMA})

#: The schema in which a schema change concerns everybody: the epoch stands for it, and no pseudo relation of its own.
SHARED_SCHEMA = "public"
_OF_SCHEMA = f"{SCHEMA} "


def schema_changes(schema: str) -> str:
    """Return the pseudo relation that changes with each schema change in the one schema of this name, folded.

    Only databases with relations in several schemas have them, see :class:`Extent`.
    """
    return _OF_SCHEMA + schema


def is_of_schema(relation: str) -> bool:
    """Return whether a name is that of a pseudo relation of one schema."""
    return relation.startswith(_OF_SCHEMA)


_OF_INPUT = "*input "


def input_relation(name: str) -> str:
    """Return the pseudo relation of an input that is no table, by the name that the program gives it."""
    return _OF_INPUT + name


def is_of_input(relation: str) -> bool:
    """Return whether a name is that of the pseudo relation of an input."""
    return relation.startswith(_OF_INPUT)


class Extent(NamedTuple):
    """Says which part of a catalog is read at once."""

    #: the schemas, folded, whose relations are read; None: all of them
    schemas: frozenset[str] | None = None
    #: whether relations lie in several schemas: then a schema change in one of them leaves the results of others alone
    is_divided: bool = False

    @property
    def dependencies(self) -> frozenset[str]:
        """The pseudo relations, besides the epoch, that change whenever a catalog of this extent does."""
        if not self.is_divided:
            return frozenset()
        if self.schemas is None:
            return frozenset({SCHEMA})
        return frozenset(map(schema_changes, self.schemas - {SHARED_SCHEMA}))


#: All schemas of a database in which every schema change concerns everybody
WHOLE_CATALOG = Extent()

#: Volatility of a function: its answer depends on its arguments alone, on tables and settings too, or on anything.
#: A stable one that is written in C is an extension's, and asks no tables if it is on the list of repeatable ones.
IMMUTABLE, STABLE_IN_C, STABLE, VOLATILE = "i", "c", "s", "v"

#: Schemas, folded, in which a name without one is looked up, in this order; None: it can mean a relation of any schema.
Path = tuple[str, ...] | None


class ResolutionContext(NamedTuple):
    """Says how the names in a session's statements are looked up."""

    path: Path = None
    user: str | None = None  # whose rights count, folded; None: it is not known
    #: whether the open transaction has changed the schema: then a name may mean what comes later on the path
    has_moved: bool = False


#: Where any relation of a name can be meant
ANYWHERE = ResolutionContext()


@dataclass(frozen=True, slots=True)
class Relation:
    """Describes a table, a view, a materialized view, a partition or a foreign table."""

    name: str  # as people write it: qualified unless it is in the default schema
    schema: str | None  # folded
    bare: str  # folded, without the schema
    bypass_reason: str | None = None  # why no result that depends on it may be kept


@dataclass(frozen=True, slots=True)
class Code:
    """Describes code that the database has stored and runs by itself."""

    text: str | None  # None: it is not shown, or in a language that is not read
    fixed: bool = False  # its names are looked up along ``path``, not along that of the session that runs it
    path: Path = None
    reads: bool = False  # its own statements change no rows: only what it calls may
    believed: bool = False  # where it cannot be read, it is taken to change nothing
    origin: str = ""  # what it is, for people: "the trigger audit"


@dataclass(frozen=True, slots=True)
class Function:
    """Describes a function, an operator, or a type whose conditions call functions."""

    name: str  # folded
    volatility: str
    code: Code | None = None  # what it runs; None: nothing that could change rows or settings
    by_row: bool = True  # can ``row.name`` call it, without a parenthesis?
    reads: frozenset[str] = frozenset()  # relations that it may look into, though it is repeatable


@dataclass(frozen=True, slots=True)
class Server:
    """Describes the server behind a new connection, as far as the connection shows it."""

    identity: str  # differs for databases that do not share their rows, and after a database was born again
    local: bool | None  # is it on this host? None: unknown
    replica: bool
    settings: tuple[object, ...]  # what decides results in this session, before anything else is set
    isolation: str  # of transactions, in lower case: "read committed"
    shared: bool = True  # False: no other connection ever reaches this database
    understood: bool = True  # False: the lexer would misread its SQL, or names may mean temporary objects
    path: str | None = None  # PostgreSQL: the search path, as the setting says it
    user: str | None = None  # whose rights count, and whose name "$user" is
    pooled: bool = False  # whether a pooler may run each transaction of this connection in another of its sessions
    direct: bool = True  # False: a proxy may go over to another server without closing this connection
    steady: bool = True  # whether an answer on this connection shows that server and role are unchanged
    file: str | None = None  # SQLite: the path of the database
    snapshots: bool = True  # False: transactions see what others commit meanwhile, whatever their isolation level
    instance: str | None = None  # before the name of another database of this server: that one's identity


@dataclass(frozen=True)
class Facts:
    """Holds what a reader found; a :class:`~ormcache.catalog.Catalog` draws the conclusions."""

    relations: Collection[Relation]
    #: view → its query, None where the database does not show it
    views: Mapping[str, str | None] = field(default_factory=dict)
    #: (relation, other): a write to the first one may change the second one
    reaches: Iterable[tuple[str, str]] = ()
    #: (referenced, referencing): by foreign keys with and without an action, where something can empty both at once
    references: Iterable[tuple[str, str]] = ()
    #: (parent, child): rows of the child are rows of the parent
    inherits: Iterable[tuple[str, str]] = ()
    #: (relation, code): a write to the relation runs this
    bodies: Iterable[tuple[str, Code]] = ()
    #: (relation, condition): row-level security; what the condition names decides which rows are seen
    policies: Iterable[tuple[str, str]] = ()
    #: functions that are not the database's own, every overload
    functions: Collection[Function] = ()
    #: user-defined operators that do not give the same answer again, and what they run
    operators: Collection[Function] = ()
    #: which schemas all this is from
    extent: Extent = WHOLE_CATALOG
    #: all schemas that there are, folded
    schemas: frozenset[str] = frozenset()
    #: those of them that hold something else than relations: functions, types, operators and the like
    mixed_schemas: frozenset[str] = frozenset()
    #: those of the schemas that are read, or would be if they existed, that are named like a role
    roles: frozenset[str] = frozenset()
    #: those of them that do not exist, and that the code of a function names all the same
    awaited: Collection[str] = frozenset()
    #: whether a schema change runs code: PostgreSQL's event triggers
    has_event_triggers: bool = False
    #: whether ormcache's own triggers record what others write, see :mod:`ormcache.catalog.write_triggers`
    has_write_triggers: bool = False
    #: schemas, folded, that ``user`` may look into
    usable: frozenset[str] = frozenset()
    #: the user as whom all this was read, folded
    user: str | None = None
    #: where the reader's session looked up names: the queries of views and policies are to be read like that
    path: Path = None
    #: folded name of another database that statements can reach → the names of such databases
    other_databases: Mapping[str, Collection[str]] = field(default_factory=dict)
    #: relation → its columns, folded, with times of day: some conversions of those depend on the date of today
    times: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: relation → the columns that identify its rows; only of tables that have rows of their own
    keys: Mapping[str, RowKeys] = field(default_factory=dict)
    #: PostgreSQL: folded names of columns that in no table are of a type that holds text or documents, or that turns
    #: into text: converting them to dates never reads the clock, as converting the word 'today' does
    untexted: frozenset[str] = frozenset()
    #: why no result at all can be kept
    bypass_reason: str | None = None
