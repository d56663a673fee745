"""Draws the three charts of the page: hit rate, reads and time saved, over the time of the history."""

from __future__ import annotations

from collections.abc import Sequence

from ormcache.diagnostics.format.quantities import count, duration, percent
from ormcache.diagnostics.page.drawing import Axis, Chart, curve, even, highest_of, per_minute
from ormcache.telemetry.history import HistoryPoint
from ormcache.telemetry.report import Report


def charts_of(report: Report) -> tuple[Chart, ...]:
    """Return the charts of a report; none if it has no history."""
    points = even(report.history, report.at)
    if not points:
        return ()
    axis = Axis(points)
    span = duration(axis.end - axis.start)
    return (_rate_chart(report, axis, points, span), _reads_chart(axis, points, span), _time_chart(axis, points, span))


def _rate_chart(report: Report, axis: Axis, points: Sequence[HistoryPoint], span: str) -> Chart:
    rates = [point.hits / (point.hits + point.misses) if point.hits + point.misses else None for point in points]
    known = [rate for rate in rates if rate is not None]
    texts = ["no reads" if rate is None else percent(rate) for rate in rates]
    summary = (
        f"Hit rate over {span}: from {percent(min(known))} to {percent(max(known))}, last {percent(known[-1])}."
        if known
        else f"No lookups in {span}."
    )
    return Chart(
        "rate",
        "Hit rate",
        summary,
        "100 %",
        "50 %",
        (curve("hit rate", "hits", axis, points, rates, 1.0, filled=True),),
        axis.strips(points, texts),
        ("Hit rate",),
        tuple((point.at, (text,)) for point, text in zip(points, texts, strict=True))[::-1],
        axis.times,
    )


def _reads_chart(axis: Axis, points: Sequence[HistoryPoint], span: str) -> Chart:
    hits = per_minute(points, lambda point: point.hits)
    misses = per_minute(points, lambda point: point.misses)
    bypasses = per_minute(points, lambda point: point.bypassed)
    on_hits = [one + other for one, other in zip(hits, misses, strict=True)]
    totals = [one + other for one, other in zip(on_hits, bypasses, strict=True)]
    highest = highest_of(totals)
    texts = [tuple(f"{value:,.4g}" for value in values) for values in zip(hits, misses, bypasses, strict=True)]
    titles = [f"{one} hits, {other} misses, {third} bypasses" for one, other, third in texts]
    reads = sum(point.hits + point.misses + point.bypassed for point in points)
    return Chart(
        "reads",
        "Reads per minute",
        f"{count(reads, 'read')} in {span}, at most {max(totals):,.4g} per minute; "
        f"{count(sum(point.hits for point in points), 'hit')}, "
        f"{count(sum(point.misses for point in points), 'miss', 'misses')}, "
        f"{count(sum(point.bypassed for point in points), 'bypass', 'bypasses')}.",
        f"{highest:,g}",
        f"{highest / 2:,g}",
        (
            curve("bypasses", "bypass", axis, points, bypasses, highest, on_hits, filled=True),
            curve("misses", "misses", axis, points, misses, highest, hits, filled=True),
            curve("hits", "hits", axis, points, hits, highest, filled=True),
        ),
        axis.strips(points, titles),
        ("Hits per minute", "Misses per minute", "Bypasses per minute"),
        tuple((point.at, text) for point, text in zip(points, texts, strict=True))[::-1],
        axis.times,
    )


def _time_chart(axis: Axis, points: Sequence[HistoryPoint], span: str) -> Chart:
    # The savings are estimated from the mean time of all executions: as that falls, the total may fall too.
    saved = per_minute(points, lambda point: max(point.saved_seconds, 0.0))
    taken = per_minute(points, lambda point: point.cache_seconds)
    highest = highest_of(saved, taken)
    texts = [(duration(one), duration(other)) for one, other in zip(saved, taken, strict=True)]
    return Chart(
        "time",
        "Time saved per minute",
        f"In {span} the cache saved the database {duration(sum(point.saved_seconds for point in points))} and cost "
        f"{duration(sum(point.cache_seconds for point in points))}.",
        duration(highest),
        duration(highest / 2),
        (
            curve("saved", "hits", axis, points, saved, highest, filled=True),
            curve("spent in the cache", "taken", axis, points, taken, highest),
        ),
        axis.strips(points, [f"{one} saved, {other} spent" for one, other in texts]),
        ("Saved per minute", "Spent per minute"),
        tuple((point.at, text) for point, text in zip(points, texts, strict=True))[::-1],
        axis.times,
    )
