"""What waits for a CDN or reverse proxy to be purged, and the thread that delivers it.

Tags are delivered at least once, for as long as the process lives: the thread retries until the purger has succeeded,
and ends when nothing waits. Each tag is delivered a second time a little later. A page that was computed before the
write can reach the CDN after the first purge, because it was on its way; nobody would purge that one any more.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ormcache.purge_settings import PurgerSettings
from ormcache.purging.purgers import Purger, make_purger
from ormcache.utils.forks import at_fork
from ormcache.utils.interruptions import let_through
from ormcache.utils.log_throttle import LogThrottle

logger = logging.getLogger("ormcache")

#: Seconds for which tags are collected, to be delivered together
BATCH = 0.02
#: Seconds between two attempts: after the first failure, and at most
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
#: Tags that wait at most. Where there are more, all pages are purged
MOST_TAGS = 10_000
#: Seconds that the end of a process waits for what has not been delivered
LONGEST_FLUSH = 5.0
#: Seconds that a fork waits for the thread to end, which may be waiting for an answer
LONGEST_JOIN = 2.0

#: The tag that all pages have
EVERYTHING = "ormcache"


class PurgeCounts(NamedTuple):
    """What became of the purges of one process."""

    purges: int = 0  # that have succeeded
    failures: int = 0  # attempts that have failed
    waiting: int = 0  # tags that have not been delivered


class PurgeQueue:
    """The tags that one CDN or reverse proxy is still to be purged of. Any thread may call any method.

    No method raises an exception of the purger's.
    """

    def __init__(self, settings: PurgerSettings, make: Callable[[PurgerSettings], Purger] = make_purger) -> None:
        """``make``: makes the purger when it is first needed; any exception of its own is a failure."""
        self.settings = settings
        #: deliveries that have succeeded, and attempts that have failed
        self.purges = self.failures = 0
        self._make = make
        self._purger: Purger | None = None
        self._log = LogThrottle()
        self._changed = threading.Condition(threading.RLock())  # guards all below
        self._tags: dict[str, None] = {}
        self._repeats: dict[str, float] = {}  # tag → when it is due, by time.monotonic
        self._delivering = 0  # threads that do
        self._thread: threading.Thread | None = None
        self._is_flushing = False
        _queues.add(self)

    @property
    def waiting(self) -> int:
        """The number of tags that have not been delivered yet."""
        return len(self._tags)

    @property
    def purger(self) -> Purger:
        """The purger that it delivers to. Raises whatever making it raises."""
        if self._purger is None:
            self._purger = self._make(self.settings)
        return self._purger

    def add(self, tags: Iterable[str]) -> None:
        """Purge the pages that have one of these tags, soon."""
        with self._changed:
            self._tags.update(dict.fromkeys(tags))
            _bound(self._tags)
            can_wait = self._start()
            self._changed.notify_all()
        if not can_wait:
            self._deliver_now()

    def _start(self) -> bool:
        """Start the thread, unless there is one. Returns False if none can run."""
        if not threads_run():
            return False
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="ormcache-purges", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # at the end of the interpreter
                return False
            self._thread = thread  # once it runs: starting it can be interrupted
        return True

    # Delivery ---------------------------------------------------------------------------

    def _work(self) -> None:
        """Deliver until nothing waits any more."""
        current, failures = threading.current_thread(), 0
        while True:
            with self._changed:
                if not self._tags and not self._wait_for_repeats(current):
                    return
                if self._tags:
                    self._wait_for_more(current, failures)
                if not self._is_needed(current):
                    return
            failures = 0 if self._deliver_now() else min(failures + 1, 20)

    def _is_needed(self, current: threading.Thread) -> bool:
        return self._thread is None or self._thread is current  # None: it was interrupted while starting this one

    def _wait_for_repeats(self, current: threading.Thread) -> bool:
        """Wait until something is to be delivered, with the lock held. Returns False if the thread has ended."""
        while not self._tags:
            if not self._repeats or not self._is_needed(current):
                if self._thread is current:
                    self._thread = None
                return False
            pause = min(self._repeats.values()) - time.monotonic()
            if pause <= 0:
                break
            self._changed.wait(pause)
        return True

    def _wait_for_more(self, current: threading.Thread, failures: int) -> None:
        """Wait for more tags, or after failures for the CDN to come back, with the lock held."""
        began = time.monotonic()
        while self._is_needed(current):
            if failures:
                pause = FIRST_PAUSE if self._is_flushing else min(FIRST_PAUSE * 2 ** (failures - 1), LONGEST_PAUSE)
            else:
                pause = 0.0 if self._is_flushing else BATCH
            remaining = began + pause - time.monotonic()
            if remaining <= 0 or not self._changed.wait(remaining):
                return

    def _deliver_now(self) -> bool:
        """Try to deliver what waits and the repetitions that are due. Returns whether that has succeeded."""
        with self._changed:
            now = time.monotonic()
            tags, self._tags = self._tags, {}
            due = [tag for tag, at in self._repeats.items() if at <= now]
            for tag in due:
                del self._repeats[tag]
            self._delivering += 1
        is_done = False
        try:
            is_done = self._purge([*tags, *(tag for tag in due if tag not in tags)])
        finally:
            with self._changed:
                self._delivering -= 1
                if is_done:
                    self._repeat(tags)
                else:
                    # What is repeated is delivered once more whenever that may be: it counts as new.
                    self._tags = {**tags, **dict.fromkeys(due), **self._tags}
                    _bound(self._tags)
                self._changed.notify_all()
        return is_done

    def _repeat(self, tags: Mapping[str, None]) -> None:
        if self.settings.repeat_after:
            at = time.monotonic() + self.settings.repeat_after
            self._repeats.update(dict.fromkeys(tags, at))
            if len(self._repeats) > MOST_TAGS:
                self._repeats = {EVERYTHING: at}

    def _purge(self, tags: list[str]) -> bool:
        if not tags:
            return True
        try:
            self.purger.purge(tags)
        except Exception as error:  # noqa: BLE001 - purgers raise anything, and the write has succeeded
            let_through(error)
            self.failures += 1
            suffix = self._log.due()
            if suffix is not None:
                logger.warning("%s cannot be purged, and is retried: %s%s", self.settings.name, error, suffix)
            return False
        self.purges += 1
        return True

    # The process --------------------------------------------------------------------------

    def flush(self, seconds: float) -> bool:
        """Wait until all is delivered, repetitions included. Returns whether it was, within so many seconds."""
        until, has_thread = time.monotonic() + seconds, True
        with self._changed:
            self._is_flushing = True
            try:
                while has_thread and (self._tags or self._repeats or self._delivering):
                    remaining = until - time.monotonic()
                    if remaining <= 0:
                        break
                    has_thread = self._start()
                    if has_thread:
                        self._changed.notify_all()
                        self._changed.wait(remaining)
            finally:
                self._is_flushing = False
        if not has_thread:
            self._deliver_now()
        return not self._tags and not self._delivering

    def pause(self) -> None:
        """End the thread before a fork. What it delivers then, it delivers to the end, for a while."""
        with self._changed:
            thread, self._thread = self._thread, _PAUSED
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST_JOIN)

    def forget(self) -> None:
        """Begin with nothing, and with a fresh lock: what waits in a forked child is its parent's to deliver."""
        self._changed = threading.Condition(threading.RLock())
        self._tags, self._repeats, self._delivering = {}, {}, 0
        self._thread, self._is_flushing = None, False

    def resume(self) -> None:
        """Go on after a fork."""
        with self._changed:
            self._thread = None
            if self._tags or self._repeats:
                self._start()


