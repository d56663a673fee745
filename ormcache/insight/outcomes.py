"""What became of a read, in words."""

from __future__ import annotations

from ormcache.catalog import EPOCH
from ormcache.figures import Miss
from ormcache.recording import BYPASS, HIT, Read

#: Cause of a miss → why there was nothing to serve
CAUSES = {
    Miss.COLD: "it was not there",
    Miss.RETIRED: "a write had retired it",
    Miss.MARKED: "a writer was committing",
    Miss.EXPIRED: "its TIMEOUT was over",
    Miss.LOST: "the store had lost the stamps of its tables",
}


def outcome_told(read: Read) -> str:
    """``"miss: a write had retired it (to shop_order)"``."""
    if read.outcome == HIT:
        return "hit"
    if read.outcome == BYPASS:
        return f"bypassed: {read.reason}"
    refused = "" if read.refused is None else f"; not kept: {read.refused}"
    return f"miss: {cause_of(read)}{refused}"


def cause_of(miss: Read) -> str:
    """Why there was nothing to serve, with the relation that has retired what was there."""
    cause = CAUSES.get(miss.cause or "", miss.cause or "")
    if miss.retired_by is None:
        return cause
    return f"{cause} (to any table)" if miss.retired_by == EPOCH else f"{cause} (to {miss.retired_by})"
