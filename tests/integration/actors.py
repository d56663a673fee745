"""Threads that stand still at named points, so that a test can lay down every interleaving.

The points are right before and right after each operation of the store, each statement at the driver, each COMMIT and
ROLLBACK, and each query of a miss: ``"before mark"``, ``"after commit"``. A thread that is no actor passes them all.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from ormcache.connection.compiler import CachedCompiler
from ormcache.stores.base import Store

PATIENCE = 30.0  # seconds; a thread that takes longer will never come

#: point → the function that it is around
POINTS = {
    "look_up": (Store, "look_up"),
    "fill": (Store, "fill_slots"),
    "put": (Store, "put_entry"),
    "mark": (Store, "mark"),
    "settle": (Store, "settle"),
    "query": (CachedCompiler, "read_uncached"),
    "execute": (CursorWrapper, "_execute"),
    "commit": (BaseDatabaseWrapper, "_commit"),
    "rollback": (BaseDatabaseWrapper, "_rollback"),
}

#: How statements begin that write
WRITES = ("INSERT", "UPDATE", "DELETE")

_self = threading.local()
_actors: list[Actor] = []  # of the test that runs


@contextlib.contextmanager
def points(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, the functions of :data:`POINTS` are points. At the end every actor is let go, wherever it stands."""
    with monkeypatch.context() as patch:
        install(patch)
        try:
            yield
        finally:
            while _actors:
                _actors.pop().let_go()


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the functions of :data:`POINTS` points until ``monkeypatch`` takes it back."""
    for point, (owner, name) in POINTS.items():
        monkeypatch.setattr(owner, name, _with_points(point, getattr(owner, name)))


def _with_points(point: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def stopping(*args: Any, **kwargs: Any) -> Any:
        # A statement that writes is a point of its own.
        passed = (point, "write") if point == "execute" and str(args[1]).startswith(WRITES) else (point,)
        for name in passed:
            reach(f"before {name}")
        answer = function(*args, **kwargs)
        for name in passed:
            reach(f"after {name}")
        return answer

    return stopping


def reach(point: str) -> None:
    """The running thread comes to this point; if it is an actor whom the test wants here, it stands still."""
    actor: Actor | None = getattr(_self, "actor", None)
    if actor is not None:
        actor._reached(point)


class Actor:
    """A function in a thread with connections of its own; it runs only while the test waits for it.

    ``workers``: run it in one of these threads, and leave the connections open for the next actor there.
    """

    def __init__(
        self, work: Callable[[], Any], *, name: str = "actor", workers: ThreadPoolExecutor | None = None
    ) -> None:
        self.name = name
        #: where it stands; "start" before its first step, "end" when it is done
        self.at = "start"
        self.result: Any = None
        self.error: BaseException | None = None
        self._work = work
        self._wanted: Callable[[str], bool] = lambda point: False
        self._turn, self._stood = threading.Semaphore(0), threading.Semaphore(0)
        _actors.append(self)
        self._ended = threading.Event()
        self._keeps_connections = workers is not None
        if workers is not None:
            workers.submit(self._run)
        else:
            threading.Thread(target=self._run, daemon=True).start()

    def to(self, point: str) -> Actor:
        """On, until it stands at this point."""
        self.on(lambda reached: reached == point)
        assert self.at == point, f"{self.name} came to {self.at!r} without passing {point!r}: {self.error!r}"
        return self

    def on(self, wanted: Callable[[str], bool]) -> str:
        """On, until it stands at a point that is wanted or at its end."""
        self._wanted = wanted
        self._turn.release()
        assert self._stood.acquire(timeout=PATIENCE), f"{self.name} hangs after {self.at!r}"
        return self.at

    def finish(self) -> Any:
        """On to the end. Returns what the function returned, or raises what it raised."""
        if self.at != "end":
            self.on(lambda point: False)
        self._ended.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        return self.result

    def let_go(self) -> None:
        """Whatever becomes of it."""
        if self.at != "end":
            self._wanted = lambda point: False
            self._turn.release()
        self._ended.wait(PATIENCE)

    def _run(self) -> None:
        _self.actor = self
        self._turn.acquire()
        try:
            self.result = self._work()
        except BaseException as error:
            self.error = error
        finally:
            self._wanted = lambda point: False
            _self.actor = None
            if not self._keeps_connections:
                connections.close_all()
            self.at = "end"
            self._stood.release()
            self._ended.set()

    def _reached(self, point: str) -> None:
        if self._wanted(point):
            self.at = point
            self._stood.release()
            self._turn.acquire()
