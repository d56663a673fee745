"""What became of hits that were held against the database, as people read it."""

from __future__ import annotations

from ormcache.diagnostics.format.quantities import count


def describe_verification(compared: int, verified: int, violations: int) -> str:
    """Return how many results were wrong, as ``"0 of 3,000,000 compared results differed from the database"``.

    See :class:`ormcache.telemetry.tally.Tally` for the three numbers.
    """
    undecided = compared - verified
    rest = f"; {count(undecided, 'other one', 'other ones')} could not be decided" if undecided else ""
    results = count(verified, "compared result")
    return f"{violations:,} of {results} differed from the database{rest}"
