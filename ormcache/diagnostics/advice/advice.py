"""What a piece of advice consists of, and what is needed beside statistics to give one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ormcache.catalog import ANYWHERE
from ormcache.database.database import Database
from ormcache.database.row_plans import read_plan
from ormcache.database.row_writes import write_plan
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.sql import Effect, analyse


class Verdict:
    """The judgements, by the names that people see."""

    GOOD = "good"
    TOO_EARLY = "too early to say"
    NOT_READ = "not read"
    WRITE_HEAVY = "write-heavy"
    RARELY_READ = "rarely read"
    BLACKLISTED = "blacklisted"
    NO_GAIN = "no gain"
    NEVER_HITS = "never hits"
    CURRENT_TIME = "current time"
    ADAPTIVE_BYPASS = "adaptive bypass"
    BYPASSED = "bypassed"
    NOT_STORED = "not stored"
    OFTEN_INVALIDATED = "often invalidated"
    EXPIRES_EARLY = "expires early"
    ALL_INVALIDATED = "everything is invalidated"
    STORE_TOO_SMALL = "store too small"
    STALE = "differs from the database"
    WRITTEN_OUTSIDE = "written by other programs"


@dataclass(frozen=True, slots=True)
class Advice:
    """One judgement. All of it goes into JSON."""

    kind: str  # "relation", "query", "function", "fragment", "page" or "database"
    #: the relation; the digest of the query's statement; the name of the function, fragment or page; the database alias
    subject: str
    verdict: str  # see Verdict
    finding: str  # the numbers behind it, in a sentence
    remedy: str = ""  # what to do, in a sentence; "": nothing
    setting: str | None = None  # the key of ORMCACHE that the remedy is about
    seconds: float = 0.0  # at stake over the time of the report; an estimate
    statistics: Mapping[str, float] = field(default_factory=dict)  # that the judgement rests on
    callers: tuple[str, ...] = ()  # "path:line" in the project, of the code that runs the queries concerned
    sql: str = ""  # of a query; or for which a function, a fragment or a page is not stored
    bypass_reason: str | None = None  # of ormcache.reasons, if the advice is about one


@dataclass(frozen=True, slots=True)
class AdviceContext:
    """What judgements depend on beside statistics: settings, and what the catalog knows of functions."""

    #: whether the settings keep a relation out of the cache
    excludes: Callable[[str], bool] = lambda relation: False
    #: the functions called by a statement whose results cannot be cached
    uncacheable_functions: Callable[[str], tuple[str, ...]] = lambda sql: ()
    #: whether results of a read can depend on single rows, or a write is to rows that are known
    follows_rows: Callable[[str], bool] = lambda sql: False
    max_rows: int = 10_000
    max_bytes: int = 2**20
    timeout: float | None = None  # seconds


def advice_context(database: Database) -> AdviceContext:
    """Return the context of one database: its settings and its catalog, as far as this process has read it."""
    config = database.config

    def uncacheable_functions(sql: str) -> tuple[str, ...]:
        statement = analyse(sql, database.vendor)
        if database.catalog_cache.catalog is None:
            return ()
        return database.catalog_cache.catalog.resolver_for(ANYWHERE).uncacheable_calls(statement)

    def follows_rows(sql: str) -> bool:
        rows, vendor = database.slots.rows, database.vendor
        if rows.mode == "never" or database.catalog_cache.catalog is None:
            return False
        resolver = database.catalog_cache.catalog.resolver_for(ANYWHERE)
        statement = analyse(sql, vendor)
        named, called = resolver.named(statement), resolver.called(statement)
        if statement.effect is Effect.READ:
            relations = frozenset(resolver.read(named | resolver.read_by_calls(called)))
            return read_plan(sql, vendor, relations, called, resolver, rows) is not None
        return write_plan(sql, vendor, resolver.written(named), resolver, rows) is not None

    return AdviceContext(
        database.rules.excludes, uncacheable_functions, follows_rows, config.max_rows, config.max_bytes, config.timeout
    )


def describe_remedy(bypass_reason: str) -> str:
    """Return what to do about a bypass reason, as a sentence."""
    return as_sentence(MEANINGS[bypass_reason].remedy)


def as_sentence(text: str) -> str:
    """Return the text with a full stop, and with a capital letter unless it begins with code."""
    first = text.partition(" ")[0].rstrip(":;,")
    return (text[:1].upper() + text[1:] if first.isalpha() else text).rstrip(".") + "."


def most_frequent(counts: Mapping[str, int]) -> tuple[str, int]:
    """Return the key with the highest count, and that count; ``("", 0)`` if there is none."""
    return max(counts.items(), key=lambda item: item[1], default=("", 0))
