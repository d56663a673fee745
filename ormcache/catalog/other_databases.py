"""Names what stands for other databases that a statement can reach: only their identity is known."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ormcache.catalog.facts import ALL_ROWS_AND_SCHEMA, is_of_input, is_of_schema

_SEPARATOR = "\0"


def name_in_database(database: str, relation: str) -> str:
    """Return the name that stands for a relation of another database."""
    return relation + _SEPARATOR + database


def all_in_database(database: str) -> frozenset[str]:
    """Return what stands for all relations of another database."""
    return frozenset(name_in_database(database, relation) for relation in ALL_ROWS_AND_SCHEMA)


def is_pseudo(relation: str) -> bool:
    """Return whether a name stands for more than one relation."""
    return split_database(relation)[1] in ALL_ROWS_AND_SCHEMA or is_of_schema(relation) or is_of_input(relation)


def split_database(relation: str) -> tuple[str | None, str]:
    """Split a relation into its database, None for the connection's own, and its name there."""
    name, _, database = relation.partition(_SEPARATOR)
    return database or None, name


class OtherDatabases:
    """Knows the other databases that statements of this one can reach."""

    def __init__(self, names: Mapping[str, Collection[str]]) -> None:
        self._names = names

    def named(self, names: Collection[str]) -> set[str]:
        """Return what a write with these folded identifiers changes in other databases: all of those that it names."""
        if not self._names:
            return set()
        return self._all_of(folded for folded in self._names if folded in names)

    def all_reached(self) -> set[str]:
        """Return what changes where nothing is known: all of them."""
        return self._all_of(self._names)

    def _all_of(self, folded: Iterable[str]) -> set[str]:
        return set().union(*(all_in_database(name) for key in folded for name in self._names[key]))
