"""The figures of databases that somebody asks about, under every name that processes know them by.

Another project may use the same database and store, and call the database something else: what it has counted concerns
this one too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ormcache import reasons
from ormcache.database import Database
from ormcache.figures.report import Report
from ormcache.insight.advice import Facts, facts_of
from ormcache.insight.aliases import connection_to
from ormcache.insight.statements import Statements
from ormcache.publishing import gathered
from ormcache.stores.base import StoreUnavailable


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for the figures of one database alias."""

    using: str
    database: Database | None = None  # None: nothing of it is cached
    obstacle: str | None = None  # why: one of ormcache.reasons
    away: str | None = None  # what went wrong with the store; None: it answers
    reports: Mapping[str, Report] = field(default_factory=dict)  # by the alias that the processes know it by


@dataclass(frozen=True, slots=True)
class Known:
    """A database under one name."""

    using: str  # the name
    asked: str  # the alias of this project that leads to it
    database: Database
    report: Report | None  # None: nothing was counted

    @property
    def is_own(self) -> bool:
        """Is it this project's name for it? Else nothing is known of the settings behind it."""
        return self.using == self.asked

    @property
    def is_told(self) -> bool:
        """Do the processes of this project tell their figures?"""
        return bool(self.database.config.figures_interval)

    @property
    def facts(self) -> Facts:
        facts = facts_of(self.database)
        return facts if self.is_own else replace(Facts(), functions=facts.functions)

    @property
    def statements(self) -> Statements:
        return Statements(self.database.vendor, whole=self.database.config.show_parameters)


def ask(using: str) -> Asked:
    """The figures of all processes that use the database behind this alias.

    Connects to the database. Raises NotCached, Django's errors of a database that does not answer,
    ImproperlyConfigured.
    """
    connection: Any = connection_to(using)
    connection.ensure_connection()
    database: Database | None = connection.ormcache.known()
    if database is None:
        return Asked(using, obstacle=connection.ormcache.obstacle or reasons.NO_STORE)
    try:
        reports = gathered(database)
    except StoreUnavailable as error:
        return Asked(using, database, away=str(error.__cause__ or error))
    return Asked(using, database, reports=reports)


def known_of(asked: Sequence[Asked]) -> list[Known]:
    """The databases whose figures are known: first under each alias that was asked for, then under the other names."""
    found: dict[tuple[str, str], Known] = {}  # by identity and name
    answered = [(one, one.database) for one in asked if one.database is not None and one.away is None]
    for one, database in answered:
        found[database.identity, one.using] = Known(one.using, one.using, database, one.reports.get(one.using))
    for one, database in answered:
        for name, report in one.reports.items():
            found.setdefault((database.identity, name), Known(name, one.using, database, report))
    return list(found.values())
