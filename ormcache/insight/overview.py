"""One database alias at a glance: is it cached, does its store answer, and what has it counted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from ormcache import reasons
from ormcache.database import Database
from ormcache.figures.report import Report
from ormcache.insight.advice import remedy_of
from ormcache.publishing import gathered, own_figures
from ormcache.stores.base import StoreUnavailable

#: Why nothing of a database is cached → what to do
WHAT_TO_DO = {
    reasons.DISABLED: "ENABLED is False in ORMCACHE. Set it to True, in all processes at once.",
    reasons.NO_STORE: "The database is not certain to be on this host: name a STORE that all hosts reach.",
    reasons.UNIDENTIFIED: 'The server did not tell who it is. The log of "ormcache" has the error, often a missing '
    "right.",
    reasons.REPLICA: "It is a replica: name the alias of its primary in PRIMARY.",
}


@dataclass(frozen=True, slots=True)
class Overview:
    using: str
    obstacle: str | None = None  # why nothing is cached: one of ormcache.reasons, or what went wrong
    remedy: str = ""
    store: str | None = None  # its kind
    away: str | None = None  # what went wrong with the store; None: it answers
    alone: bool = False  # the report has this process's figures only
    report: Report | None = None  # None: nothing was counted yet
    database: Database | None = None

    @property
    def is_told(self) -> bool:
        """Do processes tell each other's figures?"""
        return self.database is not None and bool(self.database.config.figures_interval)


def overview_of(using: str) -> Overview:
    """Asks the database who it is, if this process does not know, and the store for the figures of all processes."""
    connection: Any = connections[using]
    try:
        connection.ensure_connection()
    except (Error, ImproperlyConfigured) as error:
        return Overview(using, str(error), "The database does not answer, or its settings are wrong.")
    database: Database | None = connection.ormcache.known()
    if database is None:
        obstacle = connection.ormcache.obstacle or reasons.UNIDENTIFIED
        return Overview(using, obstacle, WHAT_TO_DO.get(obstacle) or remedy_of(obstacle))
    kind = database.stamps.store.kind
    try:
        reports = gathered(database)
    except StoreUnavailable as error:
        cause = str(error.__cause__ or error)
        report = own_figures(database).get(using)
        return Overview(using, store=kind, away=cause, alone=True, report=report, database=database)
    report = reports.get(using)
    alone = not database.config.figures_interval
    return Overview(using, store=kind, alone=alone, report=report, database=database)
