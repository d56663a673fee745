"""What the catalog, the settings and the store have on one plan."""

from __future__ import annotations

import datetime

from ormcache.cache.local_cache import LocalEntry
from ormcache.cache.stamps import EntryInspection, time_of
from ormcache.catalog import is_pseudo
from ormcache.catalog.provenance import STATEMENT, Cause, causes_of_reading, causes_of_writing
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.diagnostics.explain.explanation import (
    ABSENT,
    DAMAGED,
    EMPTY,
    EXPIRED,
    INVALIDATED,
    MARKED,
    PROCESS,
    SERVED,
    STAMP,
    STORE,
    UNAVAILABLE,
    CachedEntry,
    SlotContent,
    UnknownName,
    UsedRelation,
)
from ormcache.diagnostics.explain.rows import RowNames
from ormcache.diagnostics.explain.subject import similar_names
from ormcache.diagnostics.format.relations import describe_cause, describe_pseudo_relation
from ormcache.exceptions import StoreUnavailable
from ormcache.session.state import ConnectionState
from ormcache.sql import Effect
from ormcache.stores.base import decode_marks, is_stamp


class PlanInspection:
    """Looks a plan up in the catalog, the settings and the store, which is asked once."""

    def __init__(
        self, database: Database, state: ConnectionState, plan: Plan, name: bytes | None, row_names: RowNames
    ) -> None:
        """``name``: of the entry; None: it is not known."""
        self._database = database
        self._plan = plan
        self._name = name
        self._row_names = row_names
        self._reading: dict[str, Cause] = {}
        self._writing: dict[str, Cause] = {}
        self._scope = None if plan.catalog is None else plan.catalog.resolver_for(state.resolution_context())
        if self._scope is not None:
            self._reading = causes_of_reading(self._scope, plan.statement)
            self._writing = causes_of_writing(self._scope, plan.statement)
        # Writes to what the settings exclude invalidate nothing.
        self._excluded = {one for one in self._writing if not is_pseudo(one) and database.rules.excludes(one)}
        # In the order of an entry's vector
        self._read = [*plan.dependencies] if plan.effect is Effect.READ else []
        written = sorted({*plan.written, *self._excluded} - set(self._read))
        relations = [*self._read, *written]
        self._held: dict[str, bytes | None] | None = None
        self._inspected: EntryInspection | None = None
        try:
            self._inspected = database.stamps.inspect(name, [database.slots.name(relation) for relation in relations])
        except StoreUnavailable:
            return
        self._held = dict(zip(relations, self._inspected.held, strict=True))

    def reads(self) -> tuple[UsedRelation, ...]:
        """Return the relations that a read depends on."""
        found = []
        for relation in self._read:
            cause = Cause(STATEMENT) if is_pseudo(relation) else self._reading.get(relation)
            why = describe_pseudo_relation(relation) if is_pseudo(relation) else describe_cause(cause)
            found.append(self._relation(relation, cause, why))
        return tuple(found)

    def writes(self) -> tuple[UsedRelation, ...]:
        """Return the relations that running the statement may change."""
        return tuple(
            self._relation(relation, self._writing.get(relation), describe_cause(self._writing.get(relation)))
            for relation in sorted({*self._plan.written, *self._excluded})
        )

    def _relation(self, relation: str, cause: Cause | None, why: str) -> UsedRelation:
        return UsedRelation(
            relation,
            None if cause is None else cause.kind,
            None if cause is None else cause.by,
            why,
            {} if is_pseudo(relation) else self._database.rules.settings_of(relation),
            relation not in self._excluded,
            self._slot(relation),
        )

    def _slot(self, relation: str) -> SlotContent:
        name = self._database.slots.name(relation).hex()
        if self._held is None:
            return SlotContent(name, UNAVAILABLE, None, 0)
        value = self._held[relation]
        if value is None or not is_stamp(value):
            marks = len(decode_marks(value))
            return SlotContent(name, MARKED if marks else EMPTY, None, marks)
        return SlotContent(name, STAMP, as_datetime(time_of(value)), 0)

    def entry(self) -> CachedEntry | None:
        """Return the entry as a lookup would find it now."""
        if self._name is None:
            return None
        if self._inspected is None:
            return CachedEntry(UNAVAILABLE, None)
        shared = self._plan.shared_slots
        current, stored = self._inspected.current(len(self._read), shared), self._inspected.stamps
        local = self._database.local.get(self._name)
        if local is not None and local.vector == b"".join(one or b"" for one in self._held_by(local, current)):
            state = EXPIRED if local.expired() else SERVED
            words = None if local.rows is None else self._row_names.describe(local.rows)
            return CachedEntry(state, PROCESS, (), self._inspected.size, as_datetime(local.expires), words)
        if self._inspected.size is None:
            return CachedEntry(ABSENT, None) if local is None else CachedEntry(INVALIDATED, PROCESS)
        expires = as_datetime(self._inspected.expires)
        if stored is None:
            return CachedEntry(DAMAGED, STORE, (), self._inspected.size)
        if any(value is not None and decode_marks(value) for value in current):
            state = MARKED
        elif stored != current:
            state = INVALIDATED
        elif expires is not None and expires <= _now():
            state = EXPIRED
        else:
            state = SERVED
        # A vector of another length was stored by another catalog: its stamps cannot be matched with relations.
        is_comparable = len(stored) == len(current)
        pairs = zip(self._dependencies(), stored, current, strict=True) if is_comparable else ()
        changed = dict.fromkeys(relation for relation, was, is_now in pairs if was != is_now)
        rows = self._inspected.rows
        changed_rows: tuple[str, ...] = ()
        if rows is not None and is_comparable:
            of_rows = zip(rows, stored[shared:], current[shared:], strict=True)
            changed_rows = self._row_names.describe(slot for slot, was, is_now in of_rows if was != is_now)
        words = None if rows is None else self._row_names.describe(rows)
        return CachedEntry(state, STORE, tuple(changed), self._inspected.size, expires, words, changed_rows)

    def _dependencies(self) -> list[str]:
        """Return the relations that the slots of the entry in the store belong to, in their order."""
        rows = None if self._inspected is None else self._inspected.rows
        if rows is None:
            return self._read
        return [*self._read[: self._plan.shared_slots], *map(self._row_names.relation_of, rows)]

    def _held_by(self, local: LocalEntry, current: list[bytes | None]) -> list[bytes | None]:
        """Return what the slots of an entry hold that this process has. ``current``: those of the one in the store."""
        if self._inspected is None or local.rows == self._inspected.rows:
            return current
        held = self._inspected.held
        if local.rows is None:
            return held[: len(self._read)]
        try:
            rows = self._database.strict_stamps.inspect(None, local.rows).held
        except StoreUnavailable:
            return []
        return held[: self._plan.shared_slots] + rows

    def uncacheable_calls(self) -> tuple[str, ...]:
        """Return the functions that the statement calls and whose results are not repeatable, as far as is known."""
        return () if self._scope is None else self._scope.uncacheable_calls(self._plan.statement)

    def unknown(self) -> tuple[UnknownName, ...]:
        """Return the names in the place of a relation that the catalog does not have."""
        if self._scope is None:
            return ()
        statement = self._plan.statement
        names = sorted(statement.sources | (statement.targets or frozenset()), key=str)
        missing = [name for name in names if not self._scope.find(name)]
        known = self._database.catalog_cache.relations
        written = [".".join(filter(None, name)) for name in missing]
        return tuple(UnknownName(name, similar_names(name, known)) for name in written)


def as_datetime(seconds: float | None) -> datetime.datetime | None:
    """Convert seconds since the epoch to UTC."""
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
