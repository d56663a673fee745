"""Assertions about what came from the cache. Each is a context manager that gives the recorder to look at."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from ormcache import reasons
from ormcache.insight.outcomes import outcome_told
from ormcache.recording import Read, Recorder
from ormcache.sql import collapsed

LONGEST_SQL = 160  # characters of a statement that are shown

_REASONS = sorted(value for name, value in vars(reasons).items() if name.isupper())


def assert_hits(n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:
    """``n`` reads in this block come from the cache; without ``n`` at least one.

    ``using``: count those of one database only.
    """
    return _asserted(n, using, ("hit", "hits"), lambda recorder: recorder.hits)


def assert_misses(n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:
    """``n`` reads in this block ask the cache in vain and are answered by the database; without ``n`` at least one."""
    return _asserted(n, using, ("miss", "misses"), lambda recorder: recorder.misses)


def assert_bypassed(
    reason: str | None = None, n: int | None = None, *, using: str | None = None
) -> AbstractContextManager[Recorder]:
    """``n`` reads in this block do not ask the cache, for this reason or any; without ``n`` at least one.

    Raises ValueError for a name that is no reason of :mod:`ormcache.reasons`.
    """
    if reason is not None and reason not in _REASONS:
        near = difflib.get_close_matches(reason, _REASONS, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ": they are in ormcache.reasons"
        raise ValueError(f"{reason!r} is no reason for which a read is not cached{hint}")

    def bypassed(recorder: Recorder) -> list[Read]:
        return [read for read in recorder.bypassed if reason in (None, read.reason)]

    of_reason = "" if reason is None else f" ({reason})"
    return _asserted(n, using, (f"bypassed read{of_reason}", f"bypassed reads{of_reason}"), bypassed)


class CacheAssertions:
    """Mixin for a TestCase: ``class CatalogueTests(CacheAssertions, TransactionTestCase)``."""

    def assertHits(self, n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:  # noqa: N802
        return assert_hits(n, using=using)

    def assertMisses(self, n: int | None = None, *, using: str | None = None) -> AbstractContextManager[Recorder]:  # noqa: N802
        return assert_misses(n, using=using)

    def assertBypassed(  # noqa: N802
        self, reason: str | None = None, n: int | None = None, *, using: str | None = None
    ) -> AbstractContextManager[Recorder]:
        return assert_bypassed(reason, n, using=using)


@contextmanager
def _asserted(
    expected: int | None, using: str | None, what: tuple[str, str], counted: Callable[[Recorder], list[Read]]
) -> Iterator[Recorder]:
    with Recorder(using) as recorder:
        yield recorder
    number = len(counted(recorder))
    if number != expected if expected is not None else not number:
        where = "" if using is None else f" on {using!r}"
        wanted = f"at least 1 {what[0]}" if expected is None else f"{expected} {what[expected != 1]}"
        raise AssertionError(f"expected {wanted}{where}, got {number}. {listed(recorder.reads)}")


def listed(reads: list[Read]) -> str:
    """All reads with what became of them, for people."""
    if not reads:
        return "There was no read."
    lines = ["The reads were:"]
    for number, read in enumerate(reads, 1):
        where = "" if read.caller is None else f", at {read.caller}"
        lines.append(f"  {number}. {outcome_told(read)}, on {read.using!r}{where}\n     {_shortened(read.sql)}")
    return "\n".join(lines)


def _shortened(sql: str) -> str:
    text = " ".join(collapsed(sql)[0].split())
    return text if len(text) <= LONGEST_SQL else f"{text[: LONGEST_SQL - 2]} …"
