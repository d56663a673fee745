"""Describes what a recorder recorded of one request, as plain values for the toolbar's store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from ormcache.catalog import EPOCH
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.format.outcomes import CAUSES
from ormcache.telemetry import counters_of
from ormcache.telemetry.listener import BYPASS, HIT, MISS
from ormcache.telemetry.recorder import RecordedInvalidation, RecordedRead, RecordedUse, Recorder

#: The statistics of one request, or of one event of it
Stats = dict[str, Any]

#: Characters of the parameters of a statement, and of a statement that wrote
LONGEST_PARAMS, LONGEST_CAUSE = 2000, 2000


def stats_of(recorder: Recorder) -> Stats:
    """Return everything that the panel shows. All times are in milliseconds."""
    reads = recorder.reads
    similar = Counter(map(_statement_of, reads))
    same = Counter(map(_execution_of, reads))
    events = []
    for number, event in enumerate(recorder.events, 1):
        if isinstance(event, RecordedInvalidation):
            events.append(_describe_write(number, event))
        else:
            described = _describe_read(number, event, recorder.events[: number - 1])
            events.append(described | {"similar": similar[_statement_of(event)], "same": same[_execution_of(event)]})
    return {
        "events": events,
        "databases": [
            {"alias": alias, **_sums([read for read in reads if read.using == alias])}
            for alias in sorted({event.using for event in recorder.events})
        ],
        "uses": [_describe_use(use) for use in recorder.uses],
        "writes": len(recorder.invalidations),
        **_sums(reads),
    }


def _sums(reads: list[RecordedRead]) -> Stats:
    saved = [read.saved for read in reads if read.saved is not None]
    return {
        "hits": sum(read.outcome == HIT for read in reads),
        "row_hits": sum(read.outcome == HIT and read.by_row for read in reads),
        "misses": sum(read.outcome == MISS for read in reads),
        "bypassed": sum(read.outcome == BYPASS for read in reads),
        "cache_ms": _ms(sum(read.took or 0.0 for read in reads)),
        "query_ms": _ms(sum(read.query or 0.0 for read in reads)),
        "saved_ms": _ms(sum(saved)) if saved else None,
        "similar": _repeated(map(_statement_of, reads)),
        "same": _repeated(map(_execution_of, reads)),
    }


def _repeated(keys: Any) -> int:
    """Return how many of these occur more than once."""
    return sum(count for count in Counter(keys).values() if count > 1)


def _statement_of(read: RecordedRead) -> Hashable:
    return read.using, read.sql


def _execution_of(read: RecordedRead) -> Hashable:
    return read.using, read.sql, repr(read.params)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)


def _describe_read(number: int, read: RecordedRead, before: list[RecordedRead | RecordedInvalidation]) -> Stats:
    described = {
        "kind": read.outcome,
        "number": number,
        "using": read.using,
        "sql": read.sql,
        "params": _shortened(repr(read.params), LONGEST_PARAMS) if read.params else "",
        "relations": sorted(read.relations),
        "took_ms": _ms(read.took),
        "query_ms": _ms(read.query),
        "saved_ms": _ms(read.saved),
        "caller": read.caller,
        "why": ["by row"] if read.outcome == HIT and read.by_row else [],
    }
    if read.outcome == MISS:
        described["why"] = [CAUSES.get(read.cause or "", read.cause)]
        if read.invalidated_by is not None:
            described |= _describe_cause(read, before)
    for label, reason in (("reason", read.reason), ("rejected", read.rejected)):
        if reason is not None:
            described[label] = _describe_reason(reason)
    return described


def _describe_reason(reason: str) -> Stats:
    meaning = MEANINGS.get(reason)
    return {"name": reason, "text": meaning.text, "remedy": meaning.remedy} if meaning else {"name": reason}


def _describe_use(use: RecordedUse) -> Stats:
    is_hit = use.outcome == HIT
    return {
        "outcome": use.outcome,
        "kind": use.kind,
        "label": use.label,
        "took_ms": _ms(use.took) if is_hit else None,
        "computing_ms": None if is_hit else _ms(use.took),
        "saved_ms": _ms(use.saved),
        "outdated": use.outdated,
        "cause": "" if use.cause is None else CAUSES.get(use.cause, use.cause),
        "invalidated_by": use.invalidated_by,
        "everything": use.invalidated_by == EPOCH,
        "rejected": None if use.rejected is None else _describe_reason(use.rejected),
        "sql": _shortened(use.sql or "", LONGEST_CAUSE),
        "relations": sorted(use.relations),
        "caller": use.caller,
        "subject": _shortened(use.subject or "", LONGEST_CAUSE),
    }


def _describe_cause(miss: RecordedRead, before: list[RecordedRead | RecordedInvalidation]) -> Stats:
    """Describe which relation's write invalidated a result, and the statement, as far as this process knows them."""
    by = miss.invalidated_by or ""
    described: Stats = {"invalidated_by": by, "everything": by == EPOCH}
    for event in reversed(before):
        if isinstance(event, RecordedInvalidation) and event.using == miss.using and by in event.relations:
            cause = next(iter(event.causes), "")
            return described | {"invalidated_in": "this request", "invalidated_cause": _shortened(cause, LONGEST_CAUSE)}
    writes = counters_of(miss.using).relation_writes().get(by)
    if writes is None:
        return described | {"invalidated_in": "another process", "invalidated_cause": ""}
    cause = writes.cause(by)
    return described | {"invalidated_in": "this process", "invalidated_cause": _shortened(cause, LONGEST_CAUSE)}


def _describe_write(number: int, invalidation: RecordedInvalidation) -> Stats:
    return {
        "kind": "write",
        "number": number,
        "using": invalidation.using,
        "relations": sorted(invalidation.relations),
        "causes": [_shortened(cause, LONGEST_CAUSE) for cause in invalidation.causes],
        "took_ms": _ms(invalidation.took),
        "caller": invalidation.caller,
    }


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} …"
