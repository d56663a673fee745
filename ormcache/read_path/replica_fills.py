"""Whether what a replica answers may be stored: it must have replayed all that the stamps stand for.

The position of the replica is read before its query, over the same connection: the query then sees that much, or more.
``docs/how-it-works.md``, "Replicas", has the argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ormcache import reasons
from ormcache.cache.stamps import LookupResult
from ormcache.catalog.wal_positions import Position
from ormcache.database.database import Database
from ormcache.database.plans import Plan
from ormcache.database.replica_positions import ReplicaPositions
from ormcache.session.primary import position_behind
from ormcache.stores.base import STAMP_LENGTH

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class ReplicaFill(NamedTuple):
    """What may be stored of a query that a replica is about to answer."""

    #: the stamps under which the result may be stored
    found: LookupResult
    #: why it may not be stored; None: it may
    rejected: str | None
    #: whether to read the catalog anew: the one that the plan was made from may be older than these stamps
    has_old_catalog: bool = False
    #: the driver's connection that the query has to use
    driver_connection: Any = None


def examine(connection: CachedConnection, database: Database, plan: Plan, found: LookupResult) -> ReplicaFill:
    """Find out what may be stored of a query that this connection is about to run. ``found``: the stamps of now."""
    positions = database.replica_positions
    replayed = None if positions is None else positions.read_replayed(connection)
    if positions is None or replayed is None:
        return ReplicaFill(found, reasons.ON_REPLICA)
    vectors = [vector for vector in (found.vector, found.row_vector) if vector is not None]
    covered = _covered(positions, replayed, vectors) or _covered_after_asking(
        positions, replayed, vectors, database, connection
    )
    if not covered:
        return ReplicaFill(found, reasons.REPLICA_BEHIND)
    # The plan names the tables by the catalog that a replica had: it must have been as new as the schema's stamps.
    shared = covered[0][: plan.shared_slots * STAMP_LENGTH]
    if not _has_replayed(None if plan.part is None else plan.part.replayed, positions.bound(shared)):
        return ReplicaFill(found, reasons.REPLICA_BEHIND, has_old_catalog=positions.may_read_catalog())
    restricted = found._replace(
        vector=found.vector if found.vector in covered else None,
        row_vector=found.row_vector if found.row_vector in covered else None,
    )
    return ReplicaFill(restricted, None, driver_connection=connection.connection)


def _covered(positions: ReplicaPositions, replayed: Position, vectors: list[bytes]) -> list[bytes]:
    """Return the vectors whose bounds this process knows, and a replica at this position has replayed."""
    return [vector for vector in vectors if _has_replayed(replayed, positions.bound(vector))]


def _covered_after_asking(
    positions: ReplicaPositions,
    replayed: Position,
    vectors: list[bytes],
    database: Database,
    connection: CachedConnection,
) -> list[bytes]:
    """Return the same after asking the store, and then the primary, for bounds that are not known."""
    unknown = [vector for vector in vectors if positions.bound(vector) is None]
    if not unknown:
        return []
    unknown = [vector for vector in unknown if positions.recall(vector) is None]
    covered = _covered(positions, replayed, vectors)
    if covered:
        return covered
    if not unknown or not positions.may_ask_primary or database.config.primary is None:
        return []
    answer = position_behind(database.config.primary, database.identity)
    if answer.position is not None:
        positions.record_primary(answer.position, unknown)
        return _covered(positions, replayed, vectors)
    if answer.has_failed:
        positions.record_silence()
    return []


def _has_replayed(replayed: Position | None, bound: Position | None) -> bool:
    return replayed is not None and bound is not None and replayed.reaches(bound)
