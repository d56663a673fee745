"""An exception from outside at any point of any operation: it comes out, and everything else is as it should be.

A signal's handler runs where the interpreter looks for signals: when a function begins, and after each call. So a
profiling function, which runs there too, raises at each of these points in turn, as a handler would.
"""

from __future__ import annotations

import gc
import math
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import CodeType, FrameType
from typing import Any

import pytest
from django.db import Error, connection, transaction

from ormcache import reasons
from ormcache.write_path.consequences import Consequences
from tests.integration.faults.test_reentrance import places
from tests.integration.reading import shown_on_sqlite
from tests.shop.models import Author

STORES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "near": {"STORE": "redis", "CACHE": "redis", "CONSISTENCY": "near", "NEAR_MAX_LAG": 60},
    "memcached": {"STORE": "memcached", "CACHE": "memcached_one"},
    "embedded, watched": {"OUTSIDE_WRITES_INTERVAL": 5},
}

#: A place in the code where the interpreter looks for signals
Point = tuple[CodeType, int, str]


class Limit(Exception):
    """As Celery's SoftTimeLimitExceeded and RQ's JobTimeoutException are: an Exception."""


def _is_ignored(frame: FrameType) -> bool:
    """Is it a destructor, what a weak reference calls, or a generator that may just be forgotten?

    Python itself keeps what they raise from everybody.
    """
    code = frame.f_code
    destructor = getattr(type(frame.f_locals.get("self")), "__del__", None)
    if code.co_name == "<genexpr>" or code.co_filename == weakref.__file__:
        return True
    return code is getattr(destructor, "__code__", None)


class Points:
    """Collects the points that are passed, and raises at one of them."""

    def __init__(self, at: Point | None = None, error: type[Exception] = Limit) -> None:
        self.passed: dict[Point, None] = {}
        self.raised: Exception | None = None
        self.returning = at is not None and at[2] == "return"
        self.at = at
        self._at = at
        self._error = error

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if event not in ("call", "return", "c_return") or _is_ignored(frame):
            return
        caller = frame.f_back
        # What others return to the package, it returns.
        ours = _is_ours(frame) or (event == "return" and caller is not None and _is_ours(caller))
        if not ours:
            return
        point = (frame.f_code, frame.f_lasti, event)
        self.passed[point] = None
        if point == self._at:
            self._at = None
            self.interrupt()

    def interrupt(self) -> None:
        self.raised = self._error("the time is over")
        raise self.raised

    def run(self, call: Callable[[], None]) -> BaseException | None:
        """What comes out of the call."""
        sys.setprofile(self)
        try:
            call()
        except Exception as error:
            if self.returning:
                # A signal would have been seen after the return, when there is nothing left of it.
                traceback.clear_frames(error.__traceback__)
                error.__traceback__ = None
            return error
        finally:
            sys.setprofile(None)
        return None


class Writes(Points):
    """Writes at one of them, in place of raising."""

    wrote: str | None = None

    def interrupt(self) -> None:
        made = connection.connection
        # Without the cache too, Django would find a transaction when it switches autocommit on.
        if made is not None and (is_closed(made) or not is_autocommit(made)):
            return
        sys.setprofile(None)
        try:
            self.wrote = f"written at {self.at[1]} of {self.at[0].co_name}"
            Author.objects.update(name=self.wrote)
        finally:
            sys.setprofile(self)


def is_closed(made: Any) -> bool:
    return bool(getattr(made, "closed", False)) or not getattr(made, "open", True)


def is_autocommit(made: Any) -> bool:
    """Is it what Django makes of a connection, by the driver's word?"""
    if hasattr(made, "get_autocommit"):
        return bool(made.get_autocommit())
    return made.isolation_level is None if not hasattr(made, "autocommit") else made.autocommit is not False


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith(("ormcache.", "redis.", "pymemcache.")) and not name.startswith("ormcache.testing")


def _is_halfway() -> bool:
    """Has connecting been interrupted before autocommit was switched on, or a transaction before its end?"""
    made = connection.connection
    commits_by_itself = getattr(made, "get_autocommit", None)  # MySQL's drivers
    if commits_by_itself is not None:
        return not commits_by_itself()
    return getattr(made, "autocommit", True) is False or getattr(made, "isolation_level", None) is not None


