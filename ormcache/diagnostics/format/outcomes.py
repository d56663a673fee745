"""What became of a read, in words."""

from __future__ import annotations

from ormcache.catalog import EPOCH
from ormcache.telemetry import Miss
from ormcache.telemetry.listener import BYPASS, HIT
from ormcache.telemetry.recorder import RecordedRead

#: Cause of a miss → why there was nothing to serve
CAUSES = {
    Miss.COLD: "it was not there",
    Miss.INVALIDATED: "a write had invalidated it",
    Miss.MARKED: "a writer was committing",
    Miss.EXPIRED: "its TIMEOUT was over",
    Miss.LOST: "the store had lost the stamps of its tables",
}


def describe_outcome(read: RecordedRead) -> str:
    """Return what became of a read: ``"miss: a write had invalidated it (to shop_order)"``."""
    if read.outcome == HIT:
        return "hit"
    if read.outcome == BYPASS:
        return f"bypassed: {read.reason}"
    rejected = "" if read.rejected is None else f"; not stored: {read.rejected}"
    return f"miss: {describe_miss(read)}{rejected}"


def describe_miss(miss: RecordedRead) -> str:
    """Return why there was nothing to serve, with the relation whose write had invalidated the entry."""
    cause = CAUSES.get(miss.cause or "", miss.cause or "")
    if miss.invalidated_by is None:
        return cause
    return f"{cause} (to any table)" if miss.invalidated_by == EPOCH else f"{cause} (to {miss.invalidated_by})"
