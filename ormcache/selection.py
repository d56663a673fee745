"""Which relations ``BLACKLIST`` and ``ONLY`` mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from django.apps import apps
from django.db.models import Model


class Selection:
    """Model labels, apps and table patterns, as one question: is this relation meant?"""

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

    def by(self, relation: str) -> str | None:
        """The first of the names by which this relation is meant."""
        return next((name for name in self._names if relation in Selection([name])), None)

    def __bool__(self) -> bool:
        return bool(self._tables or self._patterns)


def tables_of(name: str) -> set[str] | None:
    """The folded tables of a model label (``shop.Order``) or of an app (``shop.*``); None for any other name."""
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
    """The model's table, folded and without the quotes that db_table may bring to name a schema."""
    return model._meta.db_table.replace('"', "").replace("`", "").lower()


def unmatched(names: Collection[str], known: Collection[str]) -> list[str]:
    """Those of ``names`` that mean none of the ``known`` tables."""
    return [name for name in names if not any(table in Selection([name]) for table in known)]
