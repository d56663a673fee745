"""Looks up which relations a name can mean."""

from __future__ import annotations

from collections.abc import Collection

from ormcache.catalog.facts import Path, Relation
from ormcache.sql import Name


class Index:
    """Indexes the relations of a database by their folded names."""

    def __init__(self, relations: Collection[Relation], usable: frozenset[str] = frozenset()) -> None:
        self.usable = usable
        self.relations = {relation.name: relation for relation in relations}
        # Folded bare name → the relations of that name, in whatever schema
        self._by_name: dict[str, list[Relation]] = {}
        for relation in relations:
            self._by_name.setdefault(relation.bare, []).append(relation)
        #: folded bare names that are spelled in more ways than one
        self.ambiguous = frozenset(
            bare
            for bare, alike in self._by_name.items()
            if len(alike) > 1 and len({relation.name[-len(bare) :] for relation in alike}) > 1
        )

    def __getitem__(self, bare: str) -> Collection[Relation]:
        return self._by_name.get(bare, ())


class Lookup:
    """Looks up names along one search path."""

    def __init__(self, index: Index, path: Path = None, *, alike: bool = False) -> None:
        """``alike``: whether the session has the same rights on schemas as the one that read the catalog.

        Another session passes over schemas of its path that it may not use (USAGE), and which these are is not known:
        a name can then mean a relation of any schema of the path.
        """
        self._index = index
        self._path = path
        self._certain = index.usable if alike else frozenset()

    @property
    def is_anywhere(self) -> bool:
        """Whether a name without a schema can mean a relation of any schema."""
        return self._path is None

    def find(self, name: Name) -> list[str]:
        """Return the relations that a possibly qualified name can mean; none if the name is unknown."""
        schema, bare = name
        found = self._index[bare]
        if schema is None:
            return self._visible(found)
        return [relation.name for relation in found if relation.schema in (schema, None)]

    def named(self, names: frozenset[str], columns: frozenset[Name] = frozenset()) -> set[str]:
        """Return the relations that a statement with these folded identifiers can name, qualified or not.

        ``columns``: those of them that name a relation only if what stands before them is its schema, with that.
        """
        found: set[str] = set()
        for column in columns:
            found.update(self.find(column))
        for name in names.difference(name for _, name in columns):
            relations = self._index[name]
            if relations:
                found.update(self._visible(relations))
                found.update(relation.name for relation in relations if relation.schema in names)
        return found

    def _visible(self, relations: Collection[Relation]) -> list[str]:
        """Return those relations of one bare name that it can mean without a schema."""
        path = self._path
        if path is None or not relations:
            return [relation.name for relation in relations]
        # Relations whose names differ in case alone are taken for one: "Notes" does not hide notes.
        certain = self._certain if next(iter(relations)).bare not in self._index.ambiguous else frozenset()
        found = []
        for schema in path:
            here = [relation.name for relation in relations if relation.schema == schema]
            found += here
            if here and schema in certain:
                break
        return found
