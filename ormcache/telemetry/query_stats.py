"""What one process knows of one query: one statement of the ORM, whatever its parameters."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ormcache.telemetry.tally import Tally

#: Executions with their parameters that are remembered of one query
MOST_SAMPLES = 8
#: One in so many hits of a query is sampled: enough to find its frequent executions
SAMPLING = 16
#: Characters of the SQL, and about as many of its parameters, up to which an execution is sampled: it is published
LONGEST_SAMPLE = 4096


@dataclass(slots=True)
class Sample:
    """One execution that hits again and again."""

    sql: str
    params: Any
    shape: tuple[Any, ...]  # how Django cuts its rows, see ormcache.read_path.read
    seen: int = 1

    def record(self) -> None:
        """Count another hit."""
        self.seen += 1


@dataclass(slots=True)
class QueryCounters:
    """The counts and samples of one query, guarded by the lock of its :class:`~ormcache.telemetry.Counters`."""

    digest: bytes  # of the statement
    sql: str  # with lists cut to two items
    relations: frozenset[str]
    caller: str | None  # "path:line" that ran it first
    tally: Tally = field(default_factory=Tally)
    samples: dict[bytes, Sample] = field(default_factory=dict)  # by the entry's name
    valued_hits: int = 0  # hits whose savings were counted already
    uses_current_time: bool = False  # is a parameter the current time, so that no two executions are alike?

    @property
    def key(self) -> tuple[bytes, frozenset[str]]:
        """What distinguishes it from other queries: tenants by schema have the same SQL and other relations."""
        return self.digest, self.relations

    @property
    def is_sampled(self) -> bool:
        """Is the execution that has just hit to be remembered?"""
        return self.tally.hits % SAMPLING == 2  # the second one too: a query may be rare

    def new_savings(self) -> float:
        """Return the seconds that hits saved the database since the last call; 0 while its mean time is unknown."""
        hits, mean = max(self.tally.saving_hits, self.valued_hits), self.tally.mean_query_seconds
        if mean is None:
            return 0.0
        new, self.valued_hits = hits - self.valued_hits, hits
        return new * mean

    def note_current_time(self) -> None:
        """Note that a parameter was the current time."""
        self.uses_current_time = True

    def add_sample(self, entry: bytes, sql: str, params: Any, shape: tuple[Any, ...]) -> None:
        """Remember an execution that has hit; the one that was seen least makes room for it."""
        known = self.samples.get(entry)
        if known is not None:
            known.record()
            return
        if len(sql) > LONGEST_SAMPLE or _size(params) > LONGEST_SAMPLE:
            return
        if len(self.samples) >= MOST_SAMPLES:
            least, sample = min(self.samples.copy().items(), key=lambda item: item[1].seen)
            # A new one takes over the count: else a frequent one that came late would never stay.
            seen = sample.seen + 1
            self.samples.pop(least, None)
        else:
            seen = 1
        self.samples[entry] = Sample(sql, params, shape, seen)

    def copy(self) -> QueryCounters:
        """Return an independent copy."""
        samples = {name: replace(sample) for name, sample in self.samples.copy().items()}
        return replace(self, tally=self.tally.copy(), samples=samples)


def _size(params: Any) -> int:
    """Estimate how many characters these parameters take in a payload."""
    if isinstance(params, (list, tuple)):
        return sum(map(_size, params))
    return len(params) if isinstance(params, (str, bytes)) else 8
