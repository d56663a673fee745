"""Whether all is well between this process, the databases and their stores.

No data of the project is written: the database is only read, and what is stored for the proof is removed again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
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
from ormcache.context.switch import disabled
from ormcache.database.database import Database
from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.explain.explainer import explain, explain_reason
from ormcache.diagnostics.format.verification import describe_verification
from ormcache.diagnostics.health.findings import ERROR, LEVELS, NOTE, OK, WARNING, Finding, judge_store
from ormcache.diagnostics.health.outside_writes import judge_outside_writes
from ormcache.diagnostics.health.proof import Latency, ProofStep, measure, measure_operations, prove
from ormcache.diagnostics.health.recorded_writes import judge_triggers
from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.reasons import DISABLED, NO_STORE, REPLICA
from ormcache.stores.info import StoreInfo
from ormcache.telemetry import other_stores
from ormcache.telemetry.deployment import collect_reports
from ormcache.telemetry.report import Report
from ormcache.utils.interruptions import let_through

#: How often each round trip is measured
ROUNDS = 20

#: A small table of Django's own that has rows in nearly every project
_SMALL_MODEL = "contenttypes.ContentType"

#: A tag that no page has
NO_TAG = "ormcache-check"

#: Rows of a table that are compared
MOST_ROWS = 100

_WHEN_FULL = "Give it more room, or let it evict what was not used for long: what it lacks is read from the database."

#: Vendor → SQL for the time by the server's clock, in seconds since the epoch. SQLite has no clock of its own
_CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(6))",
}


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Seconds by which a server's clock is ahead of this host's, and by which that may be wrong at most."""

    offset: float
    error: float


@dataclass(frozen=True, slots=True)
class DatabaseHealth:
    """What was found about one database and its store."""

    using: str
    vendor: str
    version: str | None = None
    identity: str | None = None
    round_trip: Latency | None = None
    clock: ClockOffset | None = None
    store: StoreInfo | None = None
    operations: Mapping[str, Latency] = field(default_factory=dict)  # of the store
    proof: tuple[ProofStep, ...] = ()  # that the store does what the protocol needs
    table: str | None = None  # whose rows were compared
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """What was found about several databases and about the settings."""

    databases: tuple[DatabaseHealth, ...]
    settings: tuple[Finding, ...]  # what the system checks say

    @property
    def findings(self) -> tuple[Finding, ...]:
        return (*self.settings, *(finding for one in self.databases for finding in one.findings))

    @property
    def worst(self) -> str:
        """Return the most serious level of all findings."""
        return max((finding.level for finding in self.findings), key=LEVELS.index, default=OK)


def examine(aliases: Sequence[str], rounds: int = ROUNDS) -> Health:
    """Examine these databases and the settings. Raises NotCached for an alias without an engine of ormcache."""
    for alias in aliases:
        connection_to(alias)
    return Health(tuple(_Examination(alias, rounds).result() for alias in aliases), tuple(_settings_findings(aliases)))


def _settings_findings(aliases: Sequence[str]) -> Iterator[Finding]:
    for message in check_settings(list(aliases)):
        if not message.is_silenced():
            level = ERROR if message.level >= django_checks.ERROR else WARNING
            yield Finding(level, message.id or "settings", message.msg, message.hint or "")


