"""The level ``near``: stamps come from a mirror in the process, which the server's pushes keep.

**What may be answered from it.** A look-up without an entry, if the mirror has a stamp of every slot and a proof (see
:mod:`ormcache.stores.push`) from the last ``NEAR_MAX_LAG`` seconds that nothing is missing from it. Else the store is
asked, as on the level ``strict``. So what is answered was true at some moment of that time.

**What may come into it.** One look-up at a time brings what it has fetched. Say that it fetched a stamp at the moment
*t* of the server's time. Whatever changes the slot after *t* is pushed after *t*. If that push is taken in when the
stamp is in the mirror, it removes it. If it is taken in before, then it was so while the look-up was under way, because
*t* lies after its beginning; this is noted in ``_fetching``, and the stamp does not come in. A push of a change from
before *t* that comes late removes a stamp that was good, which does no harm. And the fetch must have been answered by
the server that pushes.

**Time does not run backwards.** Look-ups that are under way at the same time may bring stamps in another order than
the server gave them out. So one that does not fill the mirror removes what differs from its own answer, and notes that
answer in ``_fetching``: what another one is about to bring in must be equal to it. Nobody who begins to read
later gets an older stamp, and a process sees its own writes at once.

The pushes are read by whoever looks up, so that none is behind because a thread has not had its turn. They come from a
connection of their own, and when that fails, the level is ``strict`` until there is a new one.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections.abc import Callable, Sequence

from ormcache.conf import Config
from ormcache.stores.base import FIRST_BACK_OFF, LONGEST_BACK_OFF, is_stamp
from ormcache.stores.push import NotTracked, PushLink
from ormcache.stores.redis import RedisStore
from ormcache.stores.redis_address import way_to_connect
from ormcache.stores.remembering import RememberingStore

logger = logging.getLogger("ormcache")

#: Slots in one mirror; with more it begins anew
MOST_SLOTS = 100_000

#: Seconds after which a process that reads nothing closes its push connection, which would else fill up
IDLE = 10.0


class NearStore(RememberingStore):
    """Threads share it; the lock is never held while anything is waited for."""

    _store: RedisStore

    def __init__(
        self,
        store: RedisStore,
        alias: str,
        timeout: float,
        max_lag: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``alias``, ``timeout``: how that store connects. ``max_lag`` in seconds."""
        super().__init__(store, clock=clock)
        self._alias = alias
        self._timeout = timeout
        self._max_lag = max_lag
        # The lock of the base class guards all that follows, and whatever is done with the link.
        self._mirror: dict[bytes, bytes] = {}  # slot → stamp; also read without the lock
        #: of the look-up that is to fill the mirror: slot → what it must bring, None if it is not to bring anything
        self._fetching: dict[bytes, bytes | None] | None = None
        self._link: PushLink | None = None
        self._failed_times = 0  # without a proof since
        self._connect_at = -math.inf  # a time of the clock; not before
        #: for the log, once the lock is given back (a handler may use the database): what is wrong, (None,) for nothing
        self._news: tuple[Exception | None] | None = None

    @staticmethod
    def identity(config: Config) -> tuple[object, ...]:
        return (config.near_max_lag,)

    @classmethod
    def in_front_of(cls, store: RedisStore, config: Config) -> NearStore:
        return cls(store, config.cache, config.store_timeout, config.near_max_lag)

    def look_up(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        if entry is None:
            held = self._mirrored(slots)
            if held is not None:
                return None, held
        return self._fetched(entry, slots)

    def close(self) -> None:
        with self._lock:
            self._let_go()
        super().close()

    def _mirrored(self, slots: Sequence[bytes]) -> list[bytes | None] | None:
        """The slots' stamps as they were within ``max_lag``, or None if the store has to be asked."""
        link = self._link
        if link is None:
            return None
        now = self._clock()
        # Whoever holds the lock is taking in the pushes just now.
        if self._lock.acquire(blocking=False):
            try:
                if link is self._link and (now >= link.due or link.readable()):
                    self._tend(link, now)
            finally:
                self._lock.release()
            if self._news is not None:
                self._tell()
        if now >= link.fresh_until:
            return None
        mirror = self._mirror
        try:
            return [mirror[slot] for slot in slots]
        except KeyError:
            return None

    def _fetched(self, entry: bytes | None, slots: Sequence[bytes]) -> tuple[bytes | None, list[bytes | None]]:
        fetching: dict[bytes, bytes | None] | None = None
        try:
            with self._lock:
                if self._link is not None and self._fetching is None:
                    fetching = self._fetching = {}
            prefix, value, held = self._store.look_up_there(entry, slots)
            with self._lock:
                self._answered(prefix, slots, held, fetching)
        except BaseException:
            with self._lock:
                if self._fetching is fetching:
                    self._fetching = None
            raise
        if entry is None and self._link is None:
            self._connect()
        if self._news is not None:
            self._tell()
        return value, held

    # The mirror; all of these hold the lock ----------------------------------------------

    def _answered(
        self,
        prefix: bytes,
        slots: Sequence[bytes],
        held: Sequence[bytes | None],
        fetching: dict[bytes, bytes | None] | None,
    ) -> None:
        """The store has answered ``held`` to a look-up."""
        fills = fetching is not None and self._fetching is fetching
        if fills:
            self._fetching = None
        if self._link is not None and self._link.prefix != prefix:
            self._lost(NotTracked("the push connection leads to another server"))
        elif fills:
            self._fill_mirror(slots, held, fetching or {})
        else:
            self._compare(slots, held)

    def _fill_mirror(
        self, slots: Sequence[bytes], held: Sequence[bytes | None], noted: dict[bytes, bytes | None]
    ) -> None:
        if len(self._mirror) + len(slots) > MOST_SLOTS:
            self._mirror.clear()
        for slot, value in zip(slots, held, strict=True):
            if value is not None and is_stamp(value) and noted.get(slot, value) == value:
                self._mirror[slot] = value
            else:
                self._mirror.pop(slot, None)

    def _compare(self, slots: Sequence[bytes], held: Sequence[bytes | None]) -> None:
        fetching = self._fetching
        for slot, value in zip(slots, held, strict=True):
            if self._mirror.get(slot, value) != value:
                del self._mirror[slot]
            if fetching is not None:
                fetching[slot] = value if fetching.get(slot, value) == value else None

    def _forget(self, slots: Sequence[bytes] | None) -> None:
        """These slots have changed; None: all have."""
        if slots is None:
            self._mirror.clear()
            self._fetching = None
            return
        for slot in slots:
            self._mirror.pop(slot, None)
        if self._fetching is not None:
            self._fetching.update(dict.fromkeys(slots))

    def _written(self, slots: Sequence[bytes]) -> None:
        with self._lock:
            self._forget(slots)

    # The link ------------------------------------------------------------------------------

    def _tend(self, link: PushLink, now: float) -> None:
        try:
            link.tend(now)
        except Exception as error:
            self._lost(error)
            return
        except BaseException:
            self._let_go()  # what an interrupted call has read is gone
            raise
        if self._failed_times and now < link.fresh_until:
            self._failed_times = 0
            self._news = (None,)

    def _connect(self) -> None:
        with self._lock:
            if self._link is not None or self._clock() < self._connect_at:
                return
            self._connect_at = math.inf  # for the other threads
        link = None
        try:
            connection_class, arguments = way_to_connect(self._alias, self._timeout)
            link = PushLink(connection_class(**arguments), self._timeout, self._max_lag, self._clock, self._forget)
        except Exception as error:
            with self._lock:
                self._lost(error)
        finally:
            with self._lock:
                if self._connect_at == math.inf:
                    self._connect_at = -math.inf
                if link is not None:
                    self._forget(None)
                    self._link = link
        if link is not None:
            idle = max(IDLE, self._max_lag)
            arguments_ = (weakref.ref(self), link, idle)
            threading.Thread(target=_close_when_idle, args=arguments_, name="ormcache-near", daemon=True).start()

    def _lost(self, error: Exception) -> None:
        if not self._failed_times:
            self._news = (error,)
        self._let_go()
        back_off = min(FIRST_BACK_OFF * 2 ** min(self._failed_times, 16), LONGEST_BACK_OFF)
        self._failed_times += 1
        self._connect_at = self._clock() + back_off

    def _tell(self) -> None:
        news, self._news = self._news, None
        if news == (None,):
            logger.warning("the store pushes again: the level 'near' is back")
        elif news is not None:
            logger.warning("the store does not push, the level 'near' is 'strict' until it does: %r", *news)

    def _let_go(self) -> None:
        self._forget(None)
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _after_fork(self, in_child: bool) -> None:
        super()._after_fork(in_child)
        if in_child:
            self._forget(None)
            link, self._link = self._link, None
            if link is not None:
                link.abandon()
            self._connect_at = -math.inf


def _close_when_idle(near: weakref.ref[NearStore], link: PushLink, idle: float) -> None:
    """What is pushed to a process that does not read it would fill the server's memory."""
    while not link.closed.wait(idle):
        store = near()
        if store is None:
            link.close()
            return
        with store._lock:
            if link is store._link and store._clock() >= link.used + idle:
                store._let_go()
        del store
