"""One database alias at a glance: whether it is cached, whether its store answers, and its statistics."""

from __future__ import annotations

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from ormcache import reasons
from ormcache.database.database import Database
from ormcache.diagnostics.advice.advice import describe_remedy
from ormcache.diagnostics.aliases import connection_to
from ormcache.exceptions import StoreUnavailable
from ormcache.telemetry.deployment import collect_reports, own_reports
from ormcache.telemetry.report import Report

#: Why nothing of a database is cached → what to do
REMEDIES = {
    reasons.DISABLED: "ENABLED is False in ORMCACHE. Set it to True, in all processes at once.",
    reasons.NO_STORE: "The database may be on another host: set STORE to one that all hosts reach.",
    reasons.UNIDENTIFIED: 'The server could not be identified. The log of "ormcache" has the error, often a missing '
    "privilege.",
    reasons.REPLICA: "It is a replica: set PRIMARY to the alias of its primary.",
}


@dataclass(frozen=True, slots=True)
class Overview:
    using: str
    bypass_reason: str | None = None  # why nothing is cached: one of ormcache.reasons, or the error of the database
    remedy: str = ""
    store: str | None = None  # its kind
    store_error: str | None = None  # None: the store answers
    is_local: bool = False  # the report has the statistics of this process alone
    report: Report | None = None  # None: nothing was counted yet
    database: Database | None = None

    @property
    def is_published(self) -> bool:
        """Whether processes publish their statistics to each other."""
        return self.database is not None and bool(self.database.config.statistics_interval)


def overview_of(using: str) -> Overview:
    """Collect the statistics of all processes from the store, and connect to the database for its identity.

    Raises nothing where either does not answer: the overview says so.
    """
    connection = connection_to(using)
    try:
        connection.ensure_connection()
    except (Error, ImproperlyConfigured) as error:
        return Overview(using, str(error), "The database does not answer, or its settings are wrong.")
    database = connection.ormcache.known()
    if database is None:
        bypass_reason = connection.ormcache.bypass_reason or reasons.UNIDENTIFIED
        return Overview(using, bypass_reason, REMEDIES.get(bypass_reason) or describe_remedy(bypass_reason))
    kind = database.stamps.store.kind
    try:
        reports = collect_reports(database)
    except StoreUnavailable as error:
        cause = str(error.__cause__ or error)
        report = own_reports(database).get(using)
        return Overview(using, store=kind, store_error=cause, is_local=True, report=report, database=database)
    report = reports.get(using)
    is_local = not database.config.statistics_interval
    return Overview(using, store=kind, is_local=is_local, report=report, database=database)
