"""What a database adds to the text of a statement: which names are relations, and what each of them reaches."""

from __future__ import annotations

from ormcache.catalog.facts import ANYWHERE, Facts, Standpoint
from ormcache.catalog.functions import Functions
from ormcache.catalog.lookup import Index, Lookup
from ormcache.catalog.neighbours import Neighbours
from ormcache.catalog.scope import Scope, reach_of
from ormcache.catalog.views import Views

#: Standpoints whose conclusions are kept
MOST_SCOPES = 512


class Catalog:
    """The relations of one database and what reading or writing each of them means.

    Read in one go, never changed, and replaced when anybody changes the schema. Threads share it.
    """

    def __init__(self, vendor: str, facts: Facts) -> None:
        self._facts = facts
        self._index = Index(facts.relations, facts.usable)
        self._functions = Functions(vendor, facts)
        as_read = Lookup(self._index, facts.path, alike=True)
        self._views = Views(vendor, facts, as_read, self._functions)
        self._reach = reach_of(facts.reaches, facts.inherits, facts.bodies)
        self._neighbours = Neighbours(facts.neighbours)
        self._scopes: dict[Standpoint, Scope] = {}

    @property
    def relations(self) -> frozenset[str]:
        """The names of all tables, views and the like."""
        return frozenset(self._index.relations)

    def seen_from(self, standpoint: Standpoint = ANYWHERE) -> Scope:
        """As a session sees it from there."""
        scope = self._scopes.get(standpoint)
        if scope is None:
            if len(self._scopes) >= MOST_SCOPES:
                self._scopes = {}
            alike = standpoint.user is not None and standpoint.user == self._facts.user
            scope = self._scopes[standpoint] = Scope(
                Lookup(self._index, standpoint.path, alike=alike),
                index=self._index,
                views=self._views,
                functions=self._functions,
                reach=self._reach,
                neighbours=self._neighbours,
                times=self._facts.times,
                obstacle=self._facts.obstacle,
            )
        return scope
