"""Reads the catalog of one database, in parts, and knows whether a part is still right.

A schema change stamps the slot of the schema; beside it, one that concerns everybody stamps the epoch, and another one
the slots of its schemas. A part is dated by the stamps that these slots held before it was read, and is out of date as
soon as one of its schemas' slots holds another one, or both the epoch's and the schema's do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from django.db import Error

from ormcache.cache.stamps import Stamps
from ormcache.catalog import ANYWHERE, Catalog, ResolutionContext, reader_of
from ormcache.catalog.facts import SHARED_SCHEMA, schema_changes
from ormcache.catalog.wal_positions import Position
from ormcache.database.catalog_parts import CatalogPart, CatalogParts, schemas_of
from ormcache.database.plan_cache import PlanCache
from ormcache.database.plans import Plan
from ormcache.database.slots import Slots
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils.interruptions import UNEXPECTED, let_through
from ormcache.utils.log_throttle import LogThrottle

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

logger = logging.getLogger("ormcache")


MOST_ATTEMPTS = 3  # to read a part while what it depends on changes


class SessionBeginning:
    """A period in which new sessions begin with the same settings, because no schema change may have altered them.

    What was read of a new session holds for later ones as long as this is the same object: it is compared by identity.
    ``custom_settings``: those that the catalog reads, see :class:`Catalog`.
    """

    __slots__ = ("custom_settings", "epoch")

    def __init__(self, custom_settings: frozenset[str], epoch: bytes | None) -> None:
        self.custom_settings = custom_settings
        self.epoch = epoch  # at which that was known


class CatalogCache:
    """The catalog that this process holds of one database. Threads share it."""

    def __init__(
        self,
        vendor: str,
        stamps: Stamps,
        slots: Slots,
        parts: CatalogParts,
        plans: PlanCache,
        read_replayed: Callable[[CachedConnection], Position | None] | None = None,
    ) -> None:
        """``stamps``: those that are asked for in the store itself. ``plans``: made from the catalog held here.

        ``read_replayed``: returns what the replica behind a connection has replayed; None: that is of no interest.
        """
        self._reader = reader_of(vendor)
        self._vendor = vendor
        self._stamps = stamps
        self._slots = slots
        self._parts = parts
        self._plans = plans
        self._read_replayed = read_replayed
        #: what new sessions begin with; None: no catalog was read yet
        self.session_beginning: SessionBeginning | None = None
        #: a ``time.monotonic`` from before the catalog was last read
        self.read_after = 0.0
        self._reload_log, self._failure_log = LogThrottle(), LogThrottle()

    # The catalog --------------------------------------------------------------------

    @property
    def is_loaded(self) -> bool:
        """Whether the catalog of all schemas was read, and none has changed since, as far as this process knows."""
        part = self.part
        return part is not None and not part.is_outdated

    def has_part(self, context: ResolutionContext) -> bool:
        """Return whether the schemas that a resolution context needs were read, and none has changed since."""
        return self._parts.find_current(context) is not None

    @property
    def part(self) -> CatalogPart | None:
        """The part of all schemas that was read last, even if it is out of date."""
        return self._parts.find_whole()

    @property
    def catalog(self) -> Catalog | None:
        """The catalog of all schemas that was read last, even if it is out of date; None: none was read yet."""
        part = self.part
        return None if part is None else part.catalog

    @property
    def relations(self) -> frozenset[str]:
        """The names of all relations in the parts that were read; none while there are none."""
        return frozenset().union(*(part.catalog.relations for part in self._parts))

    @property
    def has_write_triggers(self) -> bool:
        """Whether triggers record what sessions write that do not say that they are ormcache's."""
        return any(part.catalog.has_write_triggers for part in self._parts)

    def find(self, table: str, context: ResolutionContext = ANYWHERE) -> list[str]:
        """Return the relations that a table name, possibly qualified, means; none if it is not known.

        Raises RuntimeError if the catalog was not read yet for this resolution context.
        """
        part = self._parts.find(context) or self.part
        if part is None:
            raise RuntimeError("a name needs the catalog to be loaded first")
        schema, _, bare = table.lower().rpartition(".")
        return part.catalog.resolver_for(context).find((schema or None, bare))

    def load(
        self,
        connection: CachedConnection,
        context: ResolutionContext = ANYWHERE,
        more: frozenset[str] = frozenset(),
        *,
        is_own: bool = False,
    ) -> None:
        """Read the catalog through a Django connection that is in no older snapshot.

        ``context``: as far as statements of this resolution context need it. ``more``: and these schemas, folded.
        ``is_own``: the connection's transaction has changed the schema, so that only its own statements may rely on
        what it is shown. Raises the errors of the database.
        """
        wanted = schemas_of(context, more)
        read_after = time.monotonic()
        began = time.perf_counter()
        for _ in range(MOST_ATTEMPTS):
            extent = self._reader.extent(connection, wanted)
            slots = tuple(map(self._slots.name, sorted(extent.dependencies)))
            # Read before the catalog is, for the same reason that vectors are.
            dates = self._dates(slots)
            replayed = None if self._read_replayed is None else self._read_replayed(connection)
            catalog = Catalog(self._vendor, self._reader.load(connection, extent))
            if self._reader.extent(connection, wanted) == extent:
                break
        else:
            dates = None  # it is read again when it is next asked for
        part = CatalogPart(catalog, wanted, slots, None if is_own else dates, replayed)
        again = self._parts.put(part) is not None
        self._plans.clear()
        self.read_after = read_after
        self._begin_sessions(part)
        more_reloads = self._reload_log.due() if again else None
        if more_reloads is not None:
            logger.info(
                "the catalog of %r was read anew in %.0f ms: the schema has changed, or the store is a new one%s",
                connection.alias,
                (time.perf_counter() - began) * 1e3,
                more_reloads,
            )

    def _dates(self, slots: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes] | None:
        try:
            return self._stamps_of(slots)
        except StoreUnavailable:
            return None  # it will be read again once the store answers

    def _begin_sessions(self, part: CatalogPart) -> None:
        """Replace ``session_beginning`` if new sessions may begin otherwise now, or if the catalog reads more."""
        names, before = part.catalog.custom_settings, self.session_beginning
        if before is not None and part.extent.is_divided and part.epoch is not None and part.epoch == before.epoch:
            if names <= before.custom_settings:
                return
            names |= before.custom_settings
        self.session_beginning = SessionBeginning(names, part.epoch)

    def ensure_loaded(
        self,
        connection: CachedConnection,
        context: ResolutionContext = ANYWHERE,
        sql: str | None = None,
        *,
        is_own: bool = False,
    ) -> bool:
        """Read the catalog unless there is one that is up to date. Return whether there is one now.

        ``context``: as far as statements of this resolution context need it. ``sql``: as far as this one does.
        ``is_own``: see :meth:`load`. A failure is logged: the query that needs the catalog goes on without it.
        """
        try:
            if self._parts.find_current(context) is None:
                self.load(connection, context, is_own=is_own)
            more = frozenset() if sql is None else self._plans.schemas_named(sql, context)
            return self._load_more(connection, context, more, is_own=is_own)
        except (Error, connection.Database.Error, *UNEXPECTED) as error:
            let_through(error)
            more_failures = self._failure_log.due()
            if more_failures is not None:
                logger.exception("the catalog of %r could not be read%s", connection.alias, more_failures)
            return False

    def ensure_loaded_for(
        self, connection: CachedConnection, context: ResolutionContext, relations: frozenset[str]
    ) -> bool:
        """Read the catalog as far as writes to these relations need it, unless it is up to date.

        Returns whether it is now."""
        if not self.ensure_loaded(connection, context):
            return False
        return self._load_more(connection, context, self._plans.schemas_of(relations, context))

    def _load_more(
        self, connection: CachedConnection, context: ResolutionContext, more: frozenset[str], *, is_own: bool = False
    ) -> bool:
        if self._parts.find_current(context, more) is None:
            self.load(connection, context, more, is_own=is_own)
        return self._parts.find_current(context, more) is not None

    def schema_changes_of(self, relations: frozenset[str]) -> frozenset[str]:
        """Return the pseudo relations of the schemas in which these relations lie, where each counts by itself."""
        part = self.part
        if part is None or not part.extent.is_divided:
            return frozenset()
        schemas = {name.partition(".")[0].lower() for name in relations if "." in name}
        return frozenset(map(schema_changes, schemas - {SHARED_SCHEMA}))

    def forget(self, part: CatalogPart | None = None) -> None:
        """Record that the schema has changed since this part was read; None: since any was.

        Threads that are about to make a plan still get one: it does not outlive the schema's change in the store,
        which both reads and writes look at after they have planned.
        """
        for one in self._parts if part is None else (part,):
            one.outdate()
        self._plans.clear()

    def record_schema_change(self, relations: frozenset[str]) -> None:
        """Record that the schema has changed as far as these pseudo relations say."""
        for part in self._parts:
            if part.depends_on(relations):
                self.forget(part)

    # Its date -----------------------------------------------------------------------

    def check_plan(self, plan: Plan, vector: bytes | None) -> bool | None:
        """Return whether a plan's catalog is still right when its slots hold these stamps; None: that is unknown now.

        A schema change stamps the epoch or a schema of the plan, so that no further question to the store is needed
        while these are unchanged. Raises StoreUnavailable.
        """
        part = plan.part
        if part is None or part.is_outdated:
            return False
        if vector is not None and part.matches(vector) and vector[:STAMP_LENGTH] == part.epoch:
            return True
        unchanged = self.check_part(part, None if vector is None else vector[:STAMP_LENGTH])
        if unchanged and vector is not None and not part.matches(vector):
            return None  # where stamps come from memory, these can be from before the part was read
        return unchanged

    def is_current_at(self, plan: Plan, vector: bytes) -> bool:
        """Return whether a plan's catalog is known to be right at these stamps, without asking the store."""
        part = plan.part
        return part is not None and vector[:STAMP_LENGTH] == part.epoch and part.matches(vector)

    def is_current_at_schema_stamp(self, part: CatalogPart | None, version: bytes | None) -> bool:
        """Return whether a part is known to be right at ``version``, a stamp of the schema's slot.

        Never asks the store."""
        return part is not None and not part.is_outdated and version is not None and version == part.version

    def check_part(
        self, part: CatalogPart, seen: bytes | None = None, *, besides: frozenset[bytes] = frozenset()
    ) -> bool | None:
        """Ask the store whether a part is still right; None: a schema is being changed. Raises StoreUnavailable.

        ``seen``: a stamp that the epoch or the schema's slot held before. If that is the one that has changed, what the
        others hold now is not older. Otherwise it is asked once more: if the answers are equal, all slots held this at
        one moment. ``besides``: slots of schemas that are left aside.
        """
        if part.epoch is None or part.version is None or part.schema_stamps is None:
            return False
        if part.is_outdated and not besides:
            return False  # with ``besides``, it may be these that have been seen to change
        asked = [number for number, slot in enumerate(part.slots) if slot not in besides]
        # In the store itself: an epoch of now and a schema of before would hide a change for good.
        found = self._stamps_of(tuple(part.slots[number] for number in asked))
        if found is None:
            return None
        epoch, version, stamps = found
        if version != part.version and not (part.extent.is_divided and epoch == part.epoch):
            return False  # it may have changed for everybody
        own = part.schema_stamps
        if stamps != b"".join(own[number * STAMP_LENGTH : (number + 1) * STAMP_LENGTH] for number in asked):
            return False
        if not besides:
            # At most one of the two has changed. A store may read slots one by one, and a schema change come between.
            changed = epoch if version == part.version else version
            if changed not in (part.epoch, seen) and self._stamps_of(part.slots) != found:
                return False
            self._parts.redate(part, epoch, version)
        return True

    def _stamps_of(self, slots: tuple[bytes, ...]) -> tuple[bytes, bytes, bytes] | None:
        """Return the stamps of the epoch, of the schema and of these slots in a row; None if one of them is marked."""
        vector = self._stamps.look_up(None, (self._slots.epoch, self._slots.schema, *slots)).vector
        if vector is None:
            return None
        return vector[:STAMP_LENGTH], vector[STAMP_LENGTH : 2 * STAMP_LENGTH], vector[2 * STAMP_LENGTH :]
