"""Makes plans: what is known of a statement before it runs, from its words, the catalog and the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from ormcache import reasons
from ormcache.cache import keys
from ormcache.cache.adaptive import AdaptiveBypass, AdaptiveBypasses
from ormcache.catalog import ALL_ROWS_AND_SCHEMA, EPOCH, SCHEMA, Catalog, Resolver, StatementChanges, is_outbox
from ormcache.database.catalog_parts import CatalogPart
from ormcache.database.current_time import CurrentTimeDetector
from ormcache.database.row_plans import RowCatalog, RowPlans, read_plan
from ormcache.database.row_writes import write_plan
from ormcache.database.table_filter import TableRules
from ormcache.sql import Effect, Statement, analyse
from ormcache.sql.vocabulary import OWN_OF_SQLITE, REPEATABLE
from ormcache.utils.bounded import Bounded

#: Sets of names that plans share
MOST_SETS = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of one statement by one catalog, for the sessions of one resolution context.

    Relations are meant by their names in the catalog.
    """

    statement: Statement
    #: why its result is not cached; None: it may be
    bypass_reason: str | None
    #: that its result depends on
    relations: frozenset[str]
    #: of all that its result depends on, beginning with those that every result depends on; none if it is not cached
    slots: tuple[bytes, ...]
    #: relations that running it may change, EPOCH for any; without those that the settings exclude from the cache
    written: frozenset[str]
    #: relations that running it may change and that the settings exclude from the cache
    excluded_writes: frozenset[str]
    #: names, folded, that it writes to and the catalog does not know
    unknown_targets: frozenset[str]
    #: ``unknown_targets``, and the names of tables whose definition it changes, as they stand in the statement
    changed_names: frozenset[str]
    #: those of ``written`` that it may change whichever tables ``changed_names`` mean
    certainly_written: frozenset[str]
    #: whether running it may set anything in the session
    may_set_anything: bool
    #: whether running it changes neither rows nor the session nor the transaction
    changes_nothing: bool
    #: whether running it changes rows of known relations, and nothing else
    only_writes_rows: bool
    #: the part of the catalog that it was made from; None: it was made without one
    part: CatalogPart | None
    #: whether it would be the same by any catalog, and was made without one
    needs_no_catalog: bool = False
    #: measures whether caching it pays; None: that does not matter
    adaptive_bypass: AdaptiveBypass | None = None
    #: how its results depend on rows; None: they depend on its relations as a whole
    row_readers: RowPlans | None = field(default=None, compare=False)
    #: which rows it writes; None: any rows of its relations
    row_writers: RowPlans | None = field(default=None, compare=False)
    #: of the statement and its slots, for the names of its entries. By an older catalog, such as that of a replica that
    #: lags, it may depend on other tables; these can have the same stamps, as one invalidation gives one to several
    digest: bytes = b""
    #: finds out whether the statement is given the current time
    current_time: CurrentTimeDetector = field(default_factory=CurrentTimeDetector, compare=False)

    @property
    def effect(self) -> Effect:
        """What running the statement does."""
        return self.statement.effect

    @property
    def catalog(self) -> Catalog | None:
        """The catalog that it was made from; None: it was made without one."""
        return None if self.part is None else self.part.catalog

    @property
    def schemas(self) -> frozenset[str]:
        """The pseudo relations of the schemas that its result depends on."""
        return frozenset() if self.part is None else self.part.extent.dependencies

    @property
    def shared_slots(self) -> int:
        """How many of its slots every entry depends on: those of the epoch and of schemas, which come first."""
        return 1 if self.part is None else 1 + len(self.part.slots)

    @property
    def dependencies(self) -> tuple[str, ...]:
        """All that its result depends on, in the order of its slots: the epoch, schemas, relations."""
        return (EPOCH, *sorted(self.schemas), *sorted(self.relations))


