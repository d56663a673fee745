"""The consistency level ``near``: stamps come from a mirror in the process that the server's pushes keep up to date.

**What the mirror may answer.** A lookup without an entry, if the mirror has a stamp of every slot and a proof (see
:mod:`ormcache.stores.redis.tracking`) from the last ``NEAR_MAX_LAG`` seconds that no push is missing. Otherwise the
store is asked, as on the level ``strict``. So every answer was true at some moment within ``NEAR_MAX_LAG``.

**What may enter the mirror.** One lookup at a time adds what it has fetched. Say that it fetched a stamp at the moment
*t* of the server's time. Any change of the slot after *t* is pushed after *t*. A push that is processed when the stamp
is in the mirror removes it. A push that is processed earlier arrived while the lookup was under way, because *t* lies
after its beginning; ``_fetching`` records it, and the stamp does not enter. A late push of a change from before *t*
removes a good stamp, which does no harm. And the fetch must have been answered by the server that pushes.

**Time does not run backwards.** Concurrent lookups may return in another order than the server answered them. So a
lookup that does not fill the mirror removes what differs from its own answer, and records that answer in ``_fetching``:
what the other lookup adds must be equal to it. A reader that begins later never gets an older stamp, and a process sees
its own writes at once.

Whoever looks up processes the pushes first, so that none is late because some thread has not had its turn. They arrive
on a connection of their own; when that fails, the level is ``strict`` until there is a new one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from django.core.exceptions import ImproperlyConfigured

from ormcache.conf import Config
from ormcache.stores.base import back_off_after, describe_error, is_row_slot, is_stamp
from ormcache.stores.layered import LayeredStore
from ormcache.stores.redis.settings import connection_settings
from ormcache.stores.redis.store import RedisStore
from ormcache.stores.redis.tracking import TrackingConnection, TrackingFailed
from ormcache.utils.interruptions import let_through

logger = logging.getLogger("ormcache")

#: The most slots in a mirror; rather than grow beyond, it forgets those of rows, or all if most are of relations
MAX_SLOTS = 100_000

#: Seconds after which a process that reads nothing closes its tracking connection, which would fill up otherwise
IDLE_TIMEOUT = 10.0

#: What a tracking connection raises when it fails
_CONNECTION_ERRORS: tuple[type[Exception], ...] = (*RedisStore.errors, TrackingFailed)

#: What making a tracking connection raises; RuntimeError where no thread can be started
_CONNECTING_ERRORS: tuple[type[Exception], ...] = (*_CONNECTION_ERRORS, ImproperlyConfigured, RuntimeError)


class NearStore(LayeredStore):
    """A store that answers for slots from its mirror. Threads share it, and never wait for anything under its lock.

    A signal handler may read and write in the thread that holds the lock: what has changed meanwhile is detected.
    """

    _store: RedisStore

    def __init__(
        self,
        store: RedisStore,
        alias: str,
        timeout: float,
        max_lag: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Stand in front of a store with the same ``alias`` and ``timeout``. ``timeout`` and ``max_lag`` in seconds."""
        super().__init__(store, clock=clock)
        self._alias = alias
        self._timeout = timeout
        self._max_lag = max_lag
        # The lock of the base class is values to change any of the following, and to use the connection.
        self._mirror: dict[bytes, bytes] = {}  # slot → stamp; also read without the lock
        #: of the lookup that may fill the mirror: slot → the only stamp that may enter; None: none may
        self._fetching: dict[bytes, bytes | None] | None = None
        self._forgotten = 0  # counts the changes because of which stamps left the mirror
        self._polling = False
        self._connector: object = None  # identifies the call that makes a connection
        self._connection: TrackingConnection | None = None
        self._connection_failures = 0  # in a row, without a proof between them
        self._connect_at = -math.inf  # a time of the clock before which no connection is made
        #: to be logged once the lock is released, as a handler may use the database: (the error,), or (None,) if it
        #: ended
        self._log_due: tuple[Exception | None] | None = None

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.near_max_lag,)

    @classmethod
    def wrap(cls, store: RedisStore, config: Config) -> NearStore:
        return cls(store, config.cache, config.store_timeout, config.near_max_lag)

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if entry is None:
            stamps = self._look_up_mirror(slots)
            if stamps is not None:
                return None, stamps
        return self._fetch(entry, slots)

    def close(self) -> None:
        with self._lock:
            self._disconnect()
        super().close()

    def _look_up_mirror(self, slots: Sequence[bytes]) -> list[bytes | None] | None:
        """Return the stamps of the slots as they were within ``max_lag``, or None if the store has to be asked."""
        connection = self._connection
        if connection is None:
            return None
        now = self._clock()
        if not self._polling:  # or else another call is processing the pushes
            with self._lock:
                if (
                    connection is self._connection
                    and not self._polling
                    and (now >= connection.next_poll or connection.readable())
                ):
                    self._poll_pushes(connection, now)
            if self._log_due is not None:
                self._log_state()
        if now >= connection.fresh_until:
            return None
        mirror = self._mirror
        try:
            return [mirror[slot] for slot in slots]
        except KeyError:
            return None

    def _fetch(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        """Ask the store, and update the mirror from its answer."""
        fetching: dict[bytes, bytes | None] | None = None
        try:
            with self._lock:
                if self._connection is not None and self._fetching is None:
                    fetching = self._fetching = {}
            prefix, value, values = self._store.look_up_with_prefix(entry, slots)
            with self._lock:
                self._take_answer(prefix, slots, values, fetching)
        except BaseException:
            with self._lock:
                if self._fetching is fetching:
                    self._fetching = None
            raise
        if entry is None and self._connection is None:
            self._connect()
        if self._log_due is not None:
            self._log_state()
        return value, values

    # The mirror; the lock is values for all of these ----------------------------------------

    def _take_answer(
        self,
        prefix: bytes,
        slots: Sequence[bytes],
        values: Sequence[bytes | None],
        fetching: dict[bytes, bytes | None] | None,
    ) -> None:
        """Update the mirror from the answer of the store. ``fetching``: set for the lookup that may fill the mirror."""
        fills = fetching is not None and self._fetching is fetching
        if fills:
            self._fetching = None
        if self._connection is not None and self._connection.prefix != prefix:
            self._drop_connection(TrackingFailed("the tracking connection reaches another server than the store's"))
        elif fills:
            self._fill_mirror(slots, values, fetching or {})
        else:
            self._drop_outdated(slots, values)

    def _fill_mirror(
        self, slots: Sequence[bytes], values: Sequence[bytes | None], noted: dict[bytes, bytes | None]
    ) -> None:
        """Add the stamps among the answer that ``noted``, what happened during the fetch, does not contradict."""
        if len(self._mirror) + len(slots) > MAX_SLOTS:
            for slot in filter(is_row_slot, list(self._mirror)):
                self._mirror.pop(slot, None)
            if len(self._mirror) + len(slots) > MAX_SLOTS // 2:
                self._mirror.clear()
        forgotten = self._forgotten
        for slot, value in zip(slots, values, strict=True):
            fits = is_stamp(value) and noted.get(slot, value) == value
            if value is not None and fits and forgotten == self._forgotten:
                self._mirror[slot] = value
            else:
                self._mirror.pop(slot, None)

    def _drop_outdated(self, slots: Sequence[bytes], values: Sequence[bytes | None]) -> None:
        """Remove from the mirror what differs from the answer, and let nothing enter that differs from it."""
        fetching = self._fetching
        for slot, value in zip(slots, values, strict=True):
            if self._mirror.get(slot, value) != value:
                self._mirror.pop(slot, None)
            if fetching is not None:
                fetching[slot] = value if fetching.get(slot, value) == value else None

    def _forget(self, slots: Sequence[bytes] | None) -> None:
        """Remove slots that have changed from the mirror, and do not let them enter; None: all slots."""
        self._forgotten += 1
        if slots is None:
            self._mirror.clear()
            self._fetching = None
            return
        for slot in slots:
            self._mirror.pop(slot, None)
        if self._fetching is not None:
            self._fetching.update(dict.fromkeys(slots))

    def _record_write(self, slots: Sequence[bytes]) -> None:
        with self._lock:
            self._forget(slots)

    # The connection ------------------------------------------------------------------------

    def _poll_pushes(self, connection: TrackingConnection, now: float) -> None:
        """Process the pushes that have arrived, and drop the connection if it fails."""
        self._polling = True
        try:
            connection.poll(now)
        except _CONNECTION_ERRORS as error:
            self._disconnect()
            let_through(error)
            self._drop_connection(error)
            return
        except BaseException:
            self._disconnect()  # what an interrupted call has read is lost
            raise
        finally:
            self._polling = False
        if self._connection_failures and now < connection.fresh_until:
            self._connection_failures = 0
            self._log_due = (None,)

    def _connect(self) -> None:
        """Make a tracking connection, unless there is one, it is being made, or the back-off is not over."""
        me = object()
        try:
            with self._lock:
                if self._connection is not None or self._connector is not None or self._clock() < self._connect_at:
                    return
                self._connector = me
            connection_class, arguments = connection_settings(self._alias, self._timeout)
            connection = TrackingConnection(
                connection_class(**arguments), self._timeout, self._max_lag, self._clock, self._forget
            )
            closing = (weakref.ref(self), connection, max(IDLE_TIMEOUT, self._max_lag))
            threading.Thread(target=_close_when_idle, args=closing, name="ormcache-near", daemon=True).start()
            with self._lock:
                self._forget(None)
                self._connection = connection
        except _CONNECTING_ERRORS as error:
            let_through(error)
            with self._lock:
                self._drop_connection(error)
        finally:
            if self._connector is me:
                self._connector = None

    def _drop_connection(self, error: Exception) -> None:
        """Close a connection that has failed, and extend the back-off."""
        if not self._connection_failures:
            self._log_due = (error,)
        self._disconnect()
        self._connect_at = self._clock() + back_off_after(self._connection_failures)
        self._connection_failures += 1

    def _log_state(self) -> None:
        """Log that the connection has failed or works again, if that is due."""
        due, self._log_due = self._log_due, None
        if due is None:
            return
        (error,) = due
        if error is None:
            logger.warning("the store pushes again: the level 'near' is back")
        else:
            text = describe_error(error)
            logger.warning("the store does not push, the level 'near' is 'strict' until it does: %s", text)

    def _disconnect(self) -> None:
        """Close the connection, and empty the mirror."""
        self._forget(None)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _after_fork(self, in_child: bool) -> None:
        super()._after_fork(in_child)
        if in_child:
            self._forget(None)
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.abandon()
            self._connect_at = -math.inf
            self._connector = None
            self._polling = False


def _close_when_idle(near: weakref.ref[NearStore], connection: TrackingConnection, idle: float) -> None:
    """Close a connection that is no longer used: pushes that are not read would fill the server's memory."""
    while not connection.closed.wait(idle):
        store = near()
        if store is None:
            connection.close()
            return
        with store._lock:
            if connection is not store._connection:
                connection.close()  # the call that made it was interrupted
            elif store._clock() >= connection.last_used + idle:
                store._disconnect()
        del store
