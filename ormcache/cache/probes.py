"""Probes: the lookups by which a statement that bypasses the cache finds out that using it would pay again."""

from __future__ import annotations

FIRST_GAP, LONGEST_GAP = 4, 46  # executions between two probes; doubled each time in a row
RUN = 4  # lookups in a row that find out whether results are read again soon
FIRST_PAUSE, LONGEST_PAUSE = 192, 2048  # executions between two runs
MOST_PATIENCE = 1024  # executions
FIRST_BUDGET, LARGEST_BUDGET = 8.0, 65_536.0  # misses that a probation may lose
GAIN = 16.0  # misses that a probation has to earn


class Probes:
    """The probes of one statement, and the probations that they lead to.

    If the stamps are those of the probe before, nobody has written in between: the relations are *quiet*. If one of the
    executions right after a probe hits, results are read again before they are lost. Either begins a *probation*: the
    cache is used until it has lost a few misses, or has earned some.

    What was in vain is not repeated soon. After relations were written during a probation, they have to be quiet for
    longer than they were then. A probation that ends because the cache takes long to fill lets the next one lose more.

    Nothing here depends on a clock: all counts are of executions.
    """

    __slots__ = (
        "_budget",
        "_failures",
        "_gap",
        "_has_failed",
        "_is_by_run",
        "_patience",
        "_pause",
        "_quiet",
        "_quiet_before",
        "_run",
        "_since_run",
        "_skipped",
        "credit",
    )

    def __init__(self) -> None:
        self.credit: float | None = None  # misses that the probation may lose; None: there is none
        self._budget = FIRST_BUDGET  # what it had of these when it began
        self._is_by_run = False  # did it begin because results are read again soon?
        self._has_failed = False  # has one, since the relations were seen to be written?
        self._skipped = 0  # executions since the last probe ...
        self._gap = FIRST_GAP  # ... and until the next one
        # Whether nobody writes
        self._quiet = 0  # executions since the relations were seen to be written
        self._patience = 0  # more than these begin a probation
        self._quiet_before = 0  # when the last one began
        self._failures = 0  # of all of them
        # Whether results are read again soon
        self._run = 0  # lookups of the run that goes on
        self._since_run = 0  # executions since the last one ...
        self._pause = 0  # ... and until the next one

    def are_due(self) -> bool:
        """Count an execution while the cache is bypassed. Return whether it is to be looked up."""
        self._skipped += 1
        return self._skipped > self._gap

    def hit(self, *, pays: bool) -> None:
        """Record that a probe hit. ``pays``: that was faster than the query."""
        self._quiet += self._skipped
        if pays and self._quiet > self._patience:
            self._begin_probation(by_run=False)
        elif pays and (self._run or self._since_run + self._skipped > self._pause):
            self._begin_probation(by_run=True)
        else:
            self._await_next()

    def miss(self, *, was_written: bool) -> None:
        """Record that a probe missed. ``was_written``: the relations have been, since the last lookup."""
        if self._run:
            self._run += 1
            if was_written or self._run > RUN:
                self._pause = max(self._pause, min(max(2 * self._pause, FIRST_GAP), FIRST_PAUSE))
                self._await_next()
            return
        if was_written:
            self._note_write()
        else:
            self._quiet += self._skipped
            if self._quiet > self._patience:
                self._begin_probation(by_run=False)
                return
        self._since_run += self._skipped
        if self._since_run > self._pause:
            self._run, self._since_run = 2, 0  # the next execution is looked up as well
        else:
            self._await_next()

    def spend(self, loss: float, lookups: int, *, was_written: bool) -> bool | None:
        """Record lookups of a probation. Return whether it has succeeded; None: it goes on.

        ``loss``: misses that they lost. ``was_written``: the relations have been, which ends what was stored.
        """
        self._quiet += lookups
        credit = self.credit = (self.credit or 0.0) - loss
        # More than the first budget is given for filling the cache, which a write undoes.
        if credit <= (self._budget - FIRST_BUDGET if was_written else 0.0):
            self._fail(was_written=was_written)
            return False
        if was_written:
            self._quiet = 0
        return True if credit >= self._budget + GAIN else None

    def successor(self) -> Probes:
        """Return the probes of the next bypass, after a probation has succeeded."""
        probes = Probes()
        probes._patience, probes._pause = self._patience // 2, self._pause // 2
        return probes

    def _fail(self, *, was_written: bool) -> None:
        self.credit = None
        self._skipped = 0
        self._has_failed = True
        self._failures += 1
        if self._is_by_run:
            self._pause = min(4 * max(self._pause, LONGEST_GAP), LONGEST_PAUSE)
        if was_written:
            self._note_write()
        else:
            self._budget = min(2 * self._budget, LARGEST_BUDGET)

    def _note_write(self) -> None:
        if self._has_failed:
            # One that began shortly before a write says little.
            needed = self._quiet_before * min(self._failures, 3) // 2
            self._patience = min(max(self._patience, needed), MOST_PATIENCE)
            self._has_failed = False
            self._budget = FIRST_BUDGET
        elif not self._quiet:
            self._patience -= self._patience // 32
        self._quiet = 0

    def _begin_probation(self, *, by_run: bool) -> None:
        self.credit, self._is_by_run, self._quiet_before = self._budget, by_run, self._quiet
        self._run = self._since_run = 0

    def _await_next(self) -> None:
        self._run = self._skipped = 0
        self._gap = min(2 * self._gap, LONGEST_GAP)
