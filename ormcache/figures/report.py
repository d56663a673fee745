"""The figures of a whole deployment: what its processes have told, added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ormcache.figures.counting import Event, Figures, Written
from ormcache.figures.history import History, Point
from ormcache.figures.tally import Tally, saved_seconds
from ormcache.figures.text import Text
from ormcache.stores.base import Outage

#: Texts that one process tells of: those that the most time was saved or spent with
MOST_TOLD = 200
MOST_EVENTS = 200  # in a report


@dataclass(frozen=True, slots=True)
class Process:
    """One process that has told its figures. Times are in seconds since the epoch."""

    id: str
    host: str
    pid: int
    command: str  # how it was started, without its arguments' values
    began: float
    at: float  # when it last told


@dataclass(slots=True)
class TextReport:
    """One text of SQL."""

    digest: str
    sql: str
    relations: tuple[str, ...]
    tally: Tally = field(default_factory=Tally)
    callers: dict[str, None] = field(default_factory=dict)  # "path:line", in the order in which they were met
    moment: bool = False  # is one of its parameters the present moment?
    resting: dict[str, Any] | None = None  # why some process leaves it alone at the moment: a Judgement
    samples: list[Mapping[str, Any]] = field(default_factory=list)  # see ormcache.publishing

    @property
    def saved_seconds(self) -> float:
        """What its hits would have taken the database; an estimate by the mean of its executions."""
        return self.tally.hits * (self.tally.mean_query_seconds or 0.0)

    @property
    def database_seconds(self) -> float:
        """What its misses and bypasses did take the database."""
        return self.tally.query_seconds + self.tally.uncached_seconds


@dataclass(slots=True)
class RelationReport:
    """One relation; ``"*"`` stands for writes that retire everything."""

    name: str
    tally: Tally = field(default_factory=Tally)
    writes: int = 0
    written_at: float = 0.0  # seconds since the epoch; 0: not as long as these processes run
    cause: str = ""  # the statement of the last write
    writes_per_minute: float = 0.0
    retired: int = 0  # results that its writes have retired, and that were asked for again


@dataclass(slots=True)
class Report:
    """One database alias, over all processes that have told of it within a day."""

    using: str
    at: float  # seconds since the epoch
    processes: list[Process] = field(default_factory=list)
    unread: int = 0  # processes whose figures could not be read: gone from the store, or signed with another key
    total: Tally = field(default_factory=Tally)
    writes: int = 0
    untold: int = 0  # writes that the store could not be told of at once
    write_seconds: float = 0.0
    saved_seconds: float = 0.0  # what hits would have taken the database; an estimate
    texts: list[TextReport] = field(default_factory=list)  # most time first
    relations: list[RelationReport] = field(default_factory=list)  # by name
    history: list[Point] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)  # newest first
    outages: list[Outage] = field(default_factory=list)  # newest first
    pending: tuple[str, ...] = ()  # relations that wait to be told to the store

    @property
    def since(self) -> float | None:
        """When the first of the processes began; None without any."""
        return min((process.began for process in self.processes), default=None)

    @property
    def cache_seconds(self) -> float:
        """All that the cache has taken, of reads and writes."""
        return self.total.cache_seconds + self.write_seconds

    @property
    def gain_seconds(self) -> float:
        """What was saved less what it took."""
        return self.saved_seconds - self.cache_seconds


def text_seconds(tally: Tally) -> float:
    """By how much a text matters: what its hits have saved and the others have taken, roughly."""
    return tally.hits * (tally.mean_query_seconds or 0.0) + tally.query_seconds + tally.uncached_seconds


def totals_of(figures: Figures) -> tuple[float, ...]:
    """What :mod:`~ormcache.figures.history` follows, of one process."""
    total, writing = figures.total(), figures.writing
    return (
        total.hits,
        total.misses,
        total.bypasses,
        writing.writes,
        total.missed.get("retired", 0),
        figures.saved_seconds(),
        total.cache_seconds + writing.seconds,
        total.query_seconds + total.uncached_seconds,
    )


def told_of(figures: Figures) -> dict[str, Any]:
    """One process's figures as JSON takes them, but for what only :mod:`ormcache.publishing` knows."""
    relations = figures.relations()
    written = figures.written()
    nothing = Written()
    return {
        "total": figures.total().as_dict(),
        "writing": [figures.writing.writes, figures.writing.untold, figures.writing.seconds],
        "relations": {
            name: [relations.get(name, Tally()).as_dict(), one.writes, one.at, one.cause(name)]
            for name in sorted(relations.keys() | written.keys())
            for one in [written.get(name, nothing)]
        },
        "events": [list(event) for event in figures.events()],
        "saved": figures.saved_seconds(),
        # By relation, in the order in which they came up: see ormcache.insight.readings
        "wrote": {name: one.writes for name, one in written.items()},
        "retired": figures.retired(),
    }


