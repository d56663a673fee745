"""Inputs that are no tables: a file, or what another service answers. Programs name them, and say when they change."""

from __future__ import annotations

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error

from ormcache import reasons
from ormcache.cache.tracking import current_tracker
from ormcache.catalog import input_relation
from ormcache.exceptions import StoreUnavailable
from ormcache.pages.readiness import connection_of, reason_against

#: Characters that a name has at most
LONGEST_NAME = 200


def depends_on(*names: str, using: str | None = None) -> None:
    """Let what is being computed depend on inputs that are no tables, until :func:`ormcache.changed` names one of them.

    Call it in a cached function, fragment or page, or in a block of :class:`ormcache.track`, and **before** the input
    is read: what changes between this call and the end is noticed. Anywhere else it does nothing. ``names``: texts of
    your own. ``using``: the database alias whose store has the names; None for the default one.

    Raises ValueError for what is no name.
    """
    relations = [input_named(name) for name in names]
    tracker = current_tracker()
    if tracker is None:
        return
    connection = connection_of(using)
    if connection is None:
        tracker.reject(reasons.UNCACHED_DATABASE, line="")
        return
    state = connection.ormcache
    if state.known() is None:
        try:
            connection.ensure_connection()
        except (Error, SynchronousOnlyOperation):
            pass  # there is no cache either
    database = state.known()
    if database is None:
        tracker.reject(state.bypass_reason or reasons.NO_STORE, line="")
        return
    reason = reason_against(connection, database)
    if reason is not None:
        tracker.reject(reason, line="")
        return
    slots = tuple(map(database.slots.name, relations))
    try:
        found = database.stamps.look_up(None, slots)
    except StoreUnavailable:
        tracker.reject(reasons.STORE_UNAVAILABLE, line="")
        return
    if found.vector is None:
        tracker.reject(reasons.STORE_FULL if found.denied else reasons.MARKED, line="")
    else:
        tracker.record(connection.alias, state.prefix(database), database.stamps.store, slots, found.vector)


def input_named(name: str) -> str:
    """Return the pseudo relation of an input. Raises ValueError for what is no name."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= LONGEST_NAME:
        raise ValueError(f"the name of an input is a text of at most {LONGEST_NAME} characters, and not {name!r}")
    return input_relation(name)
