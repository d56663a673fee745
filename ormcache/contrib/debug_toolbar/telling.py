"""What a recorder has collected in one request, as the plain values that the toolbar's store can keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from ormcache.catalog import EPOCH
from ormcache.figures import figures_of
from ormcache.insight.meanings import MEANINGS
from ormcache.insight.outcomes import CAUSES
from ormcache.recording import BYPASS, HIT, MISS, Read, Recorder, Retired

#: What the toolbar has of one request
Stats = dict[str, Any]

#: Characters of the parameters of one statement, and of one that has written
LONGEST_PARAMS, LONGEST_CAUSE = 2000, 2000


def stats_of(recorder: Recorder) -> Stats:
    """Everything that the panel shows. All times are in milliseconds."""
    reads = recorder.reads
    alike = Counter(map(_text_of, reads))
    same = Counter(map(_question_of, reads))
    events = []
    for number, event in enumerate(recorder.events, 1):
        if isinstance(event, Retired):
            events.append(_told_of_write(number, event))
        else:
            told = _told_of_read(number, event, recorder.events[: number - 1])
            events.append(told | {"similar": alike[_text_of(event)], "same": same[_question_of(event)]})
    return {
        "events": events,
        "databases": [
            {"alias": alias, **_sums([read for read in reads if read.using == alias])}
            for alias in sorted({event.using for event in recorder.events})
        ],
        "writes": len(recorder.retired),
        **_sums(reads),
    }


def _sums(reads: list[Read]) -> Stats:
    saved = [read.saved for read in reads if read.saved is not None]
    return {
        "hits": sum(read.outcome == HIT for read in reads),
        "misses": sum(read.outcome == MISS for read in reads),
        "bypassed": sum(read.outcome == BYPASS for read in reads),
        "cache_ms": _ms(sum(read.took or 0.0 for read in reads)),
        "query_ms": _ms(sum(read.query or 0.0 for read in reads)),
        "saved_ms": _ms(sum(saved)) if saved else None,
        "similar": _repeated(map(_text_of, reads)),
        "same": _repeated(map(_question_of, reads)),
    }


def _repeated(keys: Any) -> int:
    """How many have another one like them."""
    return sum(count for count in Counter(keys).values() if count > 1)


def _text_of(read: Read) -> Hashable:
    return read.using, read.sql


def _question_of(read: Read) -> Hashable:
    return read.using, read.sql, repr(read.params)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)


def _told_of_read(number: int, read: Read, before: list[Read | Retired]) -> Stats:
    told = {
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
        "why": [],
    }
    if read.outcome == MISS:
        told["why"] = [CAUSES.get(read.cause or "", read.cause)]
        if read.retired_by is not None:
            told |= _retirement(read, before)
    for label, reason in (("reason", read.reason), ("refused", read.refused)):
        if reason is not None:
            meaning = MEANINGS.get(reason)
            told[label] = (
                {"name": reason, "text": meaning.text, "remedy": meaning.remedy} if meaning else {"name": reason}
            )
    return told


def _retirement(miss: Read, before: list[Read | Retired]) -> Stats:
    """Which relation has retired what was there, and the statement that did, as far as this process knows."""
    by = miss.retired_by or ""
    told: Stats = {"retired_by": by, "everything": by == EPOCH}
    for event in reversed(before):
        if isinstance(event, Retired) and event.using == miss.using and by in event.relations:
            cause = next(iter(event.causes), "")
            return told | {"retired_in": "this request", "retired_cause": _shortened(cause, LONGEST_CAUSE)}
    written = figures_of(miss.using).written().get(by)
    if written is None:
        return told | {"retired_in": "another process", "retired_cause": ""}
    return told | {"retired_in": "this process", "retired_cause": _shortened(written.cause(by), LONGEST_CAUSE)}


def _told_of_write(number: int, retired: Retired) -> Stats:
    return {
        "kind": "write",
        "number": number,
        "using": retired.using,
        "relations": sorted(retired.relations),
        "causes": [_shortened(cause, LONGEST_CAUSE) for cause in retired.causes],
        "took_ms": _ms(retired.took),
        "caller": retired.caller,
    }


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]} …"
