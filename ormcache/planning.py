"""What is known of one SQL text before it runs: its plan, from its words, the catalog and the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ormcache import reasons
from ormcache.catalog import ANYTHING, EPOCH, SCHEMA, Catalog, Scope, is_pseudo
from ormcache.sql import Effect, Statement, analyse
from ormcache.sql.vocabulary import REPEATABLE
from ormcache.worth import Worth


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of one SQL text against one catalog, for sessions of one search path."""

    statement: Statement
    obstacle: str | None  # why its result is not cached; None: it may be
    relations: frozenset[str]  # that its result depends on
    slots: tuple[bytes, ...]  # of those, the epoch's first
    written: frozenset[str]  # that running it may change, EPOCH for any; without blacklisted ones
    kept_out: frozenset[str]  # relations that it may write of which the settings say that the cache is not told
    unknown: frozenset[str]  # written names that the catalog does not know, folded
    unfollowed: bool  # running it may set anything in the session
    quiet: bool  # running it changes neither rows nor the session nor the transaction
    plain: bool  # running it changes rows of known relations and nothing else
    catalog: Catalog | None  # that it was made from
    worth: Worth | None = None  # does caching it pay? None: that is not asked

    @property
    def effect(self) -> Effect:
        return self.statement.effect


class Planner:
    """Draws conclusions from one catalog under one configuration."""

    def __init__(
        self,
        catalog: Catalog,
        slot: Callable[[str], bytes],
        excludes: Callable[[str], bool],
        listed: Callable[[str], bool],
        pinned: Callable[[str], bool],
    ) -> None:
        """``slot``: a relation's place in the store. ``excludes``: do the settings keep a relation out of the cache?

        ``listed``: do they let it in although its rows may change unseen? ``pinned``: do they say that caching it pays?
        """
        self.catalog = catalog
        self._slot = slot
        self._excludes = excludes
        self._listed = listed
        self._pinned = pinned

    def plan(self, statement: Statement, scope: Scope) -> Plan:
        named = scope.named(statement.names)
        relations = frozenset(scope.read(named))
        written, unknown = self._written(statement, named, scope)
        obstacle = self._obstacle(statement, relations, scope)
        slots = () if obstacle else (self._slot(EPOCH), *map(self._slot, sorted(relations)))
        called = scope.called(statement)
        unfollowed = (
            statement.effect is Effect.OPAQUE
            or scope.calls_set_session(called)
            or scope.reading_sets_session(named)
            or scope.writing_sets_session(written)
        )
        kept = self.kept(written)
        changes_rows_only = (
            statement.effect in _QUIET and not unfollowed and statement.session is None and statement.creates is None
        )
        return Plan(
            statement,
            obstacle,
            relations,
            slots,
            kept,
            written - kept,
            unknown,
            unfollowed,
            quiet=changes_rows_only and not kept,
            plain=changes_rows_only and statement.effect is Effect.WRITE and not unknown and SCHEMA not in kept,
            catalog=self.catalog,
            worth=None if obstacle or any(map(self._pinned, relations)) else Worth(" ".join(sorted(relations))),
        )

    def kept(self, relations: frozenset[str]) -> frozenset[str]:
        """Those of the relations that the cache has to be told of."""
        return frozenset(name for name in relations if is_pseudo(name) or not self._excludes(name))

    def _obstacle(self, statement: Statement, relations: frozenset[str], scope: Scope) -> str | None:
        if statement.effect is not Effect.READ:
            return statement.obstacle or reasons.NOT_A_READ
        if statement.obstacle not in (None, reasons.FUNCTION):
            return statement.obstacle
        for source in sorted(statement.sources, key=str):
            if not scope.find(source):
                schema, name = source
                system = schema in _SYSTEM_SCHEMAS or name.startswith(_SYSTEM_PREFIXES)
                return reasons.SYSTEM_CATALOG if system else reasons.UNKNOWN_RELATION
        if scope.reads_clock(statement, relations):
            return reasons.CLOCK
        unrepeatable = scope.obstacle_of_calls(scope.called(statement))
        if unrepeatable:
            return unrepeatable
        if any(map(self._excludes, relations)):
            return reasons.BLACKLISTED
        return scope.obstacle(relations, self._listed)

    def _written(self, statement: Statement, named: set[str], scope: Scope) -> tuple[frozenset[str], frozenset[str]]:
        """What running a statement may change, and the names among its targets that are not known."""
        effect = statement.effect
        changed = scope.effects_of_calls(scope.called(statement)) | scope.effects_of_reading(named)
        unknown: set[str] = set()
        if effect in (Effect.OPAQUE, Effect.SCHEMA):
            changed |= ANYTHING
            changed |= scope.all_neighbours() if effect is Effect.OPAQUE else scope.neighbours(statement.names)
        elif statement.cascades:
            changed.add(EPOCH)
        elif effect is Effect.WRITE:
            if statement.targets is None:
                changed |= named or {EPOCH}
                changed |= scope.neighbours(statement.names)
            else:
                for target in statement.targets:
                    found = scope.find(target)
                    changed.update(found)
                    if not found and not target[1].startswith("sqlite_"):
                        unknown.add(target[1])
                        changed.add(EPOCH)
                        changed |= scope.neighbours(frozenset({target[0] or ""}))
        return scope.written(changed), frozenset(unknown)


def blind_plan(sql: str, vendor: str) -> Plan:
    """The plan of a text while there is no catalog: whatever could write, writes anything."""
    statement = analyse(sql, vendor)
    safe = statement.effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION, Effect.TRANSACTION)
    safe = safe and statement.calls <= REPEATABLE[vendor]
    # What SQLite's triggers do is more writes; nothing in them reaches the session.
    follows = vendor == "sqlite" and statement.effect is Effect.WRITE and statement.calls <= REPEATABLE[vendor]
    written = frozenset() if safe else ANYTHING
    return Plan(
        statement,
        reasons.UNIDENTIFIED,
        frozenset(),
        (),
        written,
        frozenset(),
        frozenset(),
        unfollowed=not (safe or follows),
        quiet=False,
        plain=False,
        catalog=None,
    )


def needs_catalog(sql: str, statement: Statement, vendor: str) -> bool:
    """Does the catalog of now decide what running ``sql`` means?

    Not for a change of the schema that runs no query: it retires everything. A migration is a row of them.
    """
    if statement.effect is Effect.SCHEMA:
        # On MySQL a name with a dot could lead to a database that was made since.
        return runs_query(sql) or (vendor == "mysql" and "." in sql)
    if statement.effect is Effect.READ:
        asks_system = bool(statement.sources) and all(schema in _SYSTEM_SCHEMAS for schema, _ in statement.sources)
        return not (asks_system and statement.calls <= REPEATABLE[vendor] | {"database"})
    asks = _READING.search(sql) is not None or not statement.calls <= REPEATABLE[vendor]
    return statement.effect is not Effect.HARMLESS or asks


def runs_query(sql: str) -> bool:
    """May a change of the schema run a query?"""
    return _RUNNING.search(sql) is not None


#: Words with which a change of the schema runs a query
_RUNNING = re.compile(r"\b(?:select|values|execute|call|as\s+table)\b", re.IGNORECASE)
#: Words with which a statement that changes nothing by itself may read a view, whose functions could
_READING = re.compile(r"\b(?:select|values|table|copy|explain|declare|handler|do|with|execute)\b", re.IGNORECASE)

_QUIET = frozenset({Effect.READ, Effect.HARMLESS, Effect.WRITE})
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "mysql", "performance_schema", "sys"})
_SYSTEM_PREFIXES = ("pg_", "sqlite_", "pragma_")
