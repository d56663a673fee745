"""What is known of one text of SQL: the answer of :func:`ormcache.sql.analyse`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ormcache.sql.times import Completed

#: (schema or None, relation), folded
Name = tuple[str | None, str]


class Effect(Enum):
    """What running a statement does, as far as a cache is concerned."""

    READ = "read"
    WRITE = "write"
    SCHEMA = "schema change"
    SESSION = "session change"
    TRANSACTION = "transaction control"
    HARMLESS = "harmless"  # neither rows of relations nor anything in the session changes
    OPAQUE = "opaque"  # could be anything


@dataclass(frozen=True, slots=True)
class Parameter:
    """A placeholder, by the position or the name of what the program puts in its place."""

    key: int | str
    among: int = 0  # so many there are in all


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A ``SET`` or its like. What the value is may depend on parameters, so it is kept as tokens."""

    name: str | Parameter | None  # the setting; None: every one of them, and all else that the session has
    value: tuple[str | Parameter, ...] | None  # None: back to its default
    local: bool | Parameter = False  # until the transaction ends
    isolation: bool = False  # it changes the isolation level of this or of later transactions
    followed: bool = True  # False: the session cannot be described any more
    hides: bool = False  # from here on a text does not tell all that it writes: the session has code of its own
    reason: str | None = None  # why it cannot be followed, where that has a name of its own
    whole: bool = False  # the value is one text, as set_config() takes it, and not a list of items
    also: tuple[SessionChange, ...] = ()  # what else the same statement sets, in order


@dataclass(frozen=True, slots=True)
class Statement:
    effect: Effect
    digest: bytes  # of the normalized text, 16 bytes
    names: frozenset[str] = frozenset()  # every identifier, wherever it stands
    sources: frozenset[Name] = frozenset()  # what stands where a relation is read
    targets: frozenset[Name] | None = None  # what a write changes; None: any of the names
    calls: frozenset[str] = frozenset()  # what is called, or may be; of MySQL's with "database." if the text has it
    operators: frozenset[str] = frozenset()  # runs of operator characters, COMMON_OPERATORS left out
    completed: Completed | None = None  # MySQL: what would be a moment of today if it is a time of day
    obstacle: str | None = None  # why a read cannot be kept
    session: SessionChange | None = None
    transaction: str | None = None  # the first word, and the next one where it matters: "begin", "rollback to"
    savepoint: str | None = None
    serial: bool = False  # asks for a snapshot that outlives one statement
    cascades: bool = False  # reaches further relations by its own words (TRUNCATE … CASCADE)
    creates: str | None = None  # the temporary table that it makes, folded
    chains: bool = False  # another transaction begins at once
    commits: bool = False  # MySQL commits the transaction that is open before it runs this
