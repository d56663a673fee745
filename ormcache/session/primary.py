"""Asks which database lies behind another alias: behind that of a replica's primary."""

from __future__ import annotations

import time
from typing import NamedTuple

from django.db import Error

from ormcache.catalog import wal_positions
from ormcache.catalog.wal_positions import Position
from ormcache.session.connections import cached_connection
from ormcache.utils import drivers
from ormcache.utils.interruptions import UNEXPECTED, let_through


def identity_behind(alias: str) -> str | None:
    """Return the identity of the database behind an alias, which is connected to if this process has never been.

    None if it is not cached, or cannot be asked.
    """
    primary = cached_connection(alias)
    if primary is None:
        return None
    state = primary.ormcache
    database = state.known()
    if database is None:
        try:
            primary.ensure_connection()
        except Error:
            return None
        database = state.known()
    elif primary.connection is not None and time.monotonic() >= state.confirmation.due and not state.confirm():
        return None
    return None if database is None else database.identity


class PrimaryAnswer(NamedTuple):
    """What became of asking a primary for its position."""

    #: None: it was not given
    position: Position | None
    #: whether asking again soon would be in vain, for any thread
    has_failed: bool = False


def position_behind(alias: str, identity: str) -> PrimaryAnswer:
    """Ask the primary behind an alias, to which this thread connects if need be, for its position of now.

    ``identity``: of its database; another one is not asked. Nor is a connection on which a transaction is open: the
    question could be the statement by which that takes its snapshot.
    """
    primary = cached_connection(alias)
    if primary is None:
        return PrimaryAnswer(None, has_failed=True)
    try:
        primary.ensure_connection()
        database = primary.ormcache.known()
        if database is None or database.identity != identity or database.server.replica:
            return PrimaryAnswer(None, has_failed=True)
        driver_connection = primary.connection
        if drivers.in_pipeline(driver_connection) or not drivers.is_idle(driver_connection):
            return PrimaryAnswer(None)
        position = wal_positions.written(driver_connection)
    except (Error, primary.Database.Error, *UNEXPECTED) as error:
        let_through(error)
        return PrimaryAnswer(None, has_failed=True)
    return PrimaryAnswer(position, has_failed=position is None)