class _Examination:
    """Examines one database."""

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
            self._add(ERROR, "database", f"The database does not answer: {error}".strip(), "Check its settings.")
        return DatabaseHealth(self._alias, self._connection.vendor, **self._found, findings=tuple(self._findings))

    def _add(self, level: str, about: str, text: str, hint: str = "") -> None:
        self._findings.append(Finding(level, about, text, hint))

    def _examine(self) -> None:
        connection = self._connection
        connection.ensure_connection()
        self._found["version"] = ".".join(map(str, connection.get_database_version()))
        self._found["round_trip"] = measure(self._rounds, self._query)
        self._add(OK, "database", "It answers.")
        self._found["clock"] = self._clock()
        database = connection.ormcache.known()
        if database is None:
            self._report_uncached(connection.ormcache.bypass_reason)
            return
        self._found["identity"] = database.identity
        self._examine_purgers(database)
        self._findings += judge_triggers(self._connection, database)
        self._examine_outbox(database)
        try:
            self._examine_store(database, database.config)
        except StoreUnavailable as error:
            self._add(ERROR, "store", f"The store does not answer: {error}.", "Nothing is cached until it does.")
        else:
            report = collect_reports(database).get(self._alias)
            self._report_verification(database, report)
            self._findings += judge_outside_writes(report) if report is not None else ()
            with self._connection.ormcache.observer.uncounted():
                self._compare(database)

    def _report_uncached(self, bypass_reason: str | None) -> None:
        reason = explain_reason(bypass_reason or NO_STORE)
        if reason is not None:
            level = WARNING if reason.name in (DISABLED, REPLICA) else ERROR
            self._add(level, "database", f"Nothing is cached ({reason.name}): {reason.text}.", f"{reason.remedy}.")

    # The database -----------------------------------------------------------------------

    def _query(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    def _clock(self) -> ClockOffset | None:
        sql = _CLOCKS.get(self._connection.vendor)
        if sql is None:
            return None
        with self._connection.cursor() as cursor:
            before = time.time()
            cursor.execute(sql)
            (server_time,) = cursor.fetchone()
            after = time.time()
        return ClockOffset(float(server_time) - (before + after) / 2, (after - before) / 2)

    # The store --------------------------------------------------------------------------

    def _examine_store(self, database: Database, config: Config) -> None:
        store = database.stamps.store.strict
        info = self._found["store"] = store.describe()
        try:
            self._found["operations"] = measure_operations(store, config.lease, self._rounds)
        except StoreFull as error:
            self._add(ERROR, "store", f"The store takes no new values: {error}.", _WHEN_FULL)
            self._findings += judge_store(info, config, 0.0)
            return
        self._add(OK, "store", "It answers.")
        self._findings += judge_store(info, config, self._found["operations"]["look_up"].median)
        self._found["proof"] = steps = prove(store, config.lease)
        failed = next((step for step in steps if not step.passed), None)
        if failed is None:
            self._add(OK, "proof", "A write invalidates what was stored before it.")
        else:
            hint = "Do not use this store, or find out what acts between it and this process, such as a proxy."
            self._add(ERROR, "proof", f"The store fails the proof that {failed.text}.", hint)

        for use in other_stores.uses_of_other_stores(database):
            minutes = max(0, round((time.time() - use.at) / 60))
            text = (
                f"Process {use.process} of user {use.user} on {use.host} used another store for this database,"
                f" {use.place}, {minutes} minutes ago: neither process sees the other's writes."
            )
            hint = (
                "All processes need the same STORE, CACHE and LOCATION; with the embedded store, also the same host"
                " and user. After a change of these settings, this warning ends within an hour."
            )
            self._add(WARNING, "store", text, hint)

    # Hits that were held against the database ---------------------------------------------

    def _report_verification(self, database: Database, report: Report | None) -> None:
        """Report what all processes have found."""
        if database.config.observes:
            self._add(NOTE, "verification", 'ENABLED is "observe": results are compared, and none is served.')
        if report is None or not report.total.compared:
            return
        total = report.total
        text = f"{describe_verification(total.compared, total.verified, total.violations)}."
        if total.violations:
            hint = (
                "Something writes to this database without ormcache: to which tables, manage.py ormcache advise says; "
                'the log of "ormcache" has the evidence.'
            )
            self._add(ERROR, "verification", text, hint)
        else:
            self._add(OK, "verification", text)

    # CDNs and reverse proxies -----------------------------------------------------------

    def _examine_outbox(self, database: Database) -> None:
        if not database.outbox.is_shared or database.config.on_outage != "proceed":
            return
        with self._connection.wrap_database_errors:
            relations = database.outbox.relations(self._connection.connection)
        if relations is None and apps.is_installed("ormcache"):
            self._add(WARNING, "outbox", "Its table is missing.", "Run migrate on this database.")
        elif relations:
            self._add(
                WARNING,
                "outbox",
                "Writes to these tables wait there for a process whose store answers: " + ", ".join(relations) + ".",
                "Bring the store back. Any process settles them then, if its OUTBOX_INTERVAL is not 0.",
            )

    def _examine_purgers(self, database: Database) -> None:
        for queue in database.purge_queues:
            name = queue.settings.name
            try:
                queue.purger.purge([NO_TAG])
            except Exception as error:  # noqa: BLE001 - purgers raise anything
                let_through(error)
                hint = "Pages live there until they expire. Check its keys in PURGE, and what it allows this host."
                self._add(ERROR, "purges", f"{name} cannot be purged: {error}.", hint)
            else:
                self._add(OK, "purges", f"{name} takes purges.")

    # Rows -------------------------------------------------------------------------------

    def _compare(self, database: Database) -> None:
        """Compare the rows of a small table, read through the cache and around it."""
        if database.server.replica:
            self._add(NOTE, "rows", "Not compared: the rows of a replica may be older than those in the cache.")
            return
        model = next(self._cached_models(), None)
        if model is None:
            hint = "To see why: manage.py ormcache explain app.Model."
            self._add(WARNING, "rows", "Not compared: no model was found whose rows are cached.", hint)
            return
        self._found["table"] = model._meta.db_table
        for _ in range(3):  # until no write comes between
            before = self._rows(model, around=True)
            cached, served = self._rows(model), self._rows(model)
            hits, after = self._hits, self._rows(model, around=True)
            if before == after:
                break
        else:
            self._add(NOTE, "rows", f"Not compared: {model._meta.db_table} is written all the time.")
            return
        if not before == cached == served:
            text = f"The rows of {model._meta.db_table} in the cache differ from those in the database."
            hint = (
                "Something writes to this database without ormcache. To invalidate all: manage.py ormcache invalidate."
            )
            self._add(ERROR, "rows", text, hint)
        elif not hits:
            hint = (
                "Another process may be writing to the table. If this persists: manage.py ormcache explain app.Model."
            )
            self._add(WARNING, "rows", f"The rows of {model._meta.db_table} did not come from the cache.", hint)
        else:
            self._add(OK, "rows", f"The rows of {model._meta.db_table} in the cache are those in the database.")

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
        """Yield models whose rows could be compared now, those of Django first, because their tables are small."""
        migration: Any = MigrationRecorder.Migration
        models: list[type[Model]] = [
            migration,
            *sorted(apps.get_models(), key=lambda model: model._meta.label != _SMALL_MODEL),
        ]
        for model in models:
            if not model._meta.managed or model._meta.proxy:
                continue
            explanation = explain(model._base_manager.all(), self._alias)
            if explanation.cached and explanation.bypass_reason is None:
                yield model
