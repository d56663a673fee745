"""Why a read finds nothing to serve."""

from __future__ import annotations

from typing import NamedTuple

from ormcache.cache.stamps import LookupResult, first_changed_slot
from ormcache.database.plans import Plan
from ormcache.reasons import Miss
from ormcache.stores.base import STAMP_LENGTH


class MissCause(NamedTuple):
    """Why there was nothing to serve: one of :class:`ormcache.reasons.Miss`, and the relation whose write did it."""

    name: str
    invalidated_by: str | None = None  # "*" for everything; None: it was not a write, or it is not known which


COLD, MARKED = MissCause(Miss.COLD), MissCause(Miss.MARKED)


def cause_of_outdated(
    plan: Plan,
    before: bytes | None,
    found: LookupResult,
    rows: tuple[bytes, ...] | None = None,
    *,
    expired: bool,
    filled: bool,
) -> MissCause:
    """Return why a stored result may not be served.

    ``before``: the vector that it was stored under, None if that is not known. ``found``: what the lookup brought; of a
    result that depended on rows, ``now`` has their stamps.
    ``rows``: the row slots that it depended on; None: on its relations. ``expired``: its timeout has passed.
    ``filled``: slots of its relations were empty.
    """
    if filled:
        return MissCause(Miss.LOST)
    if rows is not None:
        if expired:
            return MissCause(Miss.EXPIRED)
        return MissCause(Miss.INVALIDATED, _relation_of_row(plan, before, found))
    place = None if before is None or found.vector is None else first_changed_slot(before, found.vector)
    if place is not None:
        return MissCause(Miss.INVALIDATED, plan.dependencies[place])
    if expired:
        return MissCause(Miss.EXPIRED)
    return MissCause(Miss.INVALIDATED)  # by a change of the schema, or of the settings


def _relation_of_row(plan: Plan, before: bytes | None, found: LookupResult) -> str | None:
    """Return the relation whose write ended a result that depended on rows; None: it is not known which one."""
    now, shared = found.now, plan.shared_slots
    place = None if before is None or now is None else first_changed_slot(before, now)
    if place is not None and place < shared:
        return plan.dependencies[place]
    if len(plan.relations) == 1:
        return next(iter(plan.relations))
    if place is None or now is None or found.vector is None:
        return None
    # A write settles the slots of its rows and of their relations with one stamp.
    stamp = _stamp_at(place, now)
    written = [plan.dependencies[at] for at in range(shared, len(plan.slots)) if _stamp_at(at, found.vector) == stamp]
    return written[0] if len(written) == 1 else None


def _stamp_at(place: int, vector: bytes) -> bytes:
    return vector[place * STAMP_LENGTH : (place + 1) * STAMP_LENGTH]
