"""Is all well between this process, the databases and their stores?

Nothing of the user's is written: the proof works on names of its own, which it takes away again, and the database is
only read.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.apps import apps
from django.core import checks as django_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model

from ormcache import signals
from ormcache.checks import check_settings
from ormcache.conf import Config
from ormcache.database import Database
from ormcache.insight.aliases import connection_to
from ormcache.insight.explaining import explain, reason_of
from ormcache.insight.verdicts import ERROR, LEVELS, NOTE, OK, WARNING, Finding, of_store
from ormcache.keys import digest
from ormcache.reasons import DISABLED, REPLICA
from ormcache.stamps import Stamps
from ormcache.stores.base import Store, StoreUnavailable, is_stamp
from ormcache.stores.facts import StoreFacts
from ormcache.switch import disabled

#: Times that something is done to see how long it takes
ROUNDS = 20

#: A table of Django's own that has rows in nearly every project
_SMALL = "contenttypes.ContentType"

#: Rows of a table that are compared
MOST_ROWS = 100

#: What the server's clock says, seconds since the epoch, by vendor. SQLite has none of its own.
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
}


@dataclass(frozen=True, slots=True)
class Latency:
    """How long something takes, seconds, and how often it was done."""

    best: float
    median: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that a server's clock is before this host's, and by how much that may be wrong at most."""

    ahead: float
    ahead_by: float


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a proof."""

    text: str
    passed: bool


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """What was found about one database and its store."""

    using: str
    vendor: str
    version: str | None = None
    identity: str | None = None
    round_trip: Latency | None = None
    clock: Clock | None = None
    store: StoreFacts | None = None
    operations: Mapping[str, Latency] = field(default_factory=dict)  # of the store
    proof: tuple[Step, ...] = ()  # that the store does what the rules need
    table: str | None = None  # whose rows were compared
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    databases: tuple[DatabaseHealth, ...]
    settings: tuple[Finding, ...]  # what the system checks say

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.settings, *(finding for one in self.databases for finding in one.findings))

    @property
    def worst(self) -> str:
        """The gravest level of all findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default=OK)


def examine(aliases: Sequence[str], rounds: int = ROUNDS) -> Health:
    """Look at these databases and at the settings. Raises NotCached for an alias without an engine of ormcache."""
    for alias in aliases:
        connection_to(alias)
    return Health(tuple(_Examination(alias, rounds).result() for alias in aliases), tuple(_of_settings(aliases)))


def _of_settings(aliases: Sequence[str]) -> Iterator[Finding]:
    for message in check_settings(list(aliases)):
        if not message.is_silenced():
            level = ERROR if message.level >= django_checks.ERROR else WARNING
            yield Finding(level, message.id or "settings", message.msg, message.hint or "")


