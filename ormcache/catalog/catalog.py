"""Draws conclusions from the facts of a catalog: which names are relations, and what each of them reaches."""

from __future__ import annotations

from collections.abc import Iterable

from ormcache.catalog.facts import ANYWHERE, Extent, Facts, ResolutionContext
from ormcache.catalog.functions import Functions
from ormcache.catalog.lookup import Index, Lookup
from ormcache.catalog.other_databases import OtherDatabases
from ormcache.catalog.resolver import Resolver, reach_of
from ormcache.catalog.schemas import Schemas
from ormcache.catalog.settings_read import is_custom, settings_read
from ormcache.catalog.views import Views

#: Resolution contexts whose resolvers, with all that they have concluded, are remembered
MOST_RESOLVERS = 512


class Catalog:
    """Knows the relations of a database, and what reading or writing each of them means.

    Read in one go, never changed, and replaced when anybody changes the schema. Threads share it.
    """

    def __init__(self, vendor: str, facts: Facts) -> None:
        self._facts = facts
        self._index = Index(facts.relations, facts.usable)
        self._functions = Functions(vendor, facts)
        as_read = Lookup(self._index, facts.path, alike=True)
        self._views = Views(vendor, facts, as_read, self._functions)
        self._reach = reach_of(facts)
        self._other_databases = OtherDatabases(facts.other_databases)
        codes = [function.code.text for function in facts.functions if function.code is not None]
        conditions = [condition for _, condition in facts.policies]
        #: the custom settings that policies and functions read: what a session begins with decides what they answer
        self.custom_settings = frozenset(filter(is_custom, settings_read([*codes, *conditions])))
        self._resolvers: dict[ResolutionContext, Resolver] = {}

    @property
    def extent(self) -> Extent:
        """The schemas that it covers."""
        return self._facts.extent

    def schemas_named(self, names: Iterable[str]) -> frozenset[str]:
        """Return the schemas of the database, folded, that are among these folded identifiers."""
        return self._facts.schemas.intersection(names)

    @property
    def has_event_triggers(self) -> bool:
        """Whether a schema change can run code, even one that changes nothing."""
        return self._facts.has_event_triggers

    @property
    def has_write_triggers(self) -> bool:
        """Whether triggers record what sessions write that do not say that they are ormcache's."""
        return self._facts.has_write_triggers

    @property
    def relations(self) -> frozenset[str]:
        """The names of all tables, views and the like."""
        return frozenset(self._index.relations)

    def resolver_for(self, context: ResolutionContext = ANYWHERE) -> Resolver:
        """Return what resolves statements of sessions in this resolution context."""
        resolver = self._resolvers.get(context)
        if resolver is None:
            if len(self._resolvers) >= MOST_RESOLVERS:
                self._resolvers = {}
            alike = context.user is not None and context.user == self._facts.user
            resolver = self._resolvers[context] = Resolver(
                Lookup(self._index, context.path, alike=alike and not context.has_moved),
                index=self._index,
                views=self._views,
                functions=self._functions,
                reach=self._reach,
                other_databases=self._other_databases,
                times=self._facts.times,
                keys=self._facts.keys,
                untexted=self._facts.untexted,
                bypass_reason=self._facts.bypass_reason,
                schemas=Schemas(self._facts, context.path, alike=alike),
            )
        return resolver
