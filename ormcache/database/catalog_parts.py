"""The parts of one database's catalog that this process holds.

Where all relations lie in one schema there is one part, of everything. Where they lie in several (a schema for each
tenant) there is one for each search path that sessions have: of the schemas of the path, of those that a statement
names besides, and of those that these depend on. A schema change in one schema makes the parts that have this schema
outdated, and no other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from ormcache.catalog import ANYWHERE, EPOCH, Catalog, Extent, ResolutionContext
from ormcache.catalog.wal_positions import Position
from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils.bounded import Bounded

MOST_PARTS = 512  # that one process holds; after more, it begins anew
MOST_CLOSURES = 4_096  # that are remembered with one part

#: Schemas, folded; None: all of them
Schemas = frozenset[str] | None


class CatalogPart:
    """A catalog, dated by the schema changes that it was read after. Threads share it."""

    __slots__ = (
        "catalog",
        "closures",
        "epoch",
        "is_outdated",
        "read_by",
        "replayed",
        "schema_stamps",
        "slots",
        "version",
        "wanted",
    )

    def __init__(
        self,
        catalog: Catalog,
        wanted: Schemas = None,
        slots: tuple[bytes, ...] = (),
        dates: tuple[bytes, bytes, bytes] | None = None,
        replayed: Position | None = None,
    ) -> None:
        """``wanted``: the schemas that it was read for. ``slots``: of those that it depends on.

        ``dates``: the stamps that the epoch, the schema and ``slots`` held before it was read, the last ones in a row;
        None: they are not known, so that it is never current. ``replayed``: what the replica that it was read from had
        replayed before; None: that is not known, or it was no replica.
        """
        self.catalog = catalog
        #: a ``time.monotonic`` by which it had been read
        self.read_by = time.monotonic()
        self.replayed = replayed
        self.wanted = wanted
        self.slots = slots
        #: a stamp of the epoch's slot at which the schema's slot held ``version``
        self.epoch: bytes | None = None
        self.version: bytes | None = None
        self.schema_stamps: bytes | None = None
        if dates is not None:
            self.epoch, self.version, self.schema_stamps = dates
        #: whether the schema has changed since, as far as this process knows
        self.is_outdated = False
        #: (relations, resolution context, renamed) → see PlanCache.closure()
        self.closures: Bounded[tuple[frozenset[str], ResolutionContext, bool], frozenset[str]] = Bounded(MOST_CLOSURES)

    @property
    def extent(self) -> Extent:
        """Which schemas it is of."""
        return self.catalog.extent

    @property
    def covered(self) -> frozenset[str]:
        """The schemas of which it knows all that a statement that names them needs."""
        schemas = self.extent.schemas
        return (self.wanted or frozenset()) if schemas is None else schemas | (self.wanted or frozenset())

    def matches(self, vector: bytes) -> bool:
        """Return whether the schemas' stamps in the vector of a plan that was made from this part are its own."""
        return not self.slots or vector[STAMP_LENGTH : STAMP_LENGTH * (1 + len(self.slots))] == self.schema_stamps

    def outdate(self) -> None:
        """Record that the schema has changed since it was read."""
        self.is_outdated = True

    def redate(self, epoch: bytes, version: bytes) -> None:
        """Record that it was still right at these stamps of the epoch's and the schema's slots."""
        self.epoch, self.version = epoch, version

    def depends_on(self, relations: frozenset[str]) -> bool:
        """Return whether a change of these pseudo relations makes it outdated."""
        if EPOCH in relations or not self.extent.is_divided:
            return True
        return not relations.isdisjoint(self.extent.dependencies)


class CatalogParts:
    """Finds the part of the catalog that a statement needs. Threads share it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards what follows
        self._parts: dict[Schemas, CatalogPart] = {}

    def __iter__(self) -> Iterator[CatalogPart]:
        with self._lock:
            return iter(list(self._parts.values()))

    def find(self, context: ResolutionContext = ANYWHERE, more: frozenset[str] = frozenset()) -> CatalogPart | None:
        """Return the part for a resolution context and further schemas, outdated or not; None: it was never read."""
        part = self._parts.get(schemas_of(context))
        if part is None or not more - part.covered:
            return part
        return self._parts.get(schemas_of(context, more))

    def find_whole(self) -> CatalogPart | None:
        """Return a part that has the relations of all schemas, outdated or not; None: there is none."""
        part = self._parts.get(None)
        return part or next((part for part in self if part.extent.schemas is None), None)

    def find_current(
        self, context: ResolutionContext = ANYWHERE, more: frozenset[str] = frozenset()
    ) -> CatalogPart | None:
        """Return the same, None if it is outdated as far as this process knows."""
        part = self.find(context, more)
        return None if part is None or part.is_outdated else part

    def put(self, part: CatalogPart) -> CatalogPart | None:
        """Put a part in the place of the one before, which is returned."""
        with self._lock:
            before = self._parts.pop(part.wanted, None)
            if before is not None:
                before.outdate()
            if len(self._parts) >= MOST_PARTS:
                for other in self._parts.values():
                    other.outdate()
                self._parts.clear()
            self._parts[part.wanted] = part
        return before

    def redate(self, part: CatalogPart, epoch: bytes, version: bytes) -> None:
        """Record that a part was still right at these stamps of the epoch's and the schema's slots."""
        with self._lock:
            part.redate(epoch, version)


def schemas_of(context: ResolutionContext, more: frozenset[str] = frozenset()) -> Schemas:
    """Return the schemas in which names of a resolution context are looked up, and these."""
    return None if context.path is None else frozenset(context.path) | more