def threads_run() -> bool:
    """Return whether threads run in this process between two requests: under uWSGI, only where it was asked to."""
    uwsgi = sys.modules.get("uwsgi")
    options = getattr(uwsgi, "opt", None)
    if not isinstance(options, Mapping):
        return True
    names = {name.decode() if isinstance(name, bytes) else str(name) for name in options}
    return not names.isdisjoint({"enable-threads", "threads"})


def _bound(tags: dict[str, None]) -> None:
    if len(tags) > MOST_TAGS:
        tags.clear()
        tags[EVERYTHING] = None


#: Stands for the thread of a queue while the process forks: none is started
_PAUSED = threading.Thread(name="ormcache-purges-paused")

#: Those of this process
_queues: weakref.WeakSet[PurgeQueue] = weakref.WeakSet()


def _pause_all() -> None:
    for queue in list(_queues):
        queue.pause()


def _resume_all() -> None:
    for queue in list(_queues):
        queue.resume()


def _forget_all() -> None:
    for queue in list(_queues):
        queue.forget()


@atexit.register
def _flush_all() -> None:
    until = time.monotonic() + LONGEST_FLUSH
    for queue in list(_queues):
        if not queue.flush(max(until - time.monotonic(), 0.0)):
            logger.error(
                "%s was not purged of %d tags: their pages live until they expire", queue.settings.name, queue.waiting
            )


at_fork(before=_pause_all, after_in_parent=_resume_all, after_in_child=_forget_all)
