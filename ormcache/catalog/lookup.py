"""Which relations a name can mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ormcache.catalog.facts import Path, Relation
from ormcache.sql import Name


class Index:
    """The relations of a database by their folded names."""

    def __init__(self, relations: Collection[Relation], usable: frozenset[str] = frozenset()) -> None:
        self.usable = usable
        self.relations = {relation.name: relation for relation in relations}
        # Folded bare name → the relations of that name, in whatever schema
        self._by_name: dict[str, list[Relation]] = {}
        for relation in relations:
            self._by_name.setdefault(relation.bare, []).append(relation)

    def __getitem__(self, bare: str) -> Collection[Relation]:
        return self._by_name.get(bare, ())


class Lookup:
    """How names are looked up along one search path."""

    def __init__(self, index: Index, path: Path = None, *, alike: bool = False) -> None:
        """``alike``: the session that looks may look into the same schemas as the one that has read the catalog.

        Others pass over schemas of their path that they may not look into, so that any of them can be meant.
        """
        self._index = index
        self._path = path
        self._certain = index.usable if alike else frozenset()

    def find(self, name: Name) -> list[str]:
        """The relations that a possibly qualified name can mean; none: it is not known here."""
        schema, bare = name
        found = self._index[bare]
        if schema is None:
            return self._visible(found)
        return [relation.name for relation in found if relation.schema in (schema, None)]

    def named(self, names: Iterable[str]) -> set[str]:
        """The relations that a text with these folded identifiers can name, qualified or not."""
        names = names if isinstance(names, (set, frozenset)) else set(names)
        found: set[str] = set()
        for name in names:
            relations = self._index[name]
            if relations:
                found.update(self._visible(relations))
                found.update(relation.name for relation in relations if relation.schema in names)
        return found

    def _visible(self, relations: Collection[Relation]) -> list[str]:
        """Those of one bare name that are meant where it stands without a schema."""
        path = self._path
        if path is None or not relations:
            return [relation.name for relation in relations]
        found = []
        for schema in path:
            # Two relations whose names differ in case alone are taken for one.
            here = [relation.name for relation in relations if relation.schema == schema]
            found += here
            if here and schema in self._certain:
                break
        return found
