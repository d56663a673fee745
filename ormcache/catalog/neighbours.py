"""Other databases of the same server: what is known of them is their names, and that statements can reach them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ormcache.catalog.facts import ANYTHING

_SEPARATOR = "\0"


def in_neighbour(database: str, relation: str) -> str:
    """The name that stands for a relation of another database."""
    return relation + _SEPARATOR + database


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
        return {in_neighbour(name, one) for key in folded for name in self._names[key] for one in ANYTHING}
