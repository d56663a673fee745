"""What a schema change invalidates, where relations lie in several schemas."""

from __future__ import annotations

from typing import NamedTuple

from ormcache.catalog.facts import ALL_ROWS_AND_SCHEMA, SCHEMA, SHARED_SCHEMA, Facts, Path, schema_changes
from ormcache.catalog.lookup import Index, Lookup
from ormcache.sql import SchemaChange


class StatementChanges(NamedTuple):
    """What a statement changes by itself, in relations and pseudo relations."""

    certain: frozenset[str]
    #: what it changes if ``names`` mean what the catalog says
    by_name: frozenset[str] = frozenset()
    #: of the names, those that the catalog does not know, folded: of tables made since it was read, or of none
    unknown: frozenset[str] = frozenset()
    #: the unknown names, and those of the tables that a schema change alters, with their schemas where it names these
    names: frozenset[str] = frozenset()


class Schemas:
    """The schemas of a database as the sessions of one resolution context see them. Threads share it."""

    def __init__(self, facts: Facts, path: Path, *, alike: bool) -> None:
        """``alike``: may the sessions look into the same schemas as the one that has read the catalog?"""
        self._facts = facts
        self._path = path
        self._certain = facts.usable if alike else frozenset()

    @property
    def are_partial(self) -> bool:
        """Whether the catalog is of some schemas alone."""
        return self._facts.extent.schemas is not None

    @property
    def run_code(self) -> bool:
        """Whether a schema change runs code."""
        return self._facts.has_event_triggers

    def changed_by(self, change: SchemaChange, index: Index) -> StatementChanges | None:
        """Return what a schema change invalidates; None: everything.

        A name without a schema can mean any relation of that name along the path, because what hides the others may
        just be dropped by somebody else.
        """
        if self._facts.has_event_triggers:
            return None
        if change.is_nothing:
            return StatementChanges(frozenset())
        lookup = Lookup(index, self._path)
        if change.revoked:
            found = [lookup.find(name) for name in change.revoked]
            return StatementChanges(frozenset().union(*found)) if all(found) else None
        if not change.dropped_schemas.isdisjoint(self._facts.mixed_schemas):
            return None
        if change.schema in self._facts.roles or change.schema in self._facts.awaited:
            return None  # on the search path as "$user", or what a function has meant ever since
        made = set(change.dropped_schemas) if change.schema is None else {change.schema}
        if change.table is not None:
            schema, _ = change.table
            made |= self._makes_tables_in() if schema is None else {schema}
        altered: set[str] = set()
        unknown: set[str] = set()
        for name in change.altered:
            relations = lookup.find(name)
            altered.update(index.relations[relation].schema or "" for relation in relations)
            if not relations:
                unknown.add(name[1])
        # A name with a schema means what it says.
        names = {bare if schema is None else f"{schema}.{bare}" for schema, bare in change.altered}
        return StatementChanges(
            self._invalidated(made),
            self._invalidated(altered) | (ALL_ROWS_AND_SCHEMA if unknown else frozenset()),
            frozenset(unknown),
            frozenset(unknown | names),
        )

    def _invalidated(self, schemas: set[str]) -> frozenset[str]:
        """What changes with these schemas: everything, unless each of them counts by itself."""
        if not schemas:
            return frozenset()
        extent = self._facts.extent
        if not extent.is_divided or extent.schemas is None or not schemas <= extent.schemas - {SHARED_SCHEMA}:
            return ALL_ROWS_AND_SCHEMA
        return frozenset({SCHEMA, *map(schema_changes, schemas)})

    def _makes_tables_in(self) -> set[str]:
        """The schemas in one of which a table without one is made: the first that exists and is open to the user.

        One that does not exist may have been made by the open transaction.
        """
        found = set()
        for schema in self._path or ():
            found.add(schema)
            if schema in self._certain:
                return found
        return {SHARED_SCHEMA}
