"""What is measured call by call: each workload is a function without arguments.

The same code for every candidate; see :mod:`benchmarks.reading` for the one difference. What a function returns is
compared with what plain Django returned.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass

GROUPS = {
    "hits": "Reads that were made before",
    "misses": "Reads for the first time",
    "pages": "Pages of many queries",
    "writes": "Writes",
    "past": "Bypassing the cache",
}


@dataclass(frozen=True)
class Workload:
    name: str
    group: str
    title: str
    #: name of the function in :mod:`benchmarks.calls`
    function: str
    #: what :mod:`benchmarks.freshness` calls this kind of write, if it is one that it checks
    write: str | None = None
    #: does it need what a candidate has in place of a blacklist?
    blacklisted: bool = False
    #: is the answer of every call another one, as with a new row's key?
    unique: bool = False


WORKLOADS: Sequence[Workload] = (
    Workload("get", "hits", "get() by primary key", "get"),
    Workload("rows-20", "hits", "20 rows", "rows_20"),
    Workload("related-100", "hits", "100 rows, select_related over 3 joins", "related_100"),
    Workload("prefetch", "hits", "prefetch_related, 50 and 200 rows", "prefetch"),
    Workload("count", "hits", "count()", "count"),
    Workload("exists", "hits", "exists()", "exists"),
    Workload("aggregate", "hits", "aggregate() over the largest table", "aggregate"),
    Workload("rows-1000", "hits", "1,000 rows of 12 columns", "rows_1000"),
    Workload("values-list", "hits", "values_list() of 1,000 rows", "values_list"),
    Workload("page-15", "pages", "a page of 15 queries", "page_15"),
    Workload("page-25", "pages", "a page of 25 queries", "page_25"),
    Workload("function-15", "pages", "a cached function of 15 queries", "function_15"),
    Workload("fragment-15", "pages", "a cached fragment of 15 queries", "fragment_15"),
    Workload("miss-get", "misses", "one row, miss", "miss_one"),
    Workload("miss-20", "misses", "20 rows, miss", "miss_20"),
    Workload("miss-1000", "misses", "1,000 rows, miss", "miss_1000"),
    Workload("save", "writes", "save()", "save", write="save()"),
    Workload("create", "writes", "create()", "create", write="create()", unique=True),
    Workload("update", "writes", "update()", "update", write="update()"),
    Workload("bulk-create", "writes", "bulk_create() of 1,000", "bulk_create", write="bulk_create()"),
    Workload("atomic-10", "writes", "atomic() with 10 saves", "atomic_10", write="atomic()"),
    Workload("raw-update", "writes", "UPDATE through a cursor", "raw_update", write="raw UPDATE"),
    Workload("raw-select", "past", "SELECT through a cursor", "raw_select"),
    Workload("blacklisted-get", "past", "get() on a blacklisted table", "blacklisted_get", blacklisted=True),
    Workload("blacklisted-save", "past", "save() on a blacklisted table", "blacklisted_save", blacklisted=True),
)

#: What is measured in other ways, in the order of running: the last ones change the databases
EXPERIMENTS = {
    "floor": "what is left with the database stubbed out, and a round trip to Redis",
    "freshness": "is the first read after each kind of write right?",
    "mixed": "reads and writes of 10 tables with Zipf keys, by several processes",
    "phases": "long phases of reading and writing by turns, with and without adaptive bypass",
    "web": "a page through gunicorn under wrk",
    "lobsters": "the request mix of lobste.rs, by several processes",
    "herd": "simultaneous readers of one slow query that nobody has kept",
    "memory": "what one entry takes",
    "startup": "import and first query of a fresh process",
    "growth-tables": "a query over up to 30 tables",
    "growth-entries": "a hit among many entries",
    "growth-schema": "many tables in the database",
}


def selected(name: str, patterns: Sequence[str]) -> bool:
    """Is it meant by a pattern: the whole name, its beginning up to a hyphen, or with wildcards?"""
    return not patterns or any(fnmatch.fnmatch(name, one) or name.startswith(f"{one}-") for one in patterns)


def select(patterns: Sequence[str]) -> tuple[list[Workload], list[str]]:
    """Workloads and experiments of these names. Raises LookupError for a pattern that means none."""
    names = [*(one.name for one in WORKLOADS), *EXPERIMENTS]
    for pattern in patterns:
        if not any(selected(name, [pattern]) for name in names):
            raise LookupError(f"no workload is named {pattern!r}; there are {', '.join(names)}")
    return (
        [one for one in WORKLOADS if selected(one.name, patterns)],
        [name for name in EXPERIMENTS if selected(name, patterns)],
    )