class Planner:
    """Makes plans under one configuration. Threads share it."""

    def __init__(self, vendor: str, slot_name: Callable[[str], bytes], rules: TableRules, rows: RowCatalog) -> None:
        """``slot_name``: returns the name of a relation's slot. ``rows``: the names of those of rows."""
        self._vendor = vendor
        self._slot_name = slot_name
        self._rules = rules
        self._rows = rows
        self._adaptive_bypasses = AdaptiveBypasses()
        self._sets: Bounded[frozenset[str], frozenset[str]] = Bounded(MOST_SETS)

    def _shared(self, found: frozenset[str]) -> frozenset[str]:
        """Return a set equal to this one that other plans have too: each takes 216 bytes or more, even an empty one."""
        known = self._sets.get(found)
        if known is None:
            self._sets.put(found, found)
            return found
        return known

    def plan(self, statement: Statement, part: CatalogPart, resolver: Resolver) -> Plan:
        """Return the plan of a statement by a part of the catalog, as the sessions of one resolution context mean it.

        ``resolver``: the part's for that context.
        """
        named = resolver.named(statement)
        called = self._shared(resolver.called(statement))

        # What its result depends on
        relations = self._shared(frozenset(resolver.read(named | resolver.read_by_calls(called))))
        bypass_reason = self._bypass_reason(statement, relations, resolver)
        slots = (
            ()
            if bypass_reason
            else (
                self._slot_name(EPOCH),
                *part.slots,
                *map(self._slot_name, sorted(relations)),
            )
        )

        # What running it changes
        changes = self._changes(statement, named, resolver)
        changed = resolver.written(changes.certain | changes.by_name)
        written = self._shared(self._rules.cached(changed))
        may_set_anything = (
            statement.effect is Effect.OPAQUE
            or resolver.calls_set_session(called)
            or resolver.reading_sets_session(named)
            or resolver.writing_sets_session(changed)
        )
        changes_rows_at_most = (
            statement.effect in _CHANGING_ROWS_AT_MOST
            and not may_set_anything
            and statement.session is None
            and statement.temporary_table is None
        )
        return Plan(
            statement,
            bypass_reason,
            relations,
            slots,
            written,
            self._shared(frozenset(name for name in changed - written if not is_outbox(name))),
            self._shared(changes.unknown),
            self._shared(changes.names),
            self._shared(self._rules.cached(resolver.written(changes.certain))) if changes.names else written,
            may_set_anything,
            changes_nothing=changes_rows_at_most and not written,
            only_writes_rows=(
                changes_rows_at_most
                and statement.effect is Effect.WRITE
                and not changes.unknown
                and SCHEMA not in written
            ),
            part=part,
            adaptive_bypass=None
            if bypass_reason or any(map(self._rules.pins, relations))
            else self._adaptive_bypasses.of_statement(relations),
            row_readers=None if bypass_reason else self._row_readers(relations, called, resolver),
            row_writers=self._row_writers(statement, written, named, resolver),
            digest=keys.digest(statement.digest, *slots) if slots else b"",
        )

    def _row_readers(self, relations: frozenset[str], called: frozenset[str], resolver: Resolver) -> RowPlans | None:
        """Return how the results of texts that read these relations depend on rows; None: not at all."""
        if not relations or None in map(resolver.row_keys, relations):
            return None
        switches = [self._rows.switch(relation) for relation in relations]
        return RowPlans(
            lambda text: read_plan(text, self._vendor, relations, called, resolver, self._rows), self._rows, switches
        )

    def _row_writers(
        self, statement: Statement, written: frozenset[str], named: set[str], resolver: Resolver
    ) -> RowPlans | None:
        """Return which rows a write marks, by its text; None: any rows of its relations.

        ``named``: the relations that its words can mean.
        """
        if statement.effect is not Effect.WRITE or statement.targets is None or not written:
            return None
        if resolver.effects_of_calls(resolver.called(statement)) or resolver.effects_of_reading(named):
            return None  # what it calls may write other rows of the same relation
        return RowPlans(lambda text: write_plan(text, self._vendor, written, resolver, self._rows), self._rows)

    def _bypass_reason(self, statement: Statement, relations: frozenset[str], resolver: Resolver) -> str | None:
        """Return why a statement's result is not cached, or None. ``relations``: those that it depends on."""
        if statement.effect is not Effect.READ:
            return statement.bypass_reason or reasons.NOT_A_READ
        if statement.bypass_reason not in (None, reasons.FUNCTION):
            return statement.bypass_reason
        for source in sorted(statement.sources, key=str):
            if not resolver.find(source):
                schema, name = source
                system = schema in _SYSTEM_SCHEMAS or name.startswith(_SYSTEM_PREFIXES)
                return reasons.SYSTEM_CATALOG if system else reasons.UNKNOWN_RELATION
        if resolver.reads_clock(statement, relations):
            return reasons.CLOCK
        unrepeatable = resolver.bypass_reason_of_calls(resolver.called(statement))
        if unrepeatable:
            return unrepeatable
        if any(map(self._rules.excludes, relations)):
            return reasons.BLACKLISTED
        return resolver.bypass_reason(relations, self._rules.admits_foreign)

    def _changes(self, statement: Statement, named: set[str], resolver: Resolver) -> StatementChanges:
        """Return what running a statement may change by itself. ``named``: the relations that its words can mean."""
        effect = statement.effect
        changed = resolver.effects_of_calls(resolver.called(statement)) | resolver.effects_of_reading(named)
        if effect is Effect.SCHEMA and statement.change is not None:
            changes = resolver.changed_by(statement.change)
            if changes is not None:
                return changes._replace(certain=changes.certain | changed)
        by_name: set[str] = set()
        unknown: set[str] = set()
        if resolver.schema_changes_run_code and _fires_event_triggers(statement):
            changed |= ALL_ROWS_AND_SCHEMA
        if effect in (Effect.OPAQUE, Effect.SCHEMA):
            changed |= ALL_ROWS_AND_SCHEMA
            changed |= (
                resolver.all_other_databases() if effect is Effect.OPAQUE else resolver.other_databases(statement.names)
            )
        elif statement.cascades:
            changed.add(EPOCH)
        elif effect is Effect.WRITE:
            if statement.targets is None:
                changed |= named or {EPOCH}
                changed |= resolver.other_databases(statement.names)
            else:
                for target in statement.targets:
                    found = resolver.find(target)
                    changed.update(found)
                    if not found and target[1] not in OWN_OF_SQLITE:
                        unknown.add(target[1])
                        by_name.add(EPOCH)
                        by_name |= resolver.other_databases(frozenset({target[0] or ""}))
        return StatementChanges(frozenset(changed), frozenset(by_name), frozenset(unknown), frozenset(unknown))


