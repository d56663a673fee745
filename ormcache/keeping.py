"""What becomes of a result that was read: kept in this process, in the store, in both, or not at all.

Encoding a result and putting it into the store can cost more than a cheap query did, and many results are never asked
for again. So a cheap one is kept in this process alone at first. Whoever finds it here, and has found it unchanged,
puts it into the store for all others. (R6 of the protocol says under which stamps a result is kept; it may be
kept at any later time.)
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ormcache import reasons, rows
from ormcache.database import Database
from ormcache.local import Kept, weigh
from ormcache.rows import Unencodable
from ormcache.stamps import Found
from ormcache.stores.base import StoreUnavailable

#: What it takes to put a result into the store: a call, and each of its values. Seconds, measured
PER_RESULT, PER_VALUE = 50e-6, 0.15e-6
#: A query that took so many times as long is shared at once: it adds little, and saves others a lot
WORTH = 16


class Outcome(NamedTuple):
    """What became of a result: why it was not kept (None: it was), and how many bytes the store was given."""

    refused: str | None
    written: int = 0


def keep(
    database: Database, name: bytes, vector: bytes, result: Any, number: int, *, took: float, at_once: bool
) -> Outcome:
    """Keep a result of ``number`` rows, flattened, whose query took so many seconds.

    ``at_once``: others may be about to ask for it.
    """
    config = database.config
    if number > config.max_rows:
        return Outcome(reasons.TOO_MANY_ROWS)
    try:
        found = rows.content(result)
    except Unencodable:
        return Outcome(reasons.UNENCODABLE)
    weight = weigh(result)
    expires = None if config.timeout is None else time.time() + config.timeout
    here = found.immutable and database.local.fits(weight, vector)
    quick = took < WORTH * (PER_RESULT + PER_VALUE * found.cells)
    waits = here and quick and not at_once and config.share == "auto" and weight <= config.max_bytes
    outcome = Outcome(None)
    if not waits:
        outcome = _put(database, name, vector, result, config.timeout, plain=found.plain)
        if outcome.refused is not None:
            return outcome
    if here:
        database.local.put(name, result, vector, expires=expires, weight=weight, shared=not waits)
    return outcome


def share(database: Database, name: bytes, kept: Kept) -> Outcome:
    """A result that is only here was asked for again: put it into the store."""
    kept.shared = True  # or it is tried at every hit
    timeout = None if kept.expires is None else kept.expires - time.time()
    if timeout is not None and timeout <= 0:
        return Outcome(None)
    return _put(database, name, kept.vector, kept.rows, timeout, plain=False)


def copy(database: Database, name: bytes, found: Found, result: Any) -> None:
    """A result that came from the store is kept here too, if all of its values are immutable."""
    if not database.config.local_size or found.vector is None:
        return
    try:
        looked = rows.content(result)
    except Unencodable:
        return
    if looked.immutable:
        weight = weigh(result)
        database.local.put(name, result, found.vector, expires=found.expires, weight=weight, shared=True)


def _put(database: Database, name: bytes, vector: bytes, result: Any, timeout: float | None, *, plain: bool) -> Outcome:
    try:
        data = rows.encode(result, plain=plain)
    except Unencodable:
        return Outcome(reasons.UNENCODABLE)
    if 0 < database.config.compress <= len(data):
        data = rows.compress(data)
    if len(data) > database.config.max_bytes:
        return Outcome(reasons.TOO_LARGE)
    try:
        has_room = database.stamps.keep(name, vector, data, timeout)
    except StoreUnavailable:
        return Outcome(reasons.STORE_AWAY)
    return Outcome(None, len(data)) if has_room else Outcome(reasons.TOO_LARGE)
