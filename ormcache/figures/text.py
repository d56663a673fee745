"""What one process knows of one text of SQL that the ORM has asked for."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ormcache.figures.tally import Tally

#: Executions with their parameters that are remembered of one text
MOST_SAMPLES = 8
#: Every so many hits of a text one is looked at: it is the frequent ones that are to be found
SAMPLING = 16
#: Characters of the text, and about as many of its parameters, up to which one is remembered: it is told to others
LONGEST_SAMPLE = 4096
#: Every so many misses of a text that has never hit, its parameters are looked at
SUSPICIOUS = 8
NOW = datetime.timedelta(hours=1)  # how far from the clock a moment of now is ...
NOW_SOMEWHERE = datetime.timedelta(hours=15)  # ... and one without a zone: it may be any hour of the day
#: SQLite and MySQL get moments as texts: "2026-01-31 12:00:00.123456"
LENGTH_TO_MICROSECONDS = 26


@dataclass(slots=True)
class Sample:
    """One execution that hits again and again."""

    sql: str
    params: Any
    shape: tuple[Any, ...]  # how Django cuts its rows, see ormcache.reads
    seen: int = 1


@dataclass(slots=True)
class Text:
    """Guarded by the lock of the :class:`~ormcache.figures.Figures` that it belongs to."""

    digest: bytes  # of the statement
    sql: str  # lists cut to two
    relations: frozenset[str]
    caller: str | None  # "path:line" that asked first
    tally: Tally = field(default_factory=Tally)
    samples: dict[bytes, Sample] = field(default_factory=dict)  # by entry
    valued_hits: int = 0  # of its hits, those whose saving was counted
    moment: bool = False  # is one of its parameters the present moment, so that no two executions are alike?

    def valued(self) -> float:
        """Seconds that hits have saved the database since the last call; 0 as long as it is not known what it takes."""
        hits, mean = self.tally.hits, self.tally.mean_query_seconds
        if mean is None:
            return 0.0
        new, self.valued_hits = hits - self.valued_hits, hits
        return new * mean

    def copy(self) -> Text:
        samples = {name: replace(sample) for name, sample in self.samples.copy().items()}
        return replace(self, tally=self.tally.copy(), samples=samples)

    @property
    def is_sampled(self) -> bool:
        """Is the execution that has just hit one to be remembered?"""
        return self.tally.hits % SAMPLING == 2  # the second one as well: a text may be asked for rarely

    @property
    def key(self) -> tuple[bytes, frozenset[str]]:
        return self.digest, self.relations

    @property
    def is_suspicious(self) -> bool:
        """Has it missed so often, and never hit, that its parameters are to be looked at?"""
        return not self.tally.hits and self.tally.misses % SUSPICIOUS == 0

    def sample(self, entry: bytes, sql: str, params: Any, shape: tuple[Any, ...]) -> None:
        """Remember an execution that has hit; the one that was seen least makes room."""
        known = self.samples.get(entry)
        if known is not None:
            known.seen += 1
            return
        if len(sql) > LONGEST_SAMPLE or _size(params) > LONGEST_SAMPLE:
            return
        if len(self.samples) >= MOST_SAMPLES:
            least = min(self.samples, key=lambda name: self.samples[name].seen)
            # What is new takes over the count: else a frequent one that came late would never stay.
            seen = self.samples.pop(least).seen + 1
        else:
            seen = 1
        self.samples[entry] = Sample(sql, params, shape, seen)


def _size(params: Any) -> int:
    """About how many characters these are to tell."""
    if isinstance(params, (list, tuple)):
        return sum(map(_size, params))
    return len(params) if isinstance(params, (str, bytes)) else 8


def has_present_moment(params: Iterable[Any]) -> bool:
    """Is one of them a moment of about now, to the microsecond?"""
    for param in params:
        if isinstance(param, datetime.datetime) and param.microsecond:
            now = datetime.datetime.now(param.tzinfo or datetime.UTC)
            moment = param if param.tzinfo is not None else param.replace(tzinfo=datetime.UTC)
            if abs(now - moment) <= (NOW if param.tzinfo is not None else NOW_SOMEWHERE):
                return True
        elif isinstance(param, (list, tuple)) and has_present_moment(param):
            return True
        elif isinstance(param, str) and len(param) >= LENGTH_TO_MICROSECONDS and param[4:5] == "-":
            try:
                parsed = datetime.datetime.fromisoformat(param)
            except ValueError:
                continue
            if has_present_moment([parsed]):
                return True
    return False
