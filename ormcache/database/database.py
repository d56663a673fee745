"""One database as this process knows it: its identity, and what belongs to that.

There is one :class:`Database` for each identity and configuration that this process has met; connections of any
thread share it. What belongs to a connection (session, transaction) is in :mod:`ormcache.session`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from operator import attrgetter

from django.utils.crypto import salted_hmac

from ormcache.cache import keys
from ormcache.cache.invalidation_queue import InvalidationQueue
from ormcache.cache.local_cache import LocalCache
from ormcache.cache.single_flight import Flights
from ormcache.cache.stamps import FORMAT, Stamps
from ormcache.catalog import ALL_ROWS, ALL_ROWS_AND_SCHEMA, EPOCH, Server
from ormcache.catalog.activity import is_counted
from ormcache.catalog.sqlite_file import SQLiteFile, is_supported
from ormcache.conf import Config
from ormcache.database.catalog_cache import CatalogCache
from ormcache.database.catalog_parts import CatalogParts
from ormcache.database.commits import Commits
from ormcache.database.excluded_writes import ExcludedWrites
from ormcache.database.outbox import Outbox
from ormcache.database.outside_writes import OutsideWrites
from ormcache.database.own_commits import OwnCommits
from ormcache.database.plan_cache import PlanCache
from ormcache.database.replica_positions import ReplicaPositions
from ormcache.database.seen_stamps import SeenStamps
from ormcache.database.slots import Slots
from ormcache.database.table_filter import TableRules
from ormcache.database.tags import tags_of_write
from ormcache.exceptions import StoreUnavailable
from ormcache.purging.queue import PurgeCounts, PurgeQueue
from ormcache.stores.base import Store
from ormcache.utils.interruptions import let_through
from ormcache.utils.log_throttle import LogThrottle


class Database:
    """The identity of one database, with the caches and the services that are its own. Threads share it."""

    def __init__(self, vendor: str, server: Server, config: Config, store: Store, runtime: str) -> None:
        """``runtime``: what makes values of the database be of other types in another process, such as the driver."""
        self.vendor = vendor
        self.server = server
        self.config = config
        #: what no other database has; a replica takes its primary's
        self.identity = config.name or server.identity
        identity = self.identity.encode()
        #: the CDNs and reverse proxies that are purged of what this process writes
        self.purge_queues = tuple(map(PurgeQueue, config.purge))
        self.stamps = Stamps(
            store,
            identity,
            lease=config.lease,
            signing_key=salted_hmac("ormcache", "entries", algorithm="sha256").digest() if config.sign else None,
            on_stamped=self.purge if self.purge_queues else None,
        )
        #: what the names of entries are made of; it begins with the partition, as they do
        self.namespace = keys.name_beside(
            self.stamps.partition, b"entry", FORMAT, identity, config.scope, runtime.encode()
        )
        #: the same as ``stamps``, for what has to be known as it is now
        self.strict_stamps = Stamps(store.strict, identity)
        self.slots = Slots(self.stamps, server.instance, config.rows)
        self.rules = TableRules(
            blacklist=config.blacklist,
            only=config.only,
            foreign_tables=config.foreign_tables,
            pinned=config.pinned,
            adaptive=config.adaptive,
        )
        parts = CatalogParts()
        self.plans = PlanCache(vendor, self.slots, self.rules, parts)
        #: how far a replica must have replayed before its answers are stored; None: they never are, or it is none
        self.replica_positions = self._watch_positions()
        self.catalog_cache = CatalogCache(
            vendor,
            self.strict_stamps,
            self.slots,
            parts,
            self.plans,
            None if self.replica_positions is None else self.replica_positions.read_replayed,
        )
        self.local = LocalCache(config.local_size)
        self.flights = Flights(store, config.flight_wait)
        #: which stamps transactions that keep their snapshot may use; None where none of them reads from the cache
        self.seen_stamps = SeenStamps() if vendor == "sqlite" else None
        #: what other programs were noticed to have written
        self.outside_writes = OutsideWrites()
        #: whether what was rolled back matters to those who look for such writes
        self.counts_undone = is_counted(vendor) and config.outside_writes_interval > 0 and not server.replica
        #: how the commits of other programs are noticed; None: they are not
        self.commits: Commits | None = None
        #: how its own commits are accounted for; None: they are not
        self.own_commits: OwnCommits | None = None
        self._watch_commits()
        #: relations that this process has written while the store was unavailable
        self.pending = InvalidationQueue(self._renew, self._mark, store.strict.retry_now)
        #: what it has written that its settings exclude from the cache
        self.excluded = ExcludedWrites(self._mark_excluded, config.lease, relies=self.is_strict)
        #: where writes are left that no store could be notified of
        self.outbox = Outbox(vendor, server, self.stamps, self.slots, self._affected, config.lease)
        # What could be logged at every query
        self.damaged_entry_log, self.rejected_write_log = LogThrottle(), LogThrottle()
        self.violation_log = LogThrottle()
        #: the share of hits that are compared with what the database answers
        self.compared_share = config.compared_share

    def _watch_positions(self) -> ReplicaPositions | None:
        is_replica = self.server.replica and self.config.primary is not None and self.vendor == "postgresql"
        return ReplicaPositions(self.stamps, self.slots.epoch) if is_replica and self.config.replica_fills else None

    def _watch_commits(self) -> None:
        path, config = self.server.file, self.config
        if path is None or not config.outside_writes_interval or not is_supported():
            return
        real = os.path.realpath(path)
        try:
            file = SQLiteFile(real)
        except OSError as error:
            let_through(error)
            return
        self.commits = Commits(
            file,
            real,
            self.strict_stamps,
            renew=lambda: self._renew(ALL_ROWS_AND_SCHEMA),
            on_outside=lambda: self.outside_writes.record(EPOCH),
            on_doubt=self.outside_writes.record_doubt,
        )
        self.own_commits = OwnCommits(file, self.commits)

    @property
    def is_strict(self) -> bool:
        """Whether the store itself is asked for stamps at each lookup, and no memory of the process."""
        store = self.stamps.store
        return store.strict is store

    def still_holds(self, slots: Sequence[bytes], vector: bytes) -> bool:
        """Return whether these slots hold these stamps, by the store's own word. Raises StoreUnavailable."""
        return self.strict_stamps.look_up(None, slots).vector == vector

    def renew_at_once(self, relations: frozenset[str]) -> bytes:
        """Invalidate what depends on these relations. Return the stamp of their slots. Raises StoreUnavailable."""
        return self.stamps.renew(self.slots.names(relations))

    def record_undone(self, relations: frozenset[str]) -> None:
        """Record that writes to these relations were rolled back, which the database counts as well."""
        if self.counts_undone and relations:
            with suppress(StoreUnavailable):
                self.strict_stamps.renew(tuple(map(self.slots.undone, sorted(relations))))

    def renew(self, relations: frozenset[str]) -> None:
        """Invalidate what depends on these relations, now or as soon as the store answers."""
        try:
            self._renew(relations)
        except StoreUnavailable:
            self.postpone(relations)

    def postpone(self, relations: frozenset[str], *, unanswered: float = 0.0) -> None:
        """Invalidate what depends on these relations as soon as the store answers.

        ``unanswered``: seconds within which the write may still become visible.
        """
        self.pending.add(relations, unanswered=unanswered)
        if self.purge_queues:  # now, and once more when they are invalidated
            self.purge(self.slots.names(relations))

    @property
    def purge_counts(self) -> PurgeCounts:
        """What became of the purges, over all CDNs and reverse proxies."""
        queues = self.purge_queues
        return PurgeCounts(*(sum(map(attrgetter(name), queues)) for name in PurgeCounts._fields))

    def purge(self, slots: Sequence[bytes]) -> None:
        """Purge CDNs and reverse proxies of the pages that depend on these slots."""
        if self.purge_queues:
            tags = tags_of_write(slots)
            for queue in self.purge_queues:
                queue.add(tags)

    def _affected(self, relations: frozenset[str]) -> frozenset[str]:
        """Return what a write to these relations may change; everything if the catalog of now is not known.

        Raises StoreUnavailable.
        """
        part = self.catalog_cache.part
        if part is None or not self.catalog_cache.check_part(part) or not relations <= part.catalog.relations:
            return relations | ALL_ROWS
        return self.plans.closure(relations)

    def _renew(self, relations: frozenset[str]) -> None:
        self.stamps.renew(self.slots.names(relations))

    def _mark(self, relations: frozenset[str], lease: float) -> None:
        slots = self.slots.names(relations)
        self.stamps.mark(slots, lease=lease)
        self.purge(slots)  # what is computed from now on is not stored until the lease ends

    def _mark_excluded(self, relations: frozenset[str], writer: bytes, lease: float) -> bytes | None:
        # No purge: it would be one every few seconds, of pages that only another deploy can have stored.
        slots = self.slots.names(relations)
        return self.stamps.mark(slots, self.slots.schema, lease=lease, writer=writer)[1]
