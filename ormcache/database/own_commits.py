"""Accounts for the commits to a SQLite file that are made through ormcache: :mod:`ormcache.database.commits` has why.

* Who holds SQLite's lock for writers marks the next number before the commit, and puts the state that the commit has
  led to into its slot after it: together with the slots of the relations that are written.
* Who cannot know the next number, because a statement takes and releases that lock by itself, marks one slot for all
  numbers instead.

A writer does not take over the state that it finds unless that is accounted for as well, and answers for no commit that
may have been another program's: whether there was one it learns from ``PRAGMA data_version``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from ormcache.catalog.sqlite_file import FileState, Sighting, SQLiteFile
from ormcache.database.commits import Commits, stands_for
from ormcache.stores.base import STAMP, Last, decode_marks
from ormcache.utils.interruptions import let_through

#: Seconds that a writer waits for one before it to settle, and between two looks
LONGEST_WAIT, PAUSE = 0.05, 0.001


class PendingCommit(NamedTuple):
    """A commit that is about to be made on one connection."""

    before: FileState  # the state that it follows
    is_known: bool  # was that one accounted for?
    mark: bytes  # the slot that has to be marked for it
    is_locked: bool  # can nobody else commit before it?
    version: object  # changes when another connection commits

    @property
    def undone(self) -> Last:
        """What the slot gets, as the end of all that its writer settles, if nothing was committed."""
        return 1, STAMP + self.before.encode()


class OwnCommits:
    """Accounts for commits to one file. Threads share it; its methods raise StoreUnavailable."""

    def __init__(self, file: SQLiteFile, commits: Commits) -> None:
        self._file = file
        self._commits = commits

    def current(self) -> Sighting | None:
        """Return the state of now, if it is the one that was seen last, as mostly."""
        seen = self._commits.seen
        try:
            return seen if seen is not None and seen.is_current() else None
        except OSError as error:
            let_through(error)
            return None

    def begin(self, current: Sighting | None, version: object, *, is_locked: bool) -> PendingCommit | None:
        """Return what has to be marked for a commit. None: the file cannot be read now.

        ``current``: what :meth:`current` has returned. ``version``: what changes when another connection commits, as it
        was before that. ``is_locked``: nobody else can commit before it.
        """
        commits = self._commits
        if current is not None:
            before, is_known = current.state, True
        else:
            seen = self._read(is_own=True)
            if seen is None:
                return None
            before = seen.state
            is_known = stands_for(commits.look_up(commits.slot(before))[0], before) or commits.is_known_at_rest()
        mark = commits.mark(before, 1) if is_locked else commits.any_mark
        return PendingCommit(before, is_known, mark, is_locked, version)

    def _look_up(self, state: FileState) -> list[bytes | None]:
        """Return what a state's slot holds, and those for marks."""
        commits = self._commits
        return commits.look_up(commits.slot(state), commits.mark(state), commits.any_mark)

    def end(
        self, pending: PendingCommit, writer: bytes, read_version: Callable[[], object]
    ) -> tuple[Sighting, bool, bytes] | None:
        """Account for a commit that was made, or has failed, up to what has to be settled. Invalidates all in doubt.

        Return the state that it has led to, whether that is known to be of no other connection, and the slot into which
        it has to be put. None: the file cannot be read. Then readers wait for the mark, and invalidate everything.

        ``writer``: who has marked it. ``read_version``: returns what ``pending.version`` is now.
        """
        commits, seen, is_alone = self._commits, self._read(is_own=True), False
        if seen is not None and read_version() == pending.version:
            # A rollback journal: what is read of another connection's commit may be undone; then it is not read again.
            is_alone = seen.is_in_index or _is_current(seen)
        if not is_alone:
            seen = self._read(is_own=False)
        if seen is None:
            return None
        if is_alone and (pending.is_known or self._has_come(pending, writer)):
            commits.take(seen)
        else:
            commits.invalidate(seen, is_outside=False, publishes=False)
        return seen, is_alone, commits.slot(seen.state)

    def _has_come(self, pending: PendingCommit, writer: bytes) -> bool:
        """Return whether others have accounted for a state: those who are about to are waited for a while."""
        before, until = pending.before, time.monotonic() + LONGEST_WAIT
        while True:
            held, *marks = self._look_up(before)
            if stands_for(held, before):
                return True
            others = [other for one in marks for other, _ in decode_marks(one) if other != writer]
            if not others or time.monotonic() > until:
                return False
            time.sleep(PAUSE)

    def invalidate(self) -> None:
        """Invalidate everything, and account for what is committed until now."""
        seen = self._read(is_own=False)
        if seen is not None:
            self._commits.invalidate(seen, is_outside=False)

    def rest(self, checkpoint: Callable[[], object]) -> None:
        """WAL: account for the state in which the file lies once the calling thread's connection is closed.

        ``checkpoint``: has all that is committed written into the database.
        """
        try:
            known = self._commits.seen
            if known is None:
                return
            resting = self._file.at_rest()
            if resting is None and not self._file.is_used_elsewhere():
                checkpoint()
                resting = self._file.at_rest()
            if resting is not None and known.is_current():
                self._commits.publish(resting.state)
        except OSError as error:
            let_through(error)

    def _read(self, *, is_own: bool) -> Sighting | None:
        """Return the state of now, after a while; None: it cannot be read."""
        try:
            seen = self._file.read(is_own=is_own)
            if seen is None:
                until = time.monotonic() + LONGEST_WAIT
                while (seen := self._file.read(is_own=is_own)) is None and time.monotonic() < until:
                    time.sleep(PAUSE)
        except OSError as error:
            let_through(error)
            return None
        return seen


def _is_current(seen: Sighting) -> bool:
    """Return whether nothing was committed since; False also where the file cannot be read."""
    try:
        return seen.is_current()
    except OSError as error:
        let_through(error)
        return False
