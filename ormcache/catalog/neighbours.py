"""Other databases that a statement can reach: what is known of them is who they are, and that they change."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ormcache.catalog.facts import ANYTHING

_SEPARATOR = "\0"


def in_neighbour(database: str, relation: str) -> str:
    """The name that stands for a relation of another database."""
    return relation + _SEPARATOR + database


def all_in_neighbour(database: str) -> frozenset[str]:
    """What stands for all that another database holds."""
    return frozenset(in_neighbour(database, relation) for relation in ANYTHING)


def is_pseudo(relation: str) -> bool:
    """Does the name stand for more than a relation?"""
    return split_neighbour(relation)[1] in ANYTHING


def split_neighbour(relation: str) -> tuple[str | None, str]:
    """``relation`` as its database, None for the connection's own one, and its name there."""
    name, _, database = relation.partition(_SEPARATOR)
    return database or None, name


class Neighbours:
    """The other databases that statements of this one can reach."""

    def __init__(self, names: Mapping[str, Collection[str]]) -> None:
        self._names = names

    def named(self, names: Collection[str]) -> set[str]:
        """What changes in other databases when a text with these folded identifiers writes: all of those it names."""
        if not self._names:
            return set()
        return self._all_of(folded for folded in self._names if folded in names)

    def all_reached(self) -> set[str]:
        """What changes where nothing can be told."""
        return self._all_of(self._names)

    def _all_of(self, folded: Iterable[str]) -> set[str]:
        return set().union(*(all_in_neighbour(name) for key in folded for name in self._names[key]))