def _fires_event_triggers(statement: Statement) -> bool:
    """Return whether a statement that is no schema change runs event triggers nevertheless, as those do.

    See https://www.postgresql.org/docs/current/event-trigger-matrix.html.
    """
    if statement.effect is Effect.SESSION:
        return statement.bypass_reason == reasons.TEMPORARY  # it creates a temporary object
    return not statement.names.isdisjoint({"refresh", "reindex"})


def blind_plan(sql: str, vendor: str) -> Plan:
    """Return the plan of a statement while there is no catalog: whatever could write may write anything."""
    statement = analyse(sql, vendor)
    calls_nothing = statement.calls <= REPEATABLE[vendor]
    writes_nothing = calls_nothing and statement.effect in _WRITING_NOTHING
    # What SQLite's triggers do is more writes; nothing in them reaches the session.
    writes_rows_only = calls_nothing and vendor == "sqlite" and statement.effect is Effect.WRITE
    return Plan(
        statement,
        bypass_reason=reasons.UNIDENTIFIED,
        relations=frozenset(),
        slots=(),
        written=frozenset() if writes_nothing else ALL_ROWS_AND_SCHEMA,
        excluded_writes=frozenset(),
        unknown_targets=frozenset(),
        changed_names=frozenset(),
        certainly_written=frozenset() if writes_nothing else ALL_ROWS_AND_SCHEMA,
        may_set_anything=not (writes_nothing or writes_rows_only),
        changes_nothing=False,
        only_writes_rows=False,
        part=None,
    )


def needs_catalog(sql: str, statement: Statement, vendor: str, *, is_divided: bool) -> bool:
    """Return whether what a statement does depends on the catalog of now.

    Not what a change of the schema does that runs no query and concerns everybody: it invalidates everything, and a
    migration is a row of such changes. ``sql``: the statement's. ``is_divided``: whether one may concern single schemas
    """
    if statement.effect is Effect.SCHEMA:
        change = statement.change
        if statement.skip_state is not None:
            return True  # whether it has done nothing at all can only be known where no event trigger runs on it
        if change is not None and (is_divided or change.is_nothing or change.revoked):
            return True
        # On MySQL a name with a dot could lead to a database that was made since.
        return runs_query(sql) or (vendor == "mysql" and "." in sql)
    if statement.effect is Effect.READ:
        asks_system = bool(statement.sources) and all(schema in _SYSTEM_SCHEMAS for schema, _ in statement.sources)
        return not (asks_system and statement.calls <= REPEATABLE[vendor] | {"database"})
    may_read = _READING.search(sql) is not None or not statement.calls <= REPEATABLE[vendor]
    return statement.effect is not Effect.HARMLESS or may_read


def only_sets(sql: str, statement: Statement, vendor: str) -> bool:
    """Return whether a statement sets something in the session and does nothing else, whatever the catalog is.

    ``sql``: the statement's. A backend that switches the search path does so with a text of its own for each tenant,
    while it is not known which schemas the path leads to.
    """
    return (
        vendor == "postgresql"
        and statement.effect is Effect.SESSION
        and not statement.calls
        and _SETTING.match(sql) is not None
    )


def schemas_meant(statement: Statement) -> frozenset[str]:
    """Return the schemas, folded, that names of relations in a statement are qualified with, and that it creates."""
    change = statement.change
    names = statement.sources | (statement.targets or frozenset())
    if change is not None:
        names |= change.altered | change.revoked | ({change.table} if change.table is not None else frozenset())
    schemas = {schema for schema, _ in names if schema is not None and schema not in _SYSTEM_SCHEMAS}
    if change is not None:
        schemas |= change.dropped_schemas
        if change.schema is not None:
            schemas.add(change.schema)
    return frozenset(schemas)


def runs_query(sql: str) -> bool:
    """Return whether a change of the schema may run a query."""
    return _RUNNING.search(sql) is not None


#: Words with which a change of the schema runs a query
_RUNNING = re.compile(r"\b(?:select|values|execute|call|as\s+table)\b", re.IGNORECASE)
#: A single statement of PostgreSQL that has room for constants alone
_SETTING = re.compile(r"\s*(?:set|reset)\b[^;]*;?\s*\Z", re.IGNORECASE)
#: Words with which a statement that changes nothing by itself may read a view, whose functions could
_READING = re.compile(r"\b(?:select|values|table|copy|explain|declare|handler|do|with|execute)\b", re.IGNORECASE)

_CHANGING_ROWS_AT_MOST = frozenset({Effect.READ, Effect.HARMLESS, Effect.WRITE})
_WRITING_NOTHING = frozenset({Effect.READ, Effect.HARMLESS, Effect.SESSION, Effect.TRANSACTION})
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "mysql", "performance_schema", "sys"})
_SYSTEM_PREFIXES = ("pg_", "sqlite_", "pragma_")
