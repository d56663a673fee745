"""Asserts what came from the cache. Every assertion is a context manager that returns its recorder."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ormcache import reasons
from ormcache.diagnostics.format.outcomes import describe_outcome
from ormcache.sql import collapse_lists
from ormcache.telemetry.recorder import RecordedRead, Recorder

LONGEST_SQL = 160  # characters of a statement in a message

_REASONS = sorted(value for name, value in vars(reasons).items() if name.isupper())


def assert_hits(n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:
    """Assert that ``n`` reads in this block come from the cache; without ``n``, at least one.

    ``using``: count the reads of this database only.
    """
    return _assert_reads(n, using, ("hit", "hits"), lambda recorder: recorder.hits)


def assert_misses(n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:
    """Assert that ``n`` reads in this block miss: looked up in vain, and read from the database; without ``n``, one."""
    return _assert_reads(n, using, ("miss", "misses"), lambda recorder: recorder.misses)


def assert_bypassed(
    reason: str | None = None, n: int | None = None, *, using: str | None = None
) -> AbstractContextManager[Recorder]:
    """Assert that ``n`` reads in this block bypass the cache, for this reason or any; without ``n``, at least one.

    Raises ValueError for a name that is not in :mod:`ormcache.reasons`.
    """
    if reason is not None and reason not in _REASONS:
        near = difflib.get_close_matches(reason, _REASONS, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ": see ormcache.reasons"
        raise ValueError(f"{reason!r} is not a bypass reason{hint}")

    def bypassed(recorder: Recorder) -> list[RecordedRead]:
        return [read for read in recorder.bypassed if reason in (None, read.reason)]

    of_reason = "" if reason is None else f" ({reason})"
    return _assert_reads(n, using, (f"bypassed read{of_reason}", f"bypassed reads{of_reason}"), bypassed)


class CacheAssertions:
    """Adds the assertions to a TestCase: ``class CatalogueTests(CacheAssertions, TransactionTestCase)``."""

    def assertHits(self, n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:  # noqa: N802
        return assert_hits(n, using=using)

    def assertMisses(self, n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:  # noqa: N802
        return assert_misses(n, using=using)

    def assertBypassed(  # noqa: N802
        self, reason: str | None = None, n: int | None = None, *, using: str | None = None
    ) -> AbstractContextManager[Recorder]:
        return assert_bypassed(reason, n, using=using)


@contextmanager
def _assert_reads(
    expected: int | None, using: str | None, noun: tuple[str, str], select: Callable[[Recorder], list[RecordedRead]]
) -> Iterator[Recorder]:
    with Recorder(using) as recorder:
        yield recorder
    number = len(select(recorder))
    if number != expected if expected is not None else not number:
        where = "" if using is None else f" on {using!r}"
        wanted = f"at least 1 {noun[0]}" if expected is None else f"{expected} {noun[expected != 1]}"
        raise AssertionError(f"expected {wanted}{where}, got {number}. {list_reads(recorder.reads)}")


def list_reads(reads: list[RecordedRead]) -> str:
    """Return all reads and what became of them, as lines for people."""
    if not reads:
        return "There was no read."
    lines = ["The reads were:"]
    for number, read in enumerate(reads, 1):
        where = "" if read.caller is None else f", at {read.caller}"
        lines.append(f"  {number}. {describe_outcome(read)}, on {read.using!r}{where}\n     {_shortened(read.sql)}")
    return "\n".join(lines)


def _shortened(sql: str) -> str:
    text = " ".join(collapse_lists(sql)[0].split())
    return text if len(text) <= LONGEST_SQL else f"{text[: LONGEST_SQL - 2]} …"