class _Examination:
    """Of one database."""

    def __init__(self, alias: str, rounds: int) -> None:
        self._alias = alias
        self._rounds = rounds
        self._connection = connection_to(alias)
        self._findings: list[Finding] = []
        self._found: dict[str, Any] = {}

    def result(self) -> DatabaseHealth:
        try:
            self._examine()
        except (DatabaseError, InterfaceError, ImproperlyConfigured) as error:
            self._add(ERROR, "database", f"The database cannot be reached: {error}".strip(), "Look at its settings.")
        return DatabaseHealth(self._alias, self._connection.vendor, **self._found, findings=tuple(self._findings))

    def _add(self, level: str, about: str, text: str, hint: str = "") -> None:
        self._findings.append(Finding(level, about, text, hint))

    def _examine(self) -> None:
        connection = self._connection
        connection.ensure_connection()
        self._found["version"] = ".".join(map(str, connection.get_database_version()))
        self._found["round_trip"] = _latency(self._rounds, self._ask)
        self._add(OK, "database", "It answers.")
        self._found["clock"] = self._clock()
        database = connection.ormcache.known()
        if database is None:
            self._nothing_is_cached(connection.ormcache.obstacle)
            return
        self._found["identity"] = database.identity
        try:
            self._look_at_store(database, database.config)
        except StoreUnavailable as error:
            self._add(ERROR, "store", f"The store does not answer: {error}.", "Until it does, nothing is cached.")
        else:
            self._compare(database)

    def _nothing_is_cached(self, obstacle: str | None) -> None:
        reason = reason_of(obstacle or "no store")
        if reason is not None:
            level = WARNING if reason.name in (DISABLED, REPLICA) else ERROR
            self._add(level, "database", f"Nothing is cached ({reason.name}): {reason.text}.", f"{reason.remedy}.")

    # The database -----------------------------------------------------------------------

    def _ask(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    def _clock(self) -> Clock | None:
        sql = _CLOCKS.get(self._connection.vendor)
        if sql is None:
            return None
        with self._connection.cursor() as cursor:
            before = time.time()
            cursor.execute(sql)
            (told,) = cursor.fetchone()
            after = time.time()
        return Clock(float(told) - (before + after) / 2, (after - before) / 2)

    # The store --------------------------------------------------------------------------

    def _look_at_store(self, database: Database, config: Config) -> None:
        store = database.stamps.store.strict
        facts = self._found["store"] = store.describe()
        self._found["operations"] = _operations(store, config.lease, self._rounds)
        self._add(OK, "store", "It answers.")
        self._findings += of_store(facts, config, self._found["operations"]["look_up"].median)
        self._found["proof"] = steps = prove(store, config.lease)
        failed = next((step for step in steps if not step.passed), None)
        if failed is None:
            self._add(OK, "proof", "A write retires what was cached before it.")
        else:
            hint = "Do not rely on this store: use another one, and look at what stands between it and this process."
            self._add(ERROR, "proof", f"The store does not do what it must: {failed.text}.", hint)

    # Rows -------------------------------------------------------------------------------

    def _compare(self, database: Database) -> None:
        """Does a query answer the same through the cache as around it?"""
        if database.server.replica:
            self._add(NOTE, "rows", "Not compared: what is read from a replica may be older than the cache.")
            return
        model = next(self._cached_models(), None)
        if model is None:
            hint = "Ask why: manage.py ormcache explain app.Model."
            self._add(WARNING, "rows", "No table was found of which a query is cached.", hint)
            return
        self._found["table"] = model._meta.db_table
        for _ in range(3):  # until nobody writes to the table meanwhile
            before = self._rows(model, around=True)
            cached, served = self._rows(model), self._rows(model)
            hits, after = self._hits, self._rows(model, around=True)
            if before == after:
                break
        else:
            self._add(NOTE, "rows", f"Not compared: {model._meta.db_table} is written all the time.")
            return
        if not before == cached == served:
            text = f"{model._meta.db_table} reads differently through the cache than around it."
            hint = "Somebody writes to this database past ormcache. Retire all: manage.py ormcache invalidate."
            self._add(ERROR, "rows", text, hint)
        elif not hits:
            hint = "Another process may be writing to the table. If it stays so: manage.py ormcache explain app.Model."
            self._add(WARNING, "rows", f"{model._meta.db_table} was not served from the cache.", hint)
        else:
            self._add(OK, "rows", f"{model._meta.db_table} reads the same through the cache as around it.")

    _hits = 0

    def _rows(self, model: type[Model], *, around: bool = False) -> list[Any]:
        queryset = model._base_manager.using(self._alias).order_by("pk").values_list()[:MOST_ROWS]
        if around:
            with disabled():
                return list(queryset)
        thread = threading.get_ident()
        self._hits = 0

        def hit(using: str, **kwargs: Any) -> None:
            if using == self._alias and threading.get_ident() == thread:
                self._hits += 1

        signals.hit.connect(hit, weak=False)
        try:
            return list(queryset)
        finally:
            signals.hit.disconnect(hit)

    def _cached_models(self) -> Iterator[type[Model]]:
        """Those whose rows could be compared now, Django's own tables first: they are small."""
        recorded: Any = MigrationRecorder.Migration
        models: list[type[Model]] = [
            recorded,
            *sorted(apps.get_models(), key=lambda model: model._meta.label != _SMALL),
        ]
        for model in models:
            if not model._meta.managed or model._meta.proxy:
                continue
            explanation = explain(model._base_manager.all(), self._alias)
            if explanation.cached and explanation.hindrance is None:
                yield model


def _latency(rounds: int, call: Callable[[], object]) -> Latency:
    call()  # whatever has to be made first
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return Latency(min(took), statistics.median(took), rounds)


def _operations(store: Store, lease: float, rounds: int) -> dict[str, Latency]:
    """How long the store takes, on names of our own, which are gone afterwards."""
    own = Stamps(store, b"ormcache check " + os.urandom(8), lease=lease)
    entry, slots = digest(os.urandom(16)), [own.slot("*"), own.slot("check")]
    try:
        vector = own.look_up(entry, slots).vector

        def change() -> None:
            writer, _ = own.mark(slots[1:])
            own.settle(slots[1:], writer)

        return {
            "look_up": _latency(rounds, lambda: own.look_up(entry, slots)),
            "put": _latency(rounds, lambda: own.keep(entry, vector or b"", b"x" * 1024, lease)),
            "mark_and_settle": _latency(rounds, change),
        }
    finally:
        _clean(store, entry, slots)


def prove(store: Store, lease: float) -> tuple[Step, ...]:
    """The rules, one after the other, on a slot and an entry of our own, up to the first one that does not hold.

    Raises StoreUnavailable.
    """
    own = Stamps(store, b"ormcache check " + os.urandom(8), lease=lease)
    entry, slots = digest(os.urandom(16)), [own.slot("*"), own.slot("check")]
    steps: list[Step] = []
    try:
        for step in _steps(own, entry, slots):
            steps.append(step)
            if not step.passed:
                break
    finally:
        _clean(store, entry, slots)
    left = store.look_up(entry, slots)
    steps.append(Step("nothing is left of this", left == (None, [None, None])))
    return tuple(steps)


def _steps(own: Stamps, entry: bytes, slots: list[bytes]) -> Iterator[Step]:
    first = own.look_up(entry, slots)
    yield Step("empty slots are filled with stamps", first.vector is not None and first.data is None)
    vector = first.vector or b""
    yield Step("a result is kept", own.keep(entry, vector, b"one", None))
    yield Step("it is served", own.look_up(entry, slots).data == b"one")
    writer, _ = own.mark(slots[1:])
    marked = own.look_up(entry, slots)
    yield Step("from a writer's mark on it is not, and nothing is kept", marked.data is None and marked.vector is None)
    own.settle(slots[1:], writer)
    settled = own.look_up(entry, slots)
    fresh = settled.vector is not None and settled.vector != vector and is_stamp(settled.epoch)
    yield Step("once the write is settled it is not", settled.data is None and fresh)
    kept = own.keep(entry, vector, b"late", None)
    yield Step(
        "nor is one that was read before the write and kept after it", kept and own.look_up(entry, slots).data is None
    )
    kept = own.keep(entry, settled.vector or b"", b"two", None)
    yield Step("a new result is served", kept and own.look_up(entry, slots).data == b"two")


def _clean(store: Store, entry: bytes, slots: Iterable[bytes]) -> None:
    store.remove([entry])
    store.empty(list(slots))
