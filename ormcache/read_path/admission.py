"""Whether a result is stored, and where: in this process's memory, in the store, or in both.

Serializing a result and putting it into the store can cost more than a cheap query did, and many results are never
asked for again. So the result of a cheap query is at first stored in this process alone. The read that finds it here
unchanged shares it: it puts it into the store, for all other processes. A result is always stored under the stamps
that were read before its query ran (:mod:`ormcache.cache.stamps`); it may be stored at any later time.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from ormcache import reasons
from ormcache.cache import serializer
from ormcache.cache.local_cache import LocalEntry, weigh
from ormcache.cache.serializer import Unserializable
from ormcache.cache.stamps import LookupResult
from ormcache.database.database import Database
from ormcache.exceptions import StoreFull, StoreUnavailable

#: Seconds that it takes to put a result into the store: for the call, and for each value. Measured
SECONDS_PER_RESULT, SECONDS_PER_VALUE = 50e-6, 0.15e-6
#: The result of a query that took so many times as long is shared at once: that adds little, and saves others a lot
SHARED_AT_ONCE = 16


class Admission(NamedTuple):
    """What became of a result."""

    rejected: str | None  # why it was not stored, see ormcache.reasons; None: it was
    bytes_written: int = 0  # to the store


ADMITTED = Admission(None)


class Dependence(NamedTuple):
    """The stamps that a result is stored under: those of its relations, or of row slots in place of theirs."""

    vector: bytes
    rows: tuple[bytes, ...] | None = None


def admit(
    database: Database,
    entry: bytes,
    dependence: Dependence,
    result: Any,
    rows: int,
    *,
    query_seconds: float,
    at_once: bool,
) -> Admission:
    """Store the result of a query that took so many seconds.

    ``result``: a flat list of rows, or one row; of ``rows`` rows. ``at_once``: put it into the store now, because other
    processes may be about to ask for it.
    """
    config = database.config
    if rows > config.max_rows:
        return Admission(reasons.TOO_MANY_ROWS)
    try:
        found = serializer.examine(result)
    except Unserializable:
        return Admission(reasons.UNSERIALIZABLE)
    weight = weigh(result)
    expires = None if config.timeout is None else time.time() + config.timeout
    fits_locally = found.immutable and database.local.fits(weight, dependence.vector)
    is_cheap = query_seconds < SHARED_AT_ONCE * (SECONDS_PER_RESULT + SECONDS_PER_VALUE * found.cells)
    shares_later = fits_locally and is_cheap and not at_once and config.share == "auto" and weight <= config.max_bytes
    admission = ADMITTED
    if not shares_later:
        admission = _put(database, entry, dependence, result, config.timeout, uniform=found.uniform)
        if admission.rejected is not None:
            return admission
    if fits_locally:
        vector, slots = dependence
        database.local.put(entry, result, vector, expires=expires, weight=weight, shared=not shares_later, rows=slots)
    return admission


def share(database: Database, entry: bytes, local_entry: LocalEntry) -> Admission:
    """Put a result that was found in this process's memory, and is there only, into the store."""
    local_entry.record_shared()  # before it is tried, or it would be tried at every hit
    timeout = None if local_entry.expires is None else local_entry.expires - time.time()
    if timeout is not None and timeout <= 0:
        return ADMITTED
    dependence = Dependence(local_entry.vector, local_entry.rows)
    return _put(database, entry, dependence, local_entry.result, timeout)


def admit_locally(database: Database, entry: bytes, found: LookupResult, result: Any) -> None:
    """Store a result that came from the store in this process's memory too, if all of its values are immutable."""
    if not database.config.local_size or found.before is None:
        return
    try:
        content = serializer.examine(result)
    except Unserializable:
        return
    if content.immutable:
        weight = weigh(result)
        database.local.put(
            entry, result, found.before, expires=found.expires, weight=weight, shared=True, rows=found.rows
        )


def _put(
    database: Database,
    entry: bytes,
    dependence: Dependence,
    result: Any,
    timeout: float | None,
    *,
    uniform: bool | None = None,
) -> Admission:
    """Put a result into the store, compressed if that pays; ``timeout`` in seconds."""
    try:
        data = serializer.encode(result, uniform=uniform)
    except Unserializable:
        return Admission(reasons.UNSERIALIZABLE)
    if 0 < database.config.compress <= len(data):
        data = serializer.compress(data)
    if len(data) > database.config.max_bytes:
        return Admission(reasons.TOO_LARGE)
    try:
        has_room = database.stamps.store_entry(entry, dependence.vector, data, timeout, dependence.rows or ())
    except StoreFull:
        return Admission(reasons.STORE_FULL)
    except StoreUnavailable:
        return Admission(reasons.STORE_UNAVAILABLE)
    return Admission(None, len(data)) if has_room else Admission(reasons.TOO_LARGE)
