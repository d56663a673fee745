"""Counts the events of a connection, publishes the counts, and sends the signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ormcache import signals
from ormcache.background.worker import worker
from ormcache.cache.tracking import Rejection
from ormcache.catalog import ALL_ROWS, SCHEMA, is_of_schema, split_database
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.telemetry.counters import Counters, counters_of


class TelemetryObserver:
    """The :class:`~ormcache.session.observer.Observer` of one connection."""

    def __init__(self, alias: str, sender: type) -> None:
        """``sender``: of the signals, the connection's class."""
        self._alias = alias
        self._sender = sender
        self.counters = counters_of(alias)

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Leave the events of a block out of the statistics: those of diagnostics are no traffic of the project."""
        counted, self.counters = self.counters, Counters(self._alias)
        try:
            yield
        finally:
            self.counters = counted

    def connected(self, database: Database) -> None:
        worker.register(self._alias, database)

    # Reads ------------------------------------------------------------------------------

    def hit(
        self,
        plan: Plan,
        sql: str,
        params: Any,
        *,
        entry: bytes,
        shape: tuple[Any, ...],
        seconds: float,
        bytes_read: int,
        waited: bool,
        by_row: bool,
        served: bool,
    ) -> None:
        counters = self.counters
        query = counters.query(plan, sql)
        counters.record_hit(query, seconds, bytes_read=bytes_read, waited=waited, by_row=by_row)
        if query.is_sampled:
            counters.record_sample(query, entry, sql, params, shape)
        if signals.hit.receivers:
            mean = query.tally.mean_query_seconds
            signals.notify(
                signals.hit,
                self._sender,
                using=self._alias,
                relations=plan.relations,
                sql=sql,
                params=params,
                took=seconds,
                saved=None if mean is None else mean - seconds,
                by_row=by_row,
                served=served,
            )

    def comparison(
        self, plan: Plan, sql: str, *, query_seconds: float, observed: bool, verified: bool, violation: bool
    ) -> None:
        query = self.counters.query(plan, sql)
        self.counters.record_comparison(query, query_seconds, observed=observed, verified=verified, violation=violation)

    def miss(
        self,
        plan: Plan,
        sql: str,
        params: Any,
        *,
        cause: str,
        invalidated_by: str | None,
        seconds: float,
        query_seconds: float,
        rejected: str | None,
        bytes_written: int,
        waited: bool,
        by_row: bool,
    ) -> None:
        if worker.is_paused:
            worker.resume()
        self.counters.record_miss(
            self.counters.query(plan, sql),
            cause,
            invalidated_by,
            seconds,
            query_seconds,
            rejected=rejected,
            bytes_written=bytes_written,
            waited=waited,
            by_row=by_row,
        )
        if signals.missed.receivers:
            signals.notify(
                signals.missed,
                self._sender,
                using=self._alias,
                relations=plan.relations,
                sql=sql,
                params=params,
                took=seconds,
                query=query_seconds,
                cause=cause,
                invalidated_by=invalidated_by,
                rejected=rejected,
                by_row=by_row,
            )

    def bypass(self, reason: str, plan: Plan | None, sql: str | None, params: Any, *, query_seconds: float) -> None:
        counters = self.counters
        query = None if plan is None or sql is None else counters.query(plan, sql)
        counters.record_bypass(reason, query)
        if query is not None:
            counters.record_bypass_time(query, query_seconds)
        if signals.bypassed.receivers:
            signals.notify(
                signals.bypassed,
                self._sender,
                using=self._alias,
                reason=reason,
                relations=frozenset() if plan is None else plan.relations,
                sql=sql,
                params=params,
                query=query_seconds,
            )

    def wait(self, plan: Plan, sql: str) -> None:
        self.counters.record_wait(self.counters.query(plan, sql))

    def share(self, plan: Plan, sql: str, *, bytes_written: int, rejected: str | None) -> None:
        self.counters.record_share(self.counters.query(plan, sql), bytes_written, rejected)

    def current_time(self, plan: Plan, sql: str) -> None:
        self.counters.query(plan, sql).note_current_time()

    def damaged_entry(self, plan: Plan, sql: str) -> None:
        self.counters.record_damaged_entry(self.counters.query(plan, sql))

    # Functions, fragments and pages -----------------------------------------------------

    def derived_hit(self, kind: str, label: str, *, seconds: float, outdated: bool) -> None:
        counters = self.counters
        counters.record_derived_hit(kind, label, seconds, outdated=outdated)
        if signals.derived_hit.receivers:
            mean = counters.mean_computing_seconds(kind, label)
            signals.notify(
                signals.derived_hit,
                self._sender,
                using=self._alias,
                kind=kind,
                label=label,
                took=seconds,
                saved=None if mean is None else mean - seconds,
                outdated=outdated,
            )

    def derived_miss(
        self,
        kind: str,
        label: str,
        *,
        seconds: float,
        cause: str | None,
        invalidated_by: str | None,
        rejection: Rejection | None,
    ) -> None:
        if worker.is_paused:
            worker.resume()
        self.counters.record_derived_miss(
            kind, label, seconds, cause=cause, invalidated_by=invalidated_by, rejection=rejection
        )
        if signals.derived_missed.receivers:
            why = Rejection("") if rejection is None else rejection
            signals.notify(
                signals.derived_missed,
                self._sender,
                using=self._alias,
                kind=kind,
                label=label,
                took=seconds,
                cause=cause,
                invalidated_by=invalidated_by,
                rejected=why.reason or None,
                relations=why.relations,
                sql=why.sql,
                caller=why.caller,
                subject=why.subject,
            )

    # Writes -----------------------------------------------------------------------------

    def invalidation(
        self,
        relations: frozenset[str],
        causes: Mapping[frozenset[str], str],
        *,
        seconds: float,
        marked: bool,
        published: bool,
    ) -> None:
        if worker.is_paused:
            worker.resume()
        self.counters.record_write(relations, causes, seconds, marked=marked, published=published)
        if signals.invalidated.receivers:
            own = frozenset(name for name in relations if not is_of_schema(name) and split_database(name)[0] is None)
            if SCHEMA in own:
                own = own - {SCHEMA} | ALL_ROWS  # receivers need not know which tables are in which schema
            signals.notify(
                signals.invalidated,
                self._sender,
                using=self._alias,
                relations=own,
                causes=tuple(causes.values()),
                took=seconds,
            )

    def excluded_write(self, relations: frozenset[str], sql: str) -> None:
        self.counters.record_excluded_write(relations, sql)
