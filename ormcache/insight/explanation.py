"""What an explanation of a statement consists of. JSON-able by :func:`ormcache.insight.plain.plain`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

#: The kind of a query that Django knows to be empty, and does not run
NO_QUERY = "no query"

# What a slot holds
STAMP, MARKED, EMPTY, AWAY = "stamp", "marked", "empty", "store away"

# What becomes of an entry that is asked for now; also MARKED and AWAY
SERVED, ABSENT, RETIRED, EXPIRED, DAMAGED = "served", "absent", "retired", "expired", "damaged"

# Where one is
STORE, PROCESS = "store", "process"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is not cached: a name of :mod:`ormcache.reasons`, what it means and what one can do."""

    name: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Slot:
    name: str  # in the store, hexadecimal
    holds: str  # STAMP, MARKED, EMPTY or AWAY
    since: datetime.datetime | None  # of a stamp, by the clock of its writer's host
    marks: int  # writers that are committing


@dataclass(frozen=True, slots=True)
class Relation:
    """One that the statement reads, or may change, and why."""

    name: str  # "*" for everything, "*schema" for the schema
    cause: str | None  # a kind of :mod:`ormcache.catalog.causes`
    by: str | None  # the relation or function that leads there
    why: str  # the same in words
    listed: Mapping[str, str]  # setting → the name in it that means this relation; ONLY → "": it is not among them
    told: bool  # False: a write to it is not told to the store, because the settings keep it out
    slot: Slot


@dataclass(frozen=True, slots=True)
class Unknown:
    """A name where a relation has to stand, of which nothing is known here."""

    name: str
    near: tuple[str, ...]  # names that are known and look like it


@dataclass(frozen=True, slots=True)
class Key:
    """What the name of an entry is made of."""

    name: str | None  # hexadecimal; None: of a text alone it is not known, or there is none
    statement: str  # of the text without comments and white space, hexadecimal
    parameters: tuple[str, ...] | None  # their types; None: not known
    namespace: str  # of the database, the format, the settings that decide and the driver; hexadecimal
    version: str  # VERSION
    session: str  # of all that this session has set, hexadecimal
    search_path: tuple[str, ...] | None
    user: str | None
    time_zone: str | None
    tenant: str | None
    settings: tuple[str, ...]  # names of what statements have set in this session


@dataclass(frozen=True, slots=True)
class Entry:
    """The result as it is cached now."""

    state: str  # SERVED, ABSENT, RETIRED, MARKED, EXPIRED, DAMAGED or AWAY
    place: str | None  # STORE, PROCESS, or None where there is none
    retired_by: tuple[str, ...] = ()  # relations whose stamp is another one than the result was kept under
    size: int | None = None  # bytes in the store
    expires: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Worth:
    """Does asking the cache pay, as far as this process has seen?"""

    pinned: bool  # it is asked in any case: PINNED, or ADAPTIVE is off
    rests_until: datetime.datetime | None  # left alone until then
    judgement: str | None  # the last one, if it was against the cache


@dataclass(frozen=True, slots=True)
class Table:
    """The table of a model that was explained."""

    model: str
    name: str
    known: bool  # to the catalog of this database
    listed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Explanation:
    using: str
    subject: str  # what was asked for: "SQL", a model's label, "QuerySet"
    sql: str
    kind: str  # what running it does: a value of :class:`ormcache.sql.Effect`, or NO_QUERY
    cached: bool = False  # may its result be cached, the connection left aside?
    reason: Reason | None = None  # why not
    hindrance: Reason | None = None  # what in this connection keeps it out of the cache just now
    reads: tuple[Relation, ...] = ()
    writes: tuple[Relation, ...] = ()  # what running it may change
    unknown: tuple[Unknown, ...] = ()
    key: Key | None = None
    entry: Entry | None = None  # None: without parameters and the shape of a queryset it has no name
    worth: Worth | None = None
    table: Table | None = None
