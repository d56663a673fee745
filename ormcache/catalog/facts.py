"""What a vendor's reader finds in a database, as it stands there; conclusions are drawn beside this module."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: The pseudo relation that every result depends on: a write that could be anything changes it.
EPOCH = "*"
EVERYTHING = frozenset({EPOCH})
#: The pseudo relation that every schema change changes, so that other processes read their catalogs anew.
SCHEMA = "*schema"
#: What something that cannot be read may change: all rows, and what the catalog says
ANYTHING = frozenset({EPOCH, SCHEMA})

#: Volatility of a function: its answer depends on its arguments alone, on tables and settings too, or on anything.
#: A stable one that is written in C is an extension's, and asks no tables if it is on the list of repeatable ones.
IMMUTABLE, STABLE_IN_C, STABLE, VOLATILE = "i", "c", "s", "v"

#: Schemas, folded, in which a name without one is looked up, in this order; None: it can mean a relation of any schema.
Path = tuple[str, ...] | None


class Standpoint(NamedTuple):
    """From where a session sees the relations of a database."""

    path: Path = None
    user: str | None = None  # whose rights count, folded; None: it is not known


#: Where any relation of a name can be meant
ANYWHERE = Standpoint()


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, a view or the like."""

    name: str  # as people write it: qualified unless it is in the default schema
    schema: str | None  # folded
    bare: str  # folded, without the schema
    obstacle: str | None = None  # why no result that depends on it may be kept


@dataclass(frozen=True, slots=True)
class Code:
    """Code that the database has stored and runs by itself."""

    text: str | None  # None: it is not shown, or in a language that is not read
    fixed: bool = False  # its names are looked up along ``path``, not along that of the session that runs it
    path: Path = None
    reads: bool = False  # its own statements change no rows: only what it calls may
    believed: bool = False  # what cannot be read of it changes nothing
    origin: str = ""  # what it is, for people: "the trigger audit"


@dataclass(frozen=True, slots=True)
class Function:
    """A function, an operator, or a type whose conditions call functions."""

    name: str  # folded
    volatility: str
    code: Code | None = None  # what it runs; None: nothing that could change rows or settings


@dataclass(frozen=True, slots=True)
class Server:
    """What a fresh connection tells of the server behind it."""

    identity: str  # differs for databases that do not share their rows, and after a database was born again
    local: bool | None  # is it on this host? None: it does not tell
    replica: bool
    settings: tuple[object, ...]  # what decides results in this session, before anything else is set
    isolation: str  # of transactions, in lower case: "read committed"
    shared: bool = True  # False: no other connection ever reaches this database
    understood: bool = True  # False: SQL does not read as the lexer thinks, or names may mean temporary objects
    path: str | None = None  # PostgreSQL: the search path, as the setting says it
    user: str | None = None  # whose rights count, and whose name "$user" is
    pooled: bool = False  # something between us and the server gives each transaction another of its sessions
    instance: str | None = None  # before the name of another database of this server: that one's identity


@dataclass(frozen=True)
class Facts:
    """What a vendor's reader found; a :class:`~ormcache.catalog.Catalog` draws the conclusions."""

    relations: Collection[Relation]
    #: view → its query, None where the database does not show it
    views: Mapping[str, str | None] = field(default_factory=dict)
    #: (relation, other): a write to the first one may change the second one
    reaches: Iterable[tuple[str, str]] = ()
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
    #: schemas, folded, that ``user`` may look into
    usable: frozenset[str] = frozenset()
    #: the user as whom all this was read, folded
    user: str | None = None
    #: where the reader's session looked up names: the queries of views and policies are to be read like that
    path: Path = None
    #: folded name of another database that statements can reach → the names of such databases
    neighbours: Mapping[str, Collection[str]] = field(default_factory=dict)
    #: relation → its columns, folded, whose values are completed by the date of today where a date is expected
    times: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: why no result at all can be kept
    obstacle: str | None = None
