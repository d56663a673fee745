"""Counts of functions, fragments and pages that are cached."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ormcache.cache.tracking import Rejection
from ormcache.reasons import Miss

#: Functions, fragments and pages that one process has statistics of. Those that come up later are counted together
MOST_DERIVED = 1024
#: Relations by which the invalidations of one of them are counted. Those that come up later are counted together
MOST_INVALIDATING = 64
#: The label of all that have no statistics of their own, and the name of such relations
OTHER = "other"


@dataclass(slots=True)
class DerivedCounters:
    """What became of the uses of one function, fragment or page. The owner guards it by a lock. Times are in seconds.

    The numbers add up over threads, processes and hosts.
    """

    kind: str  # "function", "fragment" or "page"
    label: str
    hits: int = 0
    hit_seconds: float = 0.0  # that the cache took for them
    outdated_hits: int = 0  # of these: served while another caller computed
    misses: int = 0
    miss_seconds: float = 0.0  # that computing took
    missed: dict[str, int] = field(default_factory=dict)  # misses that looked it up, by cause
    invalidated_by: dict[str, int] = field(default_factory=dict)  # by relation, where that is known
    rejected: dict[str, int] = field(default_factory=dict)  # misses that were not stored, by reason
    #: the last of these
    last_rejection: Rejection | None = None

    @property
    def uses(self) -> int:
        """The number of uses, whatever became of them."""
        return self.hits + self.misses

    @property
    def hit_rate(self) -> float | None:
        """The share of uses that were served from the cache, from 0 to 1; None without any use."""
        return self.hits / self.uses if self.uses else None

    @property
    def invalidated(self) -> int:
        """The number of misses that found something that a write had invalidated."""
        return self.missed.get(Miss.INVALIDATED, 0)

    @property
    def stored(self) -> int:
        """The number of misses that were stored."""
        return self.misses - sum(self.rejected.values())

    @property
    def mean_seconds(self) -> float | None:
        """The mean time of computing it; None if it was not computed."""
        return self.miss_seconds / self.misses if self.misses else None

    @property
    def saved_seconds(self) -> float:
        """The time that computing would have taken for the hits, less the time that they took: an estimate."""
        mean = self.mean_seconds
        return 0.0 if mean is None else self.hits * mean - self.hit_seconds

    @property
    def seconds_at_stake(self) -> float:
        """The time that it is about: what computing took, and what it would have taken for the hits."""
        return self.miss_seconds + self.hits * (self.mean_seconds or 0.0)

    def record_hit(self, seconds: float, *, outdated: bool) -> None:
        """Count a use that was served; ``outdated``: with something that is being computed anew."""
        self.hits += 1
        self.hit_seconds += seconds
        self.outdated_hits += outdated

    def record_miss(
        self, seconds: float, cause: str | None, invalidated_by: str | None, rejection: Rejection | None
    ) -> None:
        """Count a use that was computed.

        ``cause``: one of :class:`ormcache.reasons.Miss`; None: nothing was looked up. ``invalidated_by``: the relation
        whose write invalidated what was stored, if that is known. ``rejection``: why it was not stored; None: it was.
        """
        self.misses += 1
        self.miss_seconds += seconds
        if cause is not None:
            self.missed[cause] = self.missed.get(cause, 0) + 1
        if invalidated_by is not None:
            counts = self.invalidated_by
            name = invalidated_by if invalidated_by in counts or len(counts) < MOST_INVALIDATING else OTHER
            counts[name] = counts.get(name, 0) + 1
        if rejection is not None:
            self.rejected[rejection.reason] = self.rejected.get(rejection.reason, 0) + 1
            self.last_rejection = rejection

    def add(self, other: DerivedCounters) -> None:
        """Add the numbers of another process, and its last rejection if there is one."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _MAPPINGS:
            mine = getattr(self, name)
            for key, count in getattr(other, name).items():
                mine[key] = mine.get(key, 0) + count
        self.last_rejection = other.last_rejection or self.last_rejection

    def empty(self) -> DerivedCounters:
        """Return counts of the same thing, without any."""
        return DerivedCounters(self.kind, self.label)

    def copy(self) -> DerivedCounters:
        """Return an independent copy."""
        return replace(
            self, missed=dict(self.missed), invalidated_by=dict(self.invalidated_by), rejected=dict(self.rejected)
        )

    def published(self, *, with_sql: bool) -> dict[str, Any]:
        """Return what is not 0, for JSON. ``with_sql``: also what was the last reason for which it was not stored."""
        counts = {name: value for name in (*_NUMBERS, *_MAPPINGS) if (value := getattr(self, name))}
        last = self.last_rejection if with_sql else None
        rejection = None if last is None else last._asdict() | {"relations": sorted(last.relations)}
        return {"kind": self.kind, "label": self.label, **counts, "last_rejection": rejection}

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> DerivedCounters:
        """Make one of what :meth:`published` returned."""
        last = given["last_rejection"]
        rejection = None if last is None else Rejection(**last | {"relations": frozenset(last["relations"])})
        counts = {name: given[name] for name in (*_NUMBERS, *_MAPPINGS) if name in given}
        return cls(given["kind"], given["label"], **counts, last_rejection=rejection)


_NUMBERS = ("hits", "hit_seconds", "outdated_hits", "misses", "miss_seconds")
_MAPPINGS = ("missed", "invalidated_by", "rejected")


class DerivedTable:
    """The counts of all functions, fragments and pages of one alias in one process. The owner guards it by a lock."""

    def __init__(self) -> None:
        #: (kind, label) → counts, in the order in which they came up
        self._counters: dict[tuple[str, str], DerivedCounters] = {}

    def counters(self, kind: str, label: str) -> DerivedCounters:
        """Return the counts of one; those of its kind that are counted together if there are too many labels."""
        found = self._counters.get((kind, label))
        if found is None:
            key = (kind, label if len(self._counters) < MOST_DERIVED else OTHER)
            found = self._counters.setdefault(key, DerivedCounters(*key))
        return found

    @property
    def uses(self) -> int:
        """The number of uses of all of them."""
        return sum(each.uses for each in self._counters.values())

    def copies(self) -> list[DerivedCounters]:
        """Return independent copies."""
        return [each.copy() for each in self._counters.values()]


def snapshot_of(counters: Iterable[DerivedCounters]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return kind → label → the counts, as ``ormcache.stats()`` does."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for each in counters:
        last = each.last_rejection
        found.setdefault(each.kind, {})[each.label] = {
            "hits": each.hits,
            "outdated_hits": each.outdated_hits,
            "misses": each.misses,
            "stored": each.stored,
            "missed": each.missed,
            "invalidated": each.invalidated,
            "invalidated_by": each.invalidated_by,
            "rejected": each.rejected,
            "last_rejection": None if last is None else last._asdict(),
            "hit_seconds": each.hit_seconds,
            "miss_seconds": each.miss_seconds,
            "saved_seconds": each.saved_seconds,
        }
    return found
