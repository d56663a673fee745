"""Says what the settings mean by the models, apps and tables that they name."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from django.apps import apps
from django.db.models import Model

from ormcache.catalog import is_outbox, is_pseudo


class TableFilter:
    """A set of relations, given by model labels, apps and patterns of table names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._tables: set[str] = set()  # folded
        self._patterns: list[str] = []  # folded
        for name in self._names:
            tables = tables_of(name)
            if tables is None:
                self._patterns.append(name.lower())
            else:
                self._tables.update(tables)

    def __contains__(self, relation: str) -> bool:
        folded = relation.lower()
        bare = folded.rpartition(".")[2]
        if folded in self._tables or bare in self._tables:
            return True
        return any(fnmatchcase(folded, pattern) or fnmatchcase(bare, pattern) for pattern in self._patterns)

    @property
    def meaning(self) -> tuple[list[str], list[str]]:
        """The tables and the patterns that the names stand for: equal for sets of the same relations."""
        return sorted(self._tables), sorted(self._patterns)

    def name_of(self, relation: str) -> str | None:
        """Return the first of the names that this relation is among; None if it is among none."""
        return next((name for name in self._names if relation in TableFilter([name])), None)

    def __bool__(self) -> bool:
        return bool(self._tables or self._patterns)


class TableRules:
    """What the settings say of the relations of one database."""

    def __init__(
        self,
        *,
        blacklist: Iterable[str] = (),
        only: Iterable[str] = (),
        foreign_tables: Iterable[str] = (),
        pinned: Iterable[str] = (),
        adaptive: bool = True,
    ) -> None:
        """Each parameter is the setting of its name."""
        self._blacklist = TableFilter(blacklist)
        self._only = TableFilter(only)
        self._foreign_tables = TableFilter(foreign_tables)
        self._pinned = TableFilter(pinned)
        self._is_adaptive = adaptive

    @property
    def writer(self) -> int:
        """A number that is equal for processes that publish their writes to the same tables, from 1 to 2**48.

        Sessions say it to the database, see :mod:`ormcache.catalog.write_triggers`.
        """
        described = repr((self._blacklist.meaning, self._only.meaning)).encode()
        return 1 + int.from_bytes(hashlib.blake2b(described, digest_size=6).digest())

    def excludes(self, relation: str) -> bool:
        """Return whether a relation is kept out of the cache: by ``BLACKLIST``, or because ``ONLY`` lacks it.

        So is the outbox, ormcache's own.
        """
        if is_outbox(relation):
            return True
        return relation in self._blacklist or (bool(self._only) and relation not in self._only)

    def cached(self, relations: frozenset[str]) -> frozenset[str]:
        """Return those of these relations whose writes matter to the cache, pseudo-relations among them."""
        return frozenset(name for name in relations if is_pseudo(name) or not self.excludes(name))

    def admits_foreign(self, relation: str) -> bool:
        """Return whether a relation may be cached although its rows may change on another server."""
        return relation in self._foreign_tables

    def pins(self, relation: str) -> bool:
        """Return whether a relation is always cached, whatever the adaptive bypass would find."""
        return not self._is_adaptive or relation in self._pinned

    def settings_of(self, relation: str) -> dict[str, str]:
        """Return the settings that mean this relation → the name in them that does.

        Also ``ONLY`` → "" if there is such a setting and the relation is not in it.
        """
        filters = {
            "BLACKLIST": self._blacklist,
            "ONLY": self._only,
            "FOREIGN_TABLES": self._foreign_tables,
            "PINNED": self._pinned,
        }
        found = {key: name for key, names in filters.items() if (name := names.name_of(relation)) is not None}
        return found if not self._only or "ONLY" in found else found | {"ONLY": ""}


def tables_of(name: str) -> set[str] | None:
    """Return the folded tables of a model label (``shop.Order``) or of an app (``shop.*``); None for any other name."""
    label, dot, model = name.partition(".")
    if not dot or label not in apps.app_configs:
        return None
    config = apps.get_app_config(label)
    if model == "*":
        return {table_of(model) for model in config.get_models(include_auto_created=True)}
    try:
        return {table_of(config.get_model(model))}
    except LookupError:
        return None


def table_of(model: type[Model]) -> str:
    """Return a model's table, folded, and without the quotes that ``db_table`` may bring to name a schema."""
    return model._meta.db_table.replace('"', "").replace("`", "").lower()


def unmatched(names: Collection[str], known: Collection[str]) -> list[str]:
    """Return those of ``names`` that mean none of the ``known`` tables."""
    return [name for name in names if not any(table in TableFilter([name]) for table in known)]
