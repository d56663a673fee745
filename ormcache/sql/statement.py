"""The result of :func:`ormcache.sql.analyse`: what is known of a statement from its text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from ormcache.sql.in_lists import InLists
from ormcache.sql.times import TimeConversions

#: (schema or None, relation), folded
Name = tuple[str | None, str]


class Effect(Enum):
    """What running a statement does, as far as a cache is concerned."""

    READ = "read"
    WRITE = "write"
    SCHEMA = "schema change"
    SESSION = "session change"
    TRANSACTION = "transaction control"
    HARMLESS = "harmless"  # changes neither rows of relations nor anything in the session
    OPAQUE = "opaque"  # may do anything


@dataclass(frozen=True, slots=True)
class Parameter:
    """A placeholder of a statement, by its position or by its name."""

    key: int | str
    among: int = 0  # how many placeholders the statement has


@dataclass(frozen=True, slots=True)
class SessionChange:
    """A change of one setting of the session, by SET or its like.

    The value is a sequence of tokens, because it may depend on parameters.
    """

    #: the setting; None: all settings and the rest of the session's state
    name: str | Parameter | None
    #: None: back to its default
    value: tuple[str | Parameter, ...] | None
    #: whether it lasts only until the transaction ends
    local: bool | Parameter = False
    #: whether it changes the isolation level of this transaction or of later ones
    isolation: bool = False
    #: False: from here on the state of the session is not known
    is_tracked: bool = True
    #: whether from here on the text of a statement does not show all that it writes, because quotes are read by other
    #: rules, or because the session has triggers or views of its own
    makes_opaque: bool = False
    #: the bypass reason of an untracked session, where it has one of its own
    reason: str | None = None
    #: whether the value is a single string, as set_config() takes it, and not a list of items as SET takes it
    whole: bool = False
    #: what else the same statement sets, in order
    also: tuple[SessionChange, ...] = ()

    def shift(self, by: int, among: int) -> SessionChange:
        """Return this change as a part of a text with ``among`` placeholders, ``by`` of which stand before it."""

        def moved(item: Any) -> Any:
            if not isinstance(item, Parameter):
                return item
            return Parameter(item.key + by if isinstance(item.key, int) else item.key, among)

        value = None if self.value is None else tuple(map(moved, self.value))
        return replace(self, name=moved(self.name), value=value, local=moved(self.local))


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """What a schema change is confined to. Names are folded to lower case."""

    #: the table that it creates
    table: Name | None = None
    #: the schema that it creates
    schema: str | None = None
    #: schemas that it drops, with all that they hold
    dropped_schemas: frozenset[str] = frozenset()
    #: tables that it changes or drops
    altered: frozenset[Name] = frozenset()
    #: whether it drops them
    drops: bool = False
    #: relations on which it takes rights away
    revoked: frozenset[Name] = frozenset()
    #: whether names in it, before they were folded, may differ in case alone from others
    is_mixed_case: bool = False

    @property
    def is_nothing(self) -> bool:
        """Whether it changes no row, and no meaning of a name."""
        return self.table is None and self.schema is None and not (self.dropped_schemas | self.altered | self.revoked)


@dataclass(frozen=True, slots=True)
class Statement:
    """What is known of a statement from its text. Names are folded to lower case."""

    effect: Effect
    #: of the normalized text, 16 bytes
    digest: bytes
    #: every identifier, wherever it stands
    names: frozenset[str] = frozenset()
    #: names that stand where a relation is read
    sources: frozenset[Name] = frozenset()
    #: those of the names of a read that stand nowhere but behind AS, or behind another one and a dot; each with every
    #: one that stands before it, "" for AS. Where that is no schema, they name no relation
    columns: frozenset[Name] = frozenset()
    #: relations that a write changes; None: any of the names
    targets: frozenset[Name] | None = None
    #: functions that it may call; of MySQL's with "database." where the text has it
    calls: frozenset[str] = frozenset()
    #: runs of operator characters, other than those in COMMON_OPERATORS
    operators: frozenset[str] = frozenset()
    #: those of the calls that run SQL from a literal, which is analysed as a part of this statement
    inlined_calls: frozenset[str] = frozenset()
    #: MySQL, and AT TIME ZONE of PostgreSQL: what would depend on the date of today if it is a time of day
    time_conversions: TimeConversions | None = None
    #: PostgreSQL: columns in what is converted to a date; "" for an expression that may be text
    date_conversions: frozenset[str] = frozenset()
    #: its lists of parameters, if one of them means the same in any order
    in_lists: InLists | None = None
    #: why a read is not cached, as far as its text shows
    bypass_reason: str | None = None
    session: SessionChange | None = None
    #: of transaction control: the first word, and the next one where it matters, such as "begin" and "rollback to"
    transaction: str | None = None
    savepoint: str | None = None
    #: whether it asks for a snapshot that outlives one statement
    takes_snapshot: bool = False
    #: whether it reaches further relations by its own words (TRUNCATE … CASCADE)
    cascades: bool = False
    #: the temporary table that it creates
    temporary_table: str | None = None
    #: whether COMMIT drops that table
    drops_on_commit: bool = False
    #: whether another transaction begins at once (COMMIT AND CHAIN)
    chains: bool = False
    #: MySQL: whether the open transaction is committed before it runs
    commits_implicitly: bool = False
    #: PostgreSQL: all that a schema change concerns; None: it could be anything
    change: SchemaChange | None = None
    #: PostgreSQL: the SQLSTATE of the notice by which it says that IF NOT EXISTS has made it do nothing
    skip_state: str | None = None
