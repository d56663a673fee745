"""Names the slots of one database's relations in the store."""

from __future__ import annotations

from collections.abc import Mapping

from ormcache.cache.stamps import Stamps
from ormcache.catalog import EPOCH, SCHEMA, is_pseudo, split_database
from ormcache.database.row_plans import RowCatalog
from ormcache.utils.bounded import Bounded

MOST_RELATIONS = 65_536  # whose slots' names are remembered
MOST_SEARCHED = 4096  # of these: where there are more, the relation of a slot is not looked for
MOST_WRITES = 4096  # sets of relations whose slots' names are remembered together
MOST_IN_ONE_WRITE = 64  # relations in such a set; larger ones are not remembered


class Slots:
    """The names of one database's slots. Threads share it."""

    def __init__(self, stamps: Stamps, instance: str | None, rows: str = "auto") -> None:
        """``instance``: what the identities of the server's other databases begin with; None: it has no others.

        ``rows``: the setting ROWS.
        """
        self._stamps = stamps
        self._instance = instance
        self._names: Bounded[str, bytes] = Bounded(MOST_RELATIONS)
        self._names_of_writes: Bounded[frozenset[str], tuple[bytes, ...]] = Bounded(MOST_WRITES)
        #: the slots of single rows
        self.rows = RowCatalog(self.name, rows)
        #: the slot of all relations
        self.epoch = stamps.slot(EPOCH)
        #: the slot of the schema
        self.schema = stamps.slot(SCHEMA)

    def name(self, relation: str) -> bytes:
        """Return the name of a relation's slot."""
        name = self._names.get(relation)
        if name is None:
            database, bare = split_database(relation)
            identity = None if database is None else f"{self._instance} {database}".encode()
            name = self._stamps.slot(bare, identity)
            self._names.put(relation, name)
        return name

    def undone(self, relation: str) -> bytes:
        """Return the name of the slot that changes when a write to a relation is rolled back."""
        return self._stamps.slot(f"*undone {relation}")

    def relation_of(self, name: bytes) -> str | None:
        """Return the relation whose slot, or whose slot of bulk writes, has this name. For people.

        None: it is the slot of rows, or this process has not named it.
        """
        if len(self._names) > MOST_SEARCHED:
            return None
        found = next((relation for relation, slot in self._names.copy().items() if slot == name), None)
        return self.rows.relation_of(name) if found is None else found

    def names(self, relations: frozenset[str]) -> tuple[bytes, ...]:
        """Return the names of the slots that a write to any rows of these relations marks.

        In an order that all processes share.
        """
        names = self._names_of_writes.get(relations)
        if names is None:
            names = self.names_by_row(relations, {})
            if len(relations) <= MOST_IN_ONE_WRITE:
                self._names_of_writes.put(relations, names)
        return names

    def names_by_row(self, relations: frozenset[str], rows: Mapping[str, frozenset[bytes]]) -> tuple[bytes, ...]:
        """Return the same for a write that is known to be to some rows of some relations.

        ``rows``: relation → the row slots that the write marks; any rows of the relations that are not in it.
        """
        names: list[bytes] = []
        for relation in sorted(relations):
            names.append(self.name(relation))
            marked = rows.get(relation)
            if marked is not None:
                names += sorted(marked)
            elif not is_pseudo(relation):  # no rows of its own: whatever depends on rows depends on it
                names.append(self.rows.slots(relation).bulk)
        return tuple(names)
