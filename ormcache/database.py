"""What one process knows of one database: its identity, its catalog, its plans, its slots in the store.

There is one :class:`Database` for each identity and configuration that this process has met; connections of any
thread share it. What belongs to a connection (session, transaction) is in :mod:`ormcache.session` and
:mod:`ormcache.writes`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from django.utils.crypto import salted_hmac

from ormcache import keys
from ormcache.catalog import ANYWHERE, EPOCH, SCHEMA, Catalog, Server, Standpoint, reader_of, split_neighbour
from ormcache.conf import Config
from ormcache.flights import Flights
from ormcache.local import Local
from ormcache.pending import Pending
from ormcache.planning import Plan, Planner, blind_plan, needs_catalog
from ormcache.seldom import Seldom
from ormcache.selection import Selection
from ormcache.sql import Statement, analyse, collapsed
from ormcache.stamps import FORMAT, Stamps
from ormcache.stores.base import Store, StoreUnavailable
from ormcache.worth import Judgement

logger = logging.getLogger("ormcache")

K = TypeVar("K")
V = TypeVar("V")

#: What texts are is kept for this many of them; their plans for more, because each search path has its own. Nothing is
#: kept of a text that is longer than this many characters.
MOST_STATEMENTS = 4096
MOST_PLANS = 16_384
MOST_SLOTS = 64  # of one write whose slots are remembered
LONGEST_TEXT = 65_536


class Database:
    """One database as this process knows it. Threads share it."""

    def __init__(self, vendor: str, server: Server, config: Config, store: Store, runtime: str) -> None:
        """``runtime``: what makes rows of the one process be of other types than those of another, the driver."""
        self.vendor = vendor
        self.server = server
        self.config = config
        self.local = Local(config.local_size)
        #: what tells it from other databases; replicas take their primary's
        self.identity = config.name or server.identity
        identity = self.identity.encode()
        self.stamps = Stamps(
            store,
            identity,
            lease=config.lease,
            signing_key=salted_hmac("ormcache", "entries", algorithm="sha256").digest() if config.sign else None,
        )
        #: the same, for what has to be known as it is now
        self._strict_stamps = Stamps(store.strict, identity)
        self.flights = Flights(store, config.flight_wait)
        #: what the names of entries have in common
        self.namespace = keys.digest(b"entry", FORMAT, identity, config.scope, runtime.encode())
        self.epoch = self.stamps.slot(EPOCH)
        self.schema = self.stamps.slot(SCHEMA)
        # What could be said at every query
        self.damaged_told, self.refused_told = Seldom(), Seldom()
        self._schema_told, self._unread_told = Seldom(), Seldom()
        #: relations that this process has written while the store was away
        self.pending = Pending(self._renew, store.strict.wake)
        self._blacklist = Selection(config.blacklist)
        self._only = Selection(config.only)
        self._listed = Selection(config.foreign_tables)
        self._pinned = Selection(config.pinned)
        self._lock = threading.Lock()  # guards what follows; never held while the database or the store is asked
        self._statements: dict[str, Statement] = {}
        self._plans: dict[tuple[str, Standpoint], Plan] = {}
        self._closures: dict[tuple[frozenset[str], Standpoint], frozenset[str]] = {}  # of the catalog
        self._slots: dict[str, bytes] = {}
        self._slots_of: dict[frozenset[str], tuple[bytes, ...]] = {}
        self._planner: Planner | None = None  # with the catalog
        self._outdated = False  # the schema has changed since the catalog was read
        self._catalog_version: bytes | None = None  # the schema slot's value before the catalog was read
        self._catalog_epoch: bytes | None = None  # an epoch at which the schema slot still held that value

    # The catalog ------------------------------------------------------------------

    @property
    def has_catalog(self) -> bool:
        return self._planner is not None and not self._outdated

    @property
    def catalog(self) -> Catalog | None:
        return None if self._planner is None else self._planner.catalog

    def load_catalog(self, connection: Any) -> None:
        """Read the catalog through a Django connection that is in no older snapshot."""
        version = epoch = None
        try:
            # Read before the catalog is, for the same reason that vectors are.
            found = self._strict_stamps.look_up(None, (self.epoch, self.schema))
            if found.vector is not None:
                half = len(found.vector) // 2
                epoch, version = found.vector[:half], found.vector[half:]
        except StoreUnavailable:
            pass  # it will be read again once the store answers
        began, again = time.perf_counter(), self._planner is not None
        catalog = Catalog(self.vendor, reader_of(self.vendor).load(connection))
        took = time.perf_counter() - began
        with self._lock:
            self._plans = {}
            self._closures = {}
            self._planner = Planner(catalog, self.slot, self.excludes, self._listed.__contains__, self.pins)
            self._outdated = False
            self._catalog_version = version
            self._catalog_epoch = epoch
        more = self._schema_told.due() if again else None
        if more is not None:
            logger.info(
                "the catalog of %r was read anew in %.0f ms: the schema has changed, or the store is a new one%s",
                connection.alias,
                took * 1e3,
                more,
            )

    def has_loaded(self, connection: Any) -> bool:
        """Is there a catalog, or can it be read now? A failure is logged: the query that asked goes on without it."""
        if not self.has_catalog:
            try:
                self.load_catalog(connection)
            except Exception:
                more = self._unread_told.due()
                if more is not None:
                    logger.exception("the catalog of %r could not be read%s", connection.alias, more)
                return False
        return True

    def forget_catalog(self, catalog: Catalog | None = None) -> None:
        """The schema has changed since this catalog was read; None: since any was.

        Threads that are about to make a plan still get one: it does not outlive the schema's change in the store,
        which both reads and writes look at after they have planned.
        """
        with self._lock:
            if catalog is None or (self._planner is not None and catalog is self._planner.catalog):
                self._outdated = True
                self._plans = {}

    def is_current(self, plan: Plan, epoch: bytes | None) -> bool | None:
        """Is a plan's catalog still right at this value of the epoch's slot? None: it cannot be told just now.

        Schema changes stamp the epoch too, so that an unchanged epoch needs no further question. Raises
        StoreUnavailable.
        """
        planner = self._planner
        if planner is None or plan.catalog is not planner.catalog:
            return False
        if epoch is not None and epoch == self._catalog_epoch:
            return True
        # Strictly, and both at once: the epoch of now and a schema of before would hide a change for good.
        found = self._strict_stamps.look_up(None, (self.epoch, self.schema))
        if found.vector is None:
            return None  # somebody is changing the schema
        half = len(found.vector) // 2
        if not self.is_version(found.vector[half:]):
            return False
        with self._lock:
            self._catalog_epoch = found.vector[:half]
        return True

    def still_holds(self, slots: Sequence[bytes], vector: bytes) -> bool:
        """Do these slots hold these stamps, by the store's own word? Raises StoreUnavailable."""
        return self._strict_stamps.look_up(None, slots).vector == vector

    def is_settled(self, epoch: bytes | None) -> bool:
        """Is it known, without asking, that the catalog was right at this value of the epoch's slot?"""
        return epoch is not None and epoch == self._catalog_epoch

    def is_version(self, version: bytes | None) -> bool:
        """Is the catalog the one of this value of the schema's slot?"""
        return version is not None and version == self._catalog_version

    # Plans ------------------------------------------------------------------------

    def provisional_plan(self, sql: str, standpoint: Standpoint) -> Plan | None:
        """The plan of a text by a catalog that is out of date, if that is good enough."""
        with self._lock:
            planner = self._planner
        if planner is None:
            return None
        statement = analyse(sql, self.vendor)
        if needs_catalog(sql, statement, self.vendor):
            return None
        return planner.plan(statement, planner.catalog.seen_from(standpoint))

    def plan(self, sql: str, standpoint: Standpoint = ANYWHERE) -> tuple[Plan, bytes]:
        """The plan of a text, and what distinguishes it from other texts of the same plan."""
        sql, lengths = collapsed(sql)
        plan = self._plans.get((sql, standpoint))
        return (plan or self._make_plan(sql, standpoint)), lengths

    def _make_plan(self, sql: str, standpoint: Standpoint) -> Plan:
        with self._lock:
            planner, plans, statements = self._planner, self._plans, self._statements
        if planner is None:
            return self.blind_plan(sql)  # another thread has just seen a schema change
        statement = statements.get(sql) or analyse(sql, self.vendor)
        plan = planner.plan(statement, planner.catalog.seen_from(standpoint))
        if len(sql) <= LONGEST_TEXT:
            with self._lock:
                _put(statements, sql, statement, MOST_STATEMENTS)
                _put(plans, (sql, standpoint), plan, MOST_PLANS)
        return plan

    def blind_plan(self, sql: str) -> Plan:
        """The plan of a text while there is no catalog: whatever could write, writes anything."""
        return blind_plan(sql, self.vendor)

    def excludes(self, relation: str) -> bool:
        """Do the settings keep this relation out of the cache?"""
        return relation in self._blacklist or (bool(self._only) and relation not in self._only)

    def pins(self, relation: str) -> bool:
        """Do the settings say that caching this relation pays?"""
        return not self.config.adaptive or relation in self._pinned

    def listed(self, relation: str) -> dict[str, str]:
        """The settings that name this relation → by what; ``ONLY``, of which it is not one → ""."""
        selections = {
            "BLACKLIST": self._blacklist,
            "ONLY": self._only,
            "FOREIGN_TABLES": self._listed,
            "PINNED": self._pinned,
        }
        found = {key: name for key, selection in selections.items() if (name := selection.by(relation)) is not None}
        return found if not self._only or "ONLY" in found else found | {"ONLY": ""}

    def left_alone(self) -> list[tuple[str, Plan, Judgement]]:
        """Statements for which the cache is not asked at the moment, because that did not pay."""
        found = [(sql, plan, plan.worth) for (sql, _), plan in self._plans.copy().items() if plan.worth is not None]
        return [(sql, plan, worth.judgement) for sql, plan, worth in found if worth.rests and worth.judgement]

    @property
    def relations(self) -> frozenset[str]:
        """The names of all that the catalog knows; none while there is no catalog."""
        return frozenset() if self._planner is None else self._planner.catalog.relations

    def find(self, table: str) -> list[str]:
        """The relations that a table name, possibly qualified, means; none: it is not known. Needs the catalog."""
        if self._planner is None:
            raise RuntimeError("a name needs the catalog to be loaded first")
        schema, _, bare = table.lower().rpartition(".")
        return self._planner.catalog.seen_from(ANYWHERE).find((schema or None, bare))

    def closure(self, relations: frozenset[str], standpoint: Standpoint = ANYWHERE) -> frozenset[str]:
        """What a write to these relations may change by the present catalog, anything if there is none."""
        with self._lock:
            planner, closures = self._planner, self._closures
        if planner is None:
            return relations | {EPOCH}
        found = closures.get((relations, standpoint))
        if found is None:
            found = planner.kept(planner.catalog.seen_from(standpoint).written(relations))
            if len(closures) < MOST_PLANS:
                closures[relations, standpoint] = found
        return found

    # Slots --------------------------------------------------------------------------

    def slot(self, relation: str) -> bytes:
        name = self._slots.get(relation)
        if name is None:
            database, bare = split_neighbour(relation)
            identity = None if database is None else f"{self.server.instance} {database}".encode()
            name = self._slots[relation] = self.stamps.slot(bare, identity)
        return name

    def slots_of(self, relations: frozenset[str]) -> tuple[bytes, ...]:
        """In an order that all processes share."""
        slots = self._slots_of.get(relations)
        if slots is None:
            slots = tuple(map(self.slot, sorted(relations)))
            if len(relations) <= MOST_SLOTS:
                _put(self._slots_of, relations, slots, MOST_STATEMENTS)
        return slots

    def renew(self, relations: frozenset[str]) -> None:
        """Retire what depends on these, now or as soon as the store answers."""
        try:
            self._renew(relations)
        except StoreUnavailable:
            self.pending.add(relations)

    def _renew(self, relations: frozenset[str]) -> None:
        self.stamps.renew(self.slots_of(relations))


def _put(memo: dict[K, V], key: K, value: V, most: int) -> None:
    """Remember one thing more, and forget the oldest ones for it."""
    while len(memo) >= most:
        del memo[next(iter(memo))]
    memo[key] = value
