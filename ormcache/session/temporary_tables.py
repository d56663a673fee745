"""The temporary tables of one session, as far as its statements show them."""

from __future__ import annotations

from typing import NamedTuple


class TemporaryTables(NamedTuple):
    """The names, folded, of the temporary tables that a session may have. Replaced, never changed in place.

    A table that the open transaction has dropped stays among them until COMMIT, because a rollback brings it back.
    """

    names: frozenset[str] = frozenset()
    #: those that the open transaction has dropped
    dropped: frozenset[str] = frozenset()
    #: those that COMMIT drops
    dropped_on_commit: frozenset[str] = frozenset()
    #: whether each name is of one table at most: names that differ in case alone are folded to one
    are_distinct: bool = True

    @property
    def present(self) -> frozenset[str]:
        """Those that the open transaction has not dropped."""
        return self.names - self.dropped

    def create(self, name: str, *, drops_on_commit: bool) -> TemporaryTables:
        """Return what they are after one more was created.

        IF NOT EXISTS may have found it there: then it goes when the one that was there goes.
        """
        was_there = name in self.present
        on_commit = self.dropped_on_commit - {name}
        if drops_on_commit and (not was_there or name in self.dropped_on_commit):
            on_commit |= {name}
        return TemporaryTables(
            self.names | {name}, self.dropped - {name}, on_commit, self.are_distinct and not was_there
        )

    def drop(self, names: frozenset[str], *, in_transaction: bool) -> TemporaryTables:
        """Return what they are after tables of these names were dropped."""
        if in_transaction:
            return self._replace(dropped=self.dropped | (self.names & names))
        return self._replace(names=self.names - names)

    def commit(self) -> TemporaryTables:
        """Return what they are after COMMIT."""
        return TemporaryTables(self.names - self.dropped - self.dropped_on_commit, are_distinct=self.are_distinct)
