"""One use of something that is computed of results: looked up, or computed while its reads are tracked, and stored.

What is stored carries the slots of all that it was computed of and the stamps that they held, found unchanged at its
end. It is served while they are the same: :mod:`ormcache.cache.tracking` says why that is right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import Error, connections

from ormcache import reasons
from ormcache.cache.keys import digest, name_beside
from ormcache.cache.serializer import Unreadable, Unserializable
from ormcache.cache.single_flight import Flights
from ormcache.cache.stamps import LookupResult, first_changed_slot
from ormcache.cache.tracking import Rejection, Tracker, current_tracker, tracking
from ormcache.catalog import EPOCH
from ormcache.connection.uncached import watch_connections
from ormcache.context.switch import is_disabled
from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.pages.grace import record_current, was_current
from ormcache.pages.readiness import connection_of, is_session, reason_against
from ormcache.pages.stored import Stored, decode, encode, find_locally, put_locally
from ormcache.reasons import Miss
from ormcache.session.connections import is_cached
from ormcache.stores.base import STAMP_LENGTH
from ormcache.utils.event_loops import is_in_event_loop
from ormcache.utils.interruptions import UNEXPECTED, let_through

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection
    from ormcache.database.database import Database
    from ormcache.stores.base import Store

T = TypeVar("T")

#: What an attempt to connect raises: the database's errors, and what tests and event loops forbid it with
_NO_CONNECTION = (Error, ImproperlyConfigured, SynchronousOnlyOperation, RuntimeError, *UNEXPECTED)


class Use(NamedTuple):
    """What is used: its kind and its name for people, and what decides its value besides what it reads."""

    kind: str  # "function", "fragment" or "page"
    label: str  # for people: the dotted name of a function, the name of a fragment, the path pattern of a page
    key: bytes  # a digest of all that decides its value besides what it reads
    timeout: float | None = None  # seconds; None: until a write
    #: seconds for which what is outdated may be served while one caller computes, counted from when this process has
    #: last found it to be current
    grace: float | None = None
    using: str | None = None  # the database whose store has it; None: the default one
    #: returns what it is stored by, if that is known only once it is computed; raises NotStorable; None: ``key``
    key_after: Callable[[], bytes] | None = None


class NotStorable(Exception):
    """Raised for something that was computed and cannot be stored, or has no name to store it by."""

    def __init__(self, reason: str, subject: str) -> None:
        """``reason``: see ormcache.reasons. ``subject``: what it is about, for people."""
        super().__init__(reason, subject)
        self.rejection = Rejection(reason, subject=subject)


class Found(NamedTuple):
    """Something derived that may be served."""

    payload: Any
    tracker: Tracker  # what it depends on
    vector: bytes  # the stamps of its slots
    entry: bytes  # its name
    content: bytes  # a digest of the payload, and of the sessions that it was read in

    @property
    def tag(self) -> str:
        """What no other content has under any name: for an ETag. Equal content under one name may have it again."""
        return digest(self.entry, self.content).hex()


class Derivation:
    """One use. The thread or task that has made it owns it; its methods may run in another thread, one after another.

    Look it up; if nothing is found, compute it inside :meth:`computing`, and :meth:`store` it.
    """

    def __init__(self, use: Use) -> None:
        self.use = use
        #: why it was neither looked up nor will be stored, or why it was not stored; None: it was
        self.rejection: Rejection | None = None
        #: whether something was stored that may not be served any more
        self.is_outdated = False
        #: why there was nothing to serve, see ormcache.reasons.Miss; None: nothing was looked up
        self.miss_cause: str | None = None
        #: the relation whose write invalidated it; None: none did, or it is not known which
        self.invalidated_by: str | None = None
        self._connection: CachedConnection | None = None
        self._database: Database | None = None
        self._session = b""
        self._entry = b""
        self._epoch: tuple[bytes, ...] = ()
        self._vector: bytes | None = None
        self._is_full = False  # whether the store had no room for what it lacks
        self._tracker = Tracker()

    # Look-up ---------------------------------------------------------------------------------------

    def look_up(self) -> Found | None:
        """Return what is stored, if it may be served, and report its dependence to the block around it."""
        database = self._begin()
        if database is None:
            return None
        try:
            if database.commits is not None and not database.commits.check():
                self.rejection = Rejection(reasons.MARKED)
                return None
            found = self._find(database)
        except StoreUnavailable:
            self.rejection = Rejection(reasons.STORE_UNAVAILABLE)
            return None
        if found is None:
            watch_connections()  # of the thread in which a coroutine reads
            return None
        around = current_tracker()
        if around is not None:
            around.absorb(found.tracker)
        return found

    def _begin(self) -> Database | None:
        """Find the store, and name the entry. Returns None if the cache cannot be used; ``rejection`` says why."""
        connection = self._connection = connection_of(self.use.using)
        if connection is None:
            self.rejection = Rejection(reasons.UNCACHED_DATABASE)
            return None
        if is_disabled():
            self.rejection = Rejection(reasons.DISABLED)
            return None
        state = connection.ormcache
        database = state.known()
        if database is None:
            # This process does not know yet which database this is.
            try:
                connection.ensure_connection()
            except _NO_CONNECTION as error:
                let_through(error)  # else: what is computed need not read from it
            else:
                database = state.known()
        if database is None:
            self.rejection = Rejection(state.bypass_reason or reasons.NO_STORE)
            return None
        reason = reason_against(connection, database)
        if reason is not None:
            self.rejection = Rejection(reason)
            return None
        self._database = database
        self._session = state.prefix(database)
        self._entry = self._entry_of(self.use.key)
        self._epoch = (database.slots.name(EPOCH),)
        return database

    def _entry_of(self, key: bytes) -> bytes:
        of = (b"derived", self.use.kind.encode(), self.use.label.encode(), key, self._session)
        return name_beside(self._session, *of)

    def _find(self, database: Database) -> Found | None:
        """Raises StoreUnavailable."""
        stamps, asked = database.stamps, time.monotonic()
        known: tuple[bytes, ...] = ()
        local = find_locally(database.local, self._entry)
        if local is not None:
            known = local.rows
            held = stamps.look_up(None, (*self._epoch, *known))
            if held.vector != local.vector or local.has_expired:
                database.local.drop(self._entry)
            elif (served := self._served(database, local, asked)) is not None:
                self._vector = local.vector[:STAMP_LENGTH]  # should it be computed anew, as lists of names are
                return served
        found = stamps.look_up(self._entry, self._epoch, known, 1)
        self._vector, self._is_full = found.vector, found.denied
        self.is_outdated = found.invalidated
        self._record_cause(database, found)
        if found.damaged:
            stamps.remove_entry(self._entry)
        if found.data is None or found.before is None:
            return None
        try:
            sessions, payload = decode(found.data)
        except Unreadable:
            stamps.remove_entry(self._entry)
            return None
        stored = Stored(sessions, payload, digest(found.data), found.rows or (), found.before, found.expires)
        served = self._served(database, stored, asked)
        if served is not None:
            put_locally(database.local, self._entry, stored, len(found.data))
        return served

    def _record_cause(self, database: Database, found: LookupResult) -> None:
        """Record why there is nothing to serve, should that turn out to be so."""
        before = found.before
        if not found.invalidated:
            self.miss_cause = Miss.MARKED if found.vector is None and not found.denied else Miss.COLD
        elif found.filled:
            self.miss_cause = Miss.LOST
        elif before is None:
            self.miss_cause = Miss.EXPIRED
        else:
            self.miss_cause = Miss.INVALIDATED
            now = found.vector if found.rows is None else found.now
            place = None if now is None else first_changed_slot(before, now)
            if place is not None:
                self.invalidated_by = database.slots.relation_of((*self._epoch, *(found.rows or ()))[place])

    def _served(self, database: Database, stored: Stored, asked: float) -> Found | None:
        """Return what is stored, if it was computed of the databases and in the sessions of now.

        ``asked``: a moment by ``time.monotonic`` from before its slots were looked up.
        """
        if not self._is_of_now(stored.sessions):
            return None
        if self.use.grace:
            record_current(self._entry, stored.vector, asked)
        tracker = Tracker.of_stored(
            stored.sessions,
            database.stamps.store,
            (*self._epoch, *stored.rows),
            stored.vector,
            expires=stored.expires,
        )
        return Found(stored.payload, tracker, stored.vector, self._entry, stored.content)

    def _is_of_now(self, sessions: dict[str, bytes]) -> bool:
        """Return whether these are the sessions of this thread's connections, and those may be served anything."""
        return sessions.get(self._alias) == self._session and all(
            alias == self._alias or is_session(alias, session) for alias, session in sessions.items()
        )

    @property
    def _alias(self) -> str:
        return "" if self._connection is None else self._connection.alias

    def outdated(self) -> tuple[Any] | None:
        """Return what is stored and need not be right any more, if it was right within the grace.

        Raises StoreUnavailable and Unreadable.
        """
        database, grace = self._database, self.use.grace
        if database is None or grace is None:
            return None
        entry = database.stamps.read_outdated(self._entry, self._epoch)
        if entry is None or not was_current(self._entry, entry.vector, grace):
            return None
        sessions, payload = decode(entry.data)
        return (payload,) if self._is_of_now(sessions) else None

    def remove(self) -> None:
        """Remove what is stored: it cannot be read."""
        if self._database is not None:
            self._database.local.drop(self._entry)
            try:
                self._database.stamps.remove_entry(self._entry)
            except StoreUnavailable:
                pass  # the next one overwrites it

    # Waiting for other callers ------------------------------------------------------------------------

    @property
    def entry(self) -> bytes:
        """The name of the entry; empty where the cache cannot be used."""
        return self._entry

    @property
    def statement(self) -> bytes:
        """A digest of what all uses of one function, fragment or path have in common."""
        return digest(b"derived", self.use.kind.encode(), self.use.label.encode())

    @property
    def rejected(self) -> str | None:
        """The reason why it was not stored; None: it was."""
        return None if self.rejection is None else self.rejection.reason

    @property
    def flights(self) -> Flights | None:
        """The executions that others may wait for; None where the cache cannot be used."""
        return None if self._database is None or self.rejection is not None else self._database.flights

    @property
    def store_of_entries(self) -> Store | None:
        """The store that has the entry; None where the cache cannot be used."""
        return None if self._database is None or self.rejection is not None else self._database.stamps.store

    def wait_until(self) -> float:
        """Return until when this thread may wait for another caller, by ``time.monotonic``; 0: it must not.

        A connection that could hold locks which the other one needs must not wait, nor must an event loop.
        """
        if self._database is None or is_in_event_loop():
            return 0.0
        for connection in connections.all(initialized_only=True):
            if connection.connection is not None and (
                connection.allow_thread_sharing
                or connection.in_atomic_block
                or not connection.autocommit
                or (is_cached(connection) and connection.ormcache_writes.transaction.is_open)
            ):
                return 0.0
        return time.monotonic() + self._database.flights.longest_wait

    def has_landed(self) -> bool:
        """Return whether something is stored that may be served. Raises StoreUnavailable."""
        database = self._database
        return database is not None and database.stamps.look_up(self._entry, self._epoch).data is not None

    # Computing and storing -----------------------------------------------------------------------------

    @contextmanager
    def computing(self) -> Iterator[Tracker]:
        """Track what the block reads."""
        tracker = self._tracker
        if self.rejection is not None:
            tracker.reject(*self.rejection)
        elif self._database is not None and self._vector is not None:
            store, seconds = self._database.stamps.store, self._seconds(self._database)
            expires = None if seconds is None else time.time() + seconds
            tracker.record(self._alias, self._session, store, self._epoch, self._vector, expires=expires)
        else:
            tracker.reject(reasons.STORE_FULL if self._is_full else reasons.MARKED)
        watch_connections()
        with tracking(tracker):
            yield tracker

    def _seconds(self, database: Database) -> float | None:
        """Return for how long it may be served; None: until a write."""
        return min((one for one in (self.use.timeout, database.config.timeout) if one is not None), default=None)

    def store(self, payload: Any) -> Found | None:
        """Store what the block has computed, if all that it has read is still as it was. ``rejection`` says why not.

        ``payload``: of the types that results have, in lists, tuples and dicts.
        """
        return self._finish(payload, None)

    def finish(self, value: T, dump: Callable[[T], Any] | None, seconds: float) -> Found | None:
        """Do the same, and report it. ``dump``: makes the payload, if it can be stored. ``seconds``: of computing it.

        What ``dump`` reads belongs to the block, as where the value is a query set. Raises what ``dump`` raises.
        """
        found = self._finish(value, dump)
        self._report_miss(seconds)
        return found

    def report_uncached(self, reason: str, seconds: float, subject: str | None = None) -> None:
        """Report that it was computed without a look-up, for this reason, in so many seconds.

        ``subject``: what the reason is about, for people.
        """
        self.rejection = Rejection(reason, subject=subject)
        self._connection = connection_of(self.use.using)
        self._report_miss(seconds)

    def _report_miss(self, seconds: float) -> None:
        if self._connection is not None:
            self._connection.ormcache.observer.derived_miss(
                self.use.kind,
                self.use.label,
                seconds=seconds,
                cause=self.miss_cause,
                invalidated_by=self.invalidated_by,
                rejection=self.rejection,
            )

    def record_hit(self, seconds: float) -> None:
        """Report that what was stored is served; looking it up took so many seconds."""
        if self._connection is not None:
            self._connection.ormcache.observer.derived_hit(
                self.use.kind, self.use.label, seconds=seconds, outdated=False
            )

    def record_grace(self) -> None:
        """Report that something outdated is served."""
        if self._connection is not None:
            self._connection.ormcache.observer.derived_hit(self.use.kind, self.use.label, seconds=0.0, outdated=True)

    def _finish(self, value: T, dump: Callable[[T], Any] | None) -> Found | None:
        tracker, database = self._tracker, self._database
        payload: Any = value
        if dump is not None and tracker.rejection is None:
            with tracking(tracker):
                payload = dump(value)
        asked = time.monotonic()
        self.rejection = tracker.validate()
        if self.rejection is not None:
            around = current_tracker()
            if around is not None:
                around.reject(*self.rejection)  # it has read the same
            return None
        if database is None:
            return None
        if self.use.key_after is not None:
            try:
                self._entry = self._entry_of(self.use.key_after())
            except NotStorable as error:
                self.rejection = error.rejection
                return None
        stored = self._stored(database, payload)
        if isinstance(stored, str):
            self.rejection = Rejection(stored)
            return None
        if self.use.grace:
            record_current(self._entry, stored.vector, asked)
        return Found(payload, tracker, stored.vector, self._entry, stored.content)

    def _stored(self, database: Database, payload: Any) -> Stored | str:
        """Store the payload of a block whose reads are valid. Return it as it is stored, or why it is not."""
        tracker, config, strict = self._tracker, database.config, database.stamps.store.strict
        if set(tracker.stores) != {strict}:
            return reasons.SEVERAL_STORES
        held = dict(tracker.stores[strict])
        rows = tuple(slot for slot in held if slot not in self._epoch)
        vector = b"".join(held[slot] for slot in (*self._epoch, *rows))
        sessions, expires = dict(tracker.sessions), tracker.expires
        timeout = None if expires is None else expires - time.time()
        if timeout is not None and timeout <= 0:
            return reasons.EXPIRED_MEANWHILE
        try:
            data = encode(sessions, payload, config.compress)
        except Unserializable:
            return reasons.UNSERIALIZABLE
        if len(data) > config.max_bytes:
            return reasons.TOO_LARGE
        try:
            if not database.stamps.store_entry(self._entry, vector, data, timeout, rows):
                return reasons.TOO_LARGE
        except StoreFull:
            return reasons.STORE_FULL
        except StoreUnavailable:
            return reasons.STORE_UNAVAILABLE
        stored = Stored(sessions, payload, digest(data), rows, vector, expires)
        put_locally(database.local, self._entry, stored, len(data))
        return stored
