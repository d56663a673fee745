"""Readings of this process, and of all processes, for the table of metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from ormcache.catalog import SCHEMA
from ormcache.database import Database
from ormcache.figures import Tally, all_figures
from ormcache.insight.metrics import Reading
from ormcache.publishing import heard, publisher
from ormcache.stores.base import StoreUnavailable

#: Relations that have a name of their own in metrics, and what the others are called together
MOST_RELATIONS, OTHERS = 50, "other"
#: A process that has told nothing for so many seconds is left out. Counters that stand still tell nothing, and those
#: of processes that are gone would pile up
QUIET = 3600.0


def bounded(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """The first relations by name, all others together.

    The first that came up in their process, not those with the most: else a relation that overtakes another one would
    take its count along, and what is left for the others would fall.
    """
    found: dict[str, int] = {}
    for relation, count in counts.items():
        if relation != SCHEMA:
            name = relation if relation in found or len(found) < most else OTHERS
            found[name] = found.get(name, 0) + count
    return found


def readings_here(relations: int = MOST_RELATIONS) -> list[Reading]:
    """Of every alias that this process has used. Asks neither the store nor a database."""
    databases = {figures.alias: database for figures, database in publisher.homes()}
    found = []
    for figures in all_figures():
        database = databases.get(figures.alias)
        store = None if database is None else database.stamps.store.strict
        written = {name: one.writes for name, one in figures.written().items()}
        found.append(
            Reading(
                figures.alias,
                figures.process,
                figures.total(),
                figures.writing.writes,
                figures.writing.untold,
                figures.writing.seconds,
                figures.saved_seconds(),
                figures.outages(0 if store is None else store.outages_met),
                bounded(figures.retired(), relations),
                bounded(written, relations),
                None if store is None else store.answers,
                None if database is None else len(database.pending.relations),
            )
        )
    return found


def readings_told(relations: int = MOST_RELATIONS) -> list[Reading]:
    """Of every process that has told its figures lately, as it told them: this one too, so that whichever process is
    asked says the same, and no counter falls because another one answers.

    Connects to databases that this process has not met. What cannot be asked is left out.
    """
    publisher.publish()
    now = time.time()
    found = []
    for database in _databases():
        try:
            told = heard(database)
        except StoreUnavailable:
            continue
        found += [_reading(one, relations) for one in told if now - one["process"]["at"] < QUIET]
    return found


def _databases() -> list[Database]:
    """The databases behind all aliases, each once."""
    met = {figures.alias: database for figures, database in publisher.homes()}
    found: dict[str, Database] = {}
    for alias in connections:
        database = met.get(alias) or _met(connections[alias])
        if database is not None:
            found[database.identity] = database
    return list(found.values())


def _met(connection: Any) -> Database | None:
    """The database behind a connection, which is left as it was."""
    state = getattr(connection, "ormcache", None)
    if state is None or state.obstacle is not None:
        return None
    try:
        known: Database | None = state.known()
        if known is None and connection.connection is None:
            connection.ensure_connection()
            known = state.known()
            connection.close()
    except (Error, ImproperlyConfigured):
        return None
    return known


def _reading(told: Mapping[str, Any], relations: int) -> Reading:
    """``told``: see :mod:`ormcache.publishing`; maybe by another version."""
    process = told["process"]
    writes, untold, seconds = told["writing"]
    return Reading(
        told["alias"],
        process["id"],
        Tally.from_dict(told["total"]),
        writes,
        untold,
        seconds,
        told.get("saved", 0.0),
        told.get("outages_met", 0),
        bounded(told.get("retired", {}), relations),
        bounded(told.get("wrote", {}), relations),
        host=process["host"],
        pid=process["pid"],
        command=process["command"],
    )