def most_important(texts: Iterable[Text], most: int) -> list[Text]:
    return sorted(texts, key=lambda text: text_seconds(text.tally), reverse=True)[:most]


def report_of(using: str, told: Sequence[Mapping[str, Any]], now: float) -> Report:
    """What several processes have told, added up. ``told``: see :mod:`ormcache.publishing`."""
    report = Report(using, now)
    texts: dict[str, TextReport] = {}
    relations: dict[str, RelationReport] = {}
    history = History()
    pending: set[str] = set()
    events: dict[tuple[str, tuple[str, ...], str], Event] = {}
    for one in told:
        process = Process(**one["process"])
        report.processes.append(process)
        report.total.add(Tally.from_dict(one["total"]))
        writes, untold, seconds = one["writing"]
        report.writes += writes
        report.untold += untold
        report.write_seconds += seconds
        # Until now, and not until it last told: a command that has ended writes no more.
        minutes = max((now - process.began) / 60, 1.0)
        for name, (tally, count, at, cause) in one["relations"].items():
            relation = relations.setdefault(name, RelationReport(name))
            relation.tally.add(Tally.from_dict(tally))
            relation.writes += count
            relation.writes_per_minute += count / minutes
            if at > relation.written_at:
                relation.written_at, relation.cause = at, cause
        for given in one["texts"]:
            _add_text(texts, given)
        history.heard(one["history"])
        for at, kind, names, cause, times in one["events"]:
            _add_event(events, Event(at, kind, tuple(names), cause, times))
        report.outages += [Outage(*outage) for outage in one["outages"]]
        pending.update(one["pending"])
    for name, count in report.total.retired_by.items():
        relations.setdefault(name, RelationReport(name)).retired = count
    report.texts = sorted(texts.values(), key=lambda text: text_seconds(text.tally), reverse=True)
    report.relations = [relations[name] for name in sorted(relations)]
    report.saved_seconds = saved_seconds([text.tally for text in report.texts], report.total)
    report.history = history.points(now)
    report.events = sorted(events.values(), reverse=True)[:MOST_EVENTS]
    report.outages.sort(key=lambda outage: outage.began, reverse=True)
    report.pending = tuple(sorted(pending))
    return report


def _add_event(events: dict[tuple[str, tuple[str, ...], str], Event], event: Event) -> None:
    key = (event.kind, event.relations, event.cause)
    known = events.get(key)
    if known is not None:
        event = event._replace(at=max(event.at, known.at), times=event.times + known.times)
    events[key] = event


def _add_text(texts: dict[str, TextReport], given: Mapping[str, Any]) -> None:
    text = texts.get(given["key"])
    if text is None:
        text = texts[given["key"]] = TextReport(given["digest"], given["sql"], tuple(given["relations"]))
    text.tally.add(Tally.from_dict(given["tally"]))
    if given["caller"] is not None:
        text.callers[given["caller"]] = None
    text.moment = text.moment or given["moment"]
    text.resting = given["resting"] or text.resting
    text.samples += given["samples"]
