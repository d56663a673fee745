"""What an explanation of a statement consists of. JSON by :class:`ormcache.diagnostics.format.encoder.JSONEncoder`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass

#: The kind of a query that Django knows to be empty, and does not run
NO_QUERY = "no query"

# What a slot holds
STAMP, MARKED, EMPTY, UNAVAILABLE = "stamp", "marked", "empty", "store unavailable"

# What becomes of an entry that is looked up now; also MARKED and UNAVAILABLE
SERVED, ABSENT, INVALIDATED, EXPIRED, DAMAGED = "served", "absent", "invalidated", "expired", "damaged"

# Where an entry is
STORE, PROCESS = "store", "process"


@dataclass(frozen=True, slots=True)
class BypassReason:
    """Why something is not cached: a name of :mod:`ormcache.reasons`, what it means, and what to do about it."""

    name: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class SlotContent:
    """What the store holds in the slot of one relation."""

    name: str  # of the slot in the store, hexadecimal
    holds: str  # STAMP, MARKED, EMPTY or UNAVAILABLE
    since: datetime.datetime | None  # of a stamp, by the clock of its writer's host
    marks: int  # writers that are committing


@dataclass(frozen=True, slots=True)
class UsedRelation:
    """A relation that the statement reads, or may change, and why."""

    name: str  # "*" for everything, "*schema" for the schema
    cause: str | None  # a kind of :mod:`ormcache.catalog.provenance`
    by: str | None  # the relation or function that leads to it
    why: str  # the same in words
    named_in: Mapping[str, str]  # setting → the item in it that matches this relation; ONLY → "": no item does
    invalidates: bool  # False: the settings exclude it, so a write to it invalidates nothing
    slot: SlotContent


@dataclass(frozen=True, slots=True)
class UnknownName:
    """A name in the place of a relation, of which the catalog has none."""

    name: str
    similar: tuple[str, ...]  # names that the catalog has


@dataclass(frozen=True, slots=True)
class EntryKey:
    """What the name of an entry is made of."""

    name: str | None  # hexadecimal; None: the statement alone does not determine it, or there is no entry
    statement: str  # digest of the statement without comments and white space, hexadecimal
    parameters: tuple[str, ...] | None  # their types; None: they are not known
    namespace: str  # digest of the database, the format, the settings that matter and the driver, hexadecimal
    version: str  # VERSION
    session: str  # digest of all that this session has set, hexadecimal
    search_path: tuple[str, ...] | None
    user: str | None
    time_zone: str | None
    tenant: str | None
    settings: tuple[str, ...]  # names of what statements have set in this session


@dataclass(frozen=True, slots=True)
class CachedEntry:
    """The entry of a result, as it is cached now."""

    state: str  # SERVED, ABSENT, INVALIDATED, MARKED, EXPIRED, DAMAGED or UNAVAILABLE
    place: str | None  # STORE, PROCESS, or None if there is no entry
    invalidated_by: tuple[str, ...] = ()  # relations whose stamp differs from the one in the entry
    size: int | None = None  # bytes in the store
    expires: datetime.datetime | None = None
    rows: tuple[str, ...] | None = None  # those that it depends on, in words; None: it depends on its relations
    changed: tuple[str, ...] = ()  # of those: the ones that writes have changed


@dataclass(frozen=True, slots=True)
class RowDependence:
    """Whether results depend on single rows, and not on their relations as a whole."""

    possible: bool  # whether results of this query can
    why_not: str | None  # in words
    setting: str  # ROWS
    in_use: bool  # whether results that are stored from now on do, in this process
    ended: int  # results of one of its relations that writes have ended, as long as that counts: with "auto"
    needed: int  # how many it takes until results depend on rows
    depends_on: tuple[str, ...]  # what such a result depends on, in words


@dataclass(frozen=True, slots=True)
class AdaptiveState:
    """Whether this process bypasses the cache for the query because caching it does not pay."""

    pinned: bool  # never: PINNED names one of its tables, or ADAPTIVE is off
    bypassed_since: datetime.datetime | None  # None: it does not
    judgement: str | None  # why it does


@dataclass(frozen=True, slots=True)
class ModelTable:
    """The table of a model that is explained."""

    model: str
    name: str
    known: bool  # to the catalog of this database
    named_in: Mapping[str, str]  # as in UsedRelation


@dataclass(frozen=True, slots=True)
class Explanation:
    """What ormcache makes of one statement on one database. All of it goes into JSON."""

    using: str
    subject: str  # what is explained: "SQL", a model's label, "QuerySet"
    sql: str
    kind: str  # what running it does: a value of :class:`ormcache.sql.Effect`, or NO_QUERY
    cached: bool = False  # whether its result may be cached, leaving the state of the connection aside
    reason: BypassReason | None = None  # why its result may not be cached, on any connection
    bypass_reason: BypassReason | None = None  # why this connection bypasses the cache now, for any query
    reads: tuple[UsedRelation, ...] = ()
    writes: tuple[UsedRelation, ...] = ()  # what running it may change
    unknown: tuple[UnknownName, ...] = ()
    key: EntryKey | None = None
    entry: CachedEntry | None = None  # None: only a queryset has all that the name of an entry is made of
    rows: RowDependence | None = None  # None: it is not cached, or depends on no relation
    adaptive: AdaptiveState | None = None
    table: ModelTable | None = None
