"""Runs what has to be done every few seconds, in one thread of the process.

A :class:`Task` says how often it is due for the databases that the process has met; where none is due, there is no
thread. The thread ends before a fork and begins again afterwards, in the parent at once and in the child with the first
connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from ormcache.database.database import Database
from ormcache.utils.forks import at_fork

logger = logging.getLogger("ormcache")

#: Seconds that a fork waits for the thread to end, which may be waiting for a store
LONGEST_PAUSE = 2.0

Databases = Mapping[str, Database]  # alias → the database that it led to last


class Task(Protocol):
    """Something to be done every few seconds. Its methods are called by one thread at a time."""

    #: what fails, for the log: "the … of this process failed"
    title: str

    def interval(self, databases: Databases) -> float | None:
        """Return the seconds between two runs for these databases; None: there is nothing to do."""

    def run(self, databases: Databases) -> None:
        """Do it once. What it raises is logged the first time, and it is tried again after the interval."""

    def reset(self) -> None:
        """Forget everything: the process is a forked child, or a test begins."""


class BackgroundWorker:
    """The worker of one process. Any thread may call any method; a thread of its own does the work."""

    def __init__(self) -> None:
        self._tasks: list[Task] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()  # guards the following; never held while a task runs
        self._databases: dict[str, Database] = {}
        self._thread: threading.Thread | None = None
        self.is_paused = False  # was the thread ended, and has no other one begun?
        self._ending = threading.Event()  # of that thread
        self._woken = threading.Event()  # of that thread: something may be due earlier than it was, or it is to end
        self._due: dict[int, float] = {}  # index of a task → the time.monotonic of its next run
        self._failed: set[int] = set()  # indices of the tasks whose failure was logged

    def add_task(self, task: Task) -> None:
        """Add a task, unless it was; classes of connections add theirs, perhaps after the first connection."""
        with self._lock:
            if task in self._tasks:
                return
            self._tasks.append(task)
            self._woken.set()
            self._start()

    def reset(self) -> None:
        """End the thread, and forget everything but the tasks, as tests do."""
        self._ending.set()
        self._woken.set()
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget everything but the tasks, with fresh locks, as a forked child does: it has no other thread."""
        self._begin()
        for task in self._tasks:
            task.reset()

    def register(self, alias: str, database: Database) -> None:
        """Note that a connection of this alias leads to this database; start the thread if there is none."""
        if self._databases.get(alias) is database and self._thread is not None:
            return
        with self._lock:
            self._databases[alias] = database
            self._woken.set()
            self._start()

    def databases(self) -> dict[str, Database]:
        """Return the database that each alias led to last, of those that this process has connected."""
        with self._lock:
            return dict(self._databases)

    def pause(self) -> None:
        """End the thread; the next connection, miss or write starts another one.

        Before a fork: Python warns of a fork in a process with several threads, which some projects turn into an
        error. It looks after the hooks have run in the parent, so that they cannot start the thread again.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            self.is_paused = self.is_paused or thread is not None
            self._ending.set()  # inside: the next thread has events of its own
            self._woken.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST_PAUSE)

    def resume(self) -> None:
        """Start the thread again that :meth:`pause` ended."""
        self.is_paused = False
        with self._lock:
            self._start()

    def _start(self) -> None:
        """Start the thread if there is none and a task needs one."""
        if self._thread is None and self._next_run() is not None:
            events = self._ending, self._woken = threading.Event(), threading.Event()
            thread = threading.Thread(target=self._work, args=events, name="ormcache-background", daemon=True)
            thread.start()
            self._thread = thread  # once it runs: starting it can be interrupted

    # The thread -------------------------------------------------------------------------

    def _work(self, ending: threading.Event, woken: threading.Event) -> None:
        while (wait := self._wait()) is not None:
            woken.wait(wait)
            woken.clear()
            if ending.is_set():
                return
            self._run_due(ending)

    def _wait(self) -> float | None:
        """Return the seconds until the next task is due; None if the calling thread is not needed any more."""
        with self._lock:
            if self._thread is not threading.current_thread():
                return None
            due = self._next_run()
            if due is None:
                self._thread = None
                return None
            return max(0.0, due - time.monotonic())

    def _next_run(self) -> float | None:
        """Return the time.monotonic at which the next task is due; None: none has anything to do."""
        now = time.monotonic()
        for index, task in enumerate(self._tasks):
            interval = task.interval(self._databases)
            if interval is None:
                self._due.pop(index, None)
            else:  # which may be shorter than it was when it became due
                self._due[index] = min(self._due.get(index, now + interval), now + interval)
        return min(self._due.values(), default=None)

    def _run_due(self, ending: threading.Event) -> None:
        """Run the tasks that are due."""
        for index, task in enumerate(self._tasks):
            with self._lock:
                due, databases = self._due.get(index), dict(self._databases)
                if due is None or due > time.monotonic() or ending.is_set():
                    continue
                del self._due[index]  # it is due again an interval after its end
            try:
                task.run(databases)
            except Exception:  # in a thread of its own, which no signal interrupts
                # There is no caller to catch it, and nothing would be done any more if the thread ended.
                if index not in self._failed:
                    logger.exception("the %s of this process failed, and will be tried again", task.title)
                self._failed.add(index)


#: The one of this process
worker = BackgroundWorker()
at_fork(before=worker.pause, after_in_child=worker.begin_anew)
