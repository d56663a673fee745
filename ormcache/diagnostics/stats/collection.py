"""Statistics of databases, collected from the store under every name that processes know a database by.

Another project may use the same database and store, and call the database something else: what its processes have
counted concerns this project too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ormcache import reasons
from ormcache.database.database import Database
from ormcache.diagnostics.advice.advice import AdviceContext, advice_context
from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.format.sql import StatementMasker
from ormcache.exceptions import StoreUnavailable
from ormcache.telemetry.deployment import collect_reports
from ormcache.telemetry.report import Report


@dataclass(frozen=True, slots=True)
class CollectedStatistics:
    """The statistics behind one database alias, or why there are none."""

    using: str
    database: Database | None = None  # None: nothing of it is cached
    bypass_reason: str | None = None  # why nothing is cached: one of ormcache.reasons
    store_error: str | None = None  # None: the store answers
    reports: Mapping[str, Report] = field(default_factory=dict)  # by the alias that the processes know it by
    outbox_rows: int | None = None  # that wait in the outbox; None: there is no outbox


@dataclass(frozen=True, slots=True)
class DatabaseReport:
    """The statistics of a database under one of its names."""

    using: str  # the name
    own_alias: str  # the alias of this project that leads to the database
    database: Database
    report: Report | None  # None: nothing was counted
    outbox_rows: int | None = None  # that wait in the outbox of the database; None: there is no outbox

    @property
    def is_own_alias(self) -> bool:
        """Whether the name is this project's own. The settings behind another one are not known."""
        return self.using == self.own_alias

    @property
    def is_published(self) -> bool:
        """Whether the processes of this project publish their statistics."""
        return bool(self.database.config.statistics_interval)

    @property
    def advice_context(self) -> AdviceContext:
        context = advice_context(self.database)
        if self.is_own_alias:
            return context
        return replace(AdviceContext(), uncacheable_functions=context.uncacheable_functions)

    @property
    def masker(self) -> StatementMasker:
        return StatementMasker(self.database.vendor, shows_values=self.database.config.show_parameters)


def collect(using: str) -> CollectedStatistics:
    """Collect the statistics of all processes that use the database behind an alias.

    Connects to the database. Raises NotCached, ImproperlyConfigured, and Django's errors of a database that does not
    answer.
    """
    connection = connection_to(using)
    connection.ensure_connection()
    database = connection.ormcache.known()
    if database is None:
        return CollectedStatistics(using, bypass_reason=connection.ormcache.bypass_reason or reasons.NO_STORE)
    try:
        reports = collect_reports(database)
    except StoreUnavailable as error:
        return CollectedStatistics(using, database, store_error=str(error.__cause__ or error))
    with connection.wrap_database_errors:
        rows = database.outbox.count_rows(connection.connection)
    return CollectedStatistics(using, database, reports=reports, outbox_rows=rows)


def list_reports(collected: Sequence[CollectedStatistics]) -> list[DatabaseReport]:
    """List the reports of all databases: first under this project's aliases, then under the names of others."""
    found: dict[tuple[str, str], DatabaseReport] = {}  # by identity and name
    answered = [(one, one.database) for one in collected if one.database is not None and one.store_error is None]
    for one, database in answered:
        report = one.reports.get(one.using)
        found[database.identity, one.using] = DatabaseReport(one.using, one.using, database, report, one.outbox_rows)
    for one, database in answered:
        for name, report in one.reports.items():
            found.setdefault(
                (database.identity, name), DatabaseReport(name, one.using, database, report, one.outbox_rows)
            )
    return list(found.values())