def _named(point: Point) -> str:
    code, at, event = point
    line = next((line for begin, end, line in code.co_lines() if begin <= at < end), None)
    return f"{event} at {code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{line})"


class Operation:
    """What is interrupted, and what comes before."""

    number = 0

    def before(self) -> None:
        names()

    def __call__(self) -> None:
        raise NotImplementedError


class Hit(Operation):
    def __call__(self) -> None:
        names()


class Miss(Operation):
    def __call__(self) -> None:
        self.number += 1
        list(Author.objects.filter(pk__gt=-self.number).values_list("name", flat=True))


class Open(Operation):
    """The store has to be opened again, and what is looked up is there only."""

    def before(self) -> None:
        names()
        database = connection.ormcache.known()
        for name in list(database.local._entries):
            database.local.drop(name)
        database.stamps.store.close()

    def __call__(self) -> None:
        names()


class Update(Operation):
    def __call__(self) -> None:
        self.number += 1
        Author.objects.update(name=f"updated {self.number}")


class Commit(Operation):
    def __call__(self) -> None:
        self.number += 1
        with transaction.atomic():
            Author.objects.update(name=f"committed {self.number}")


class Rollback(Operation):
    def __call__(self) -> None:
        with transaction.atomic():
            Author.objects.update(name="never")
            transaction.set_rollback(True)


class Connect(Operation):
    def before(self) -> None:
        names()
        connection.close()

    def __call__(self) -> None:
        connection.ensure_connection()
        names()


OPERATIONS = {one.__name__.lower(): one for one in (Hit, Miss, Open, Update, Commit, Rollback, Connect)}


#: TimeoutError is what clients raise as well
CASES = [
    *(("embedded", operation, Limit) for operation in OPERATIONS),
    *(("redis", operation, TimeoutError) for operation in OPERATIONS),
    *(("near", operation, TimeoutError) for operation in ("hit", "update", "commit")),
    *(("memcached", operation, Limit) for operation in ("hit", "open", "update")),
    *(("embedded, watched", operation, Limit) for operation in ("update", "commit")),
]


def names(using: str = "default") -> list[str]:
    return list(Author.objects.using(using).values_list("name", flat=True))


@pytest.fixture(scope="module")
def another_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def free(locks: list[Any]) -> bool:
    """Can another thread have all of these at once?"""
    for lock in locks:
        if not lock.acquire(timeout=5):  # a thread of the package's own may be at work
            return False
        lock.release()
    return True


def problems(locks: list[Any], pool: ThreadPoolExecutor) -> Iterator[str]:
    """What is not as it should be after an operation."""
    database = connection.ormcache.known()
    if database is None:
        yield "the database is not known"
        return
    store = database.stamps.store.strict
    if not store.is_answering or store.outages:
        yield f"an outage: {store.outages}"
    if not pool.submit(free, locks).result(30):
        yield "a lock is held"
    if len(database.flights):
        yield "a flight goes on"
    if database.pending.relations:
        yield "writes wait to be told"
    if connection.ormcache_writes.is_running_miss or connection.ormcache.is_connecting:
        yield "it still reads or connects"
    yield from _of_the_store(store)
    database.local.drop(b"")
    if database.local.weight != sum(kept.weight for kept in database.local._entries.values()):
        yield "a wrong weight"


def _of_the_store(store: Any) -> Iterator[str]:
    if store.kind == "embedded":
        if store._files is not None and store._files.users:
            yield "a thread is in the store"
        if store._changing:
            yield "the store is being opened"
    for pool in [store] if store.kind == "redis" else getattr(store, "_servers", []):
        for link in pool._idle._connections:
            link.used = -math.inf  # memcached: so that it is looked at
            if link._connection.can_read(timeout=0) if store.kind == "redis" else link.is_stale:
                yield "a connection with an unread reply"


@pytest.fixture
def forgets_sockets() -> Iterator[None]:
    """A socket that an operation has made, and that nobody had heard of yet when it was interrupted, is garbage."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("forgets_sockets")
@pytest.mark.slow
@pytest.mark.parametrize(
    "store, operation, error",
    # What the client of another store does is the same with every engine, which the embedded one shows the work of.
    [pytest.param(*case, marks=[] if case[0] == "embedded" else [shown_on_sqlite]) for case in CASES],
)
@pytest.mark.parametrize("half", [0, 1])
def test_at_every_point(store, operation, error, half, another_thread, configure):
    configure(**STORES[store])
    connection.close()
    Author.objects.create(name="first")
    interrupted = OPERATIONS[operation]()
    for _ in range(3):  # until everything that is remembered is
        interrupted.before()
        points = Points()
        assert points.run(interrupted) is None
    locks = [lock for _, name, lock in places() if name != "_thread_sharing_lock"]
    found: list[str] = []
    for point in points.passed:
        code, at, _ = point
        if (code.co_firstlineno + at // 2) % 2 != half:  # two bytes are an instruction
            continue
        gc.collect(0)
        interrupted.before()
        injected = Points(point, error)
        raised = injected.run(interrupted)
        if injected.raised is None:
            continue  # what was remembered meanwhile led another way
        what = list(problems(locks, another_thread))
        if raised is not injected.raised and not (isinstance(raised, Error) and raised.__context__ is not None):
            # (Django fails to switch autocommit on in the transaction that is left.)
            what.append(f"swallowed: {raised!r} came out")
        if operation in ("commit", "rollback") or _is_halfway():
            connection.close()  # Django leaves it as it is
        truth = names("plain")
        if names() != truth or names() != truth:
            what.append(f"{names()} instead of {truth}")
        Author.objects.update(name=f"after {_named(point)[:60]}")
        if names() != names("plain"):
            what.append("a later write is not seen")
        found += [f"{_named(point)}: {one}" for one in what]
        if found[10:]:
            break
    assert "\n".join(found) == ""
    assert len(points.passed) > 10


# Of two connections, the handler's and the one that it has interrupted, one is forgotten: without the cache too.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("way", ["connect", "settings"])
def test_a_write_at_every_point_of_getting_to_know_the_database(way, quarter, configure):
    """A handler that writes through a connection that is being made, or asked anew who its server is."""
    Author.objects.create(name="first")
    changes = iter(range(10_000))

    def use() -> None:
        if way == "connect":
            connection.close()
        else:
            configure(FLIGHT_WAIT=1 + next(changes) / 10_000)
        connection.ensure_connection()
        connection.ormcache.known()

    for _ in range(3):
        names()
        points = Points()
        assert points.run(use) is None
    found: list[str] = []
    wrote = 0
    for point in points.passed:
        if not any(f"/{room}/" in point[0].co_filename for room in ("session", "connection", "write_path", "database")):
            continue  # what interrupts the store, test_reentrance.py tells
        if (point[0].co_firstlineno + point[1] // 2) % 4 != quarter:  # two bytes are an instruction
            continue
        handler = Writes(point)
        raised = handler.run(use)
        if handler.wrote is None:
            continue
        wrote += 1
        if raised is not None or not names() == names() == names("plain") == [handler.wrote]:
            found.append(f"{_named(point)}: {raised!r} {names()} instead of {names('plain')}")
        connection.close()
        names()
    assert "\n".join(found) == ""
    assert wrote > 10


def test_a_setting_that_is_interrupted(engine):
    """It was set, and nobody could follow that: what is read from now on is not shared."""
    if engine == "sqlite":
        pytest.skip("has no settings that a result depends on")
    names()

    def interrupt(frame: FrameType, event: str, arg: object) -> None:
        if event == "call" and frame.f_code is Consequences.follow.__code__:
            raise Limit

    sys.setprofile(interrupt)
    try:
        with pytest.raises(Limit), connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'Asia/Tokyo'" if engine == "postgresql" else "SET time_zone = '+09:00'")
    finally:
        sys.setprofile(None)

    assert connection.ormcache.session_bypass_reason() == reasons.UNTRACKED_SESSION
    connection.close()
    assert names() == names("plain")
    assert connection.ormcache.session_bypass_reason() is None
