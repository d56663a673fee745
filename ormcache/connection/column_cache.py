"""The columns of a SELECT of whole rows of one model, compiled once for each connection.

Most queries of an application select every column of one model and nothing else. Compiling these columns, and finding
the converters of their values, is the larger part of what Django does for a read that the cache answers, and the result
is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.conf import settings
from django.db.models.sql import Query

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler as _Compiler

    from ormcache.connection.protocol import CachedConnection
else:
    _Compiler = object

MOST_CLASSES = 256  # of compilers and cursors that a process remembers


@dataclass(slots=True)
class ModelColumns:
    """What a compiler has returned for the columns of one model."""

    fields: Any  # the model's, a list that Django replaces by another one when they change
    table: str
    select: list[Any]  # (column, (SQL, parameters), no alias)
    columns: list[Any]  # of those
    readers: list[tuple[Any, Any]]  # (field, its from_db_value), of the fields that have one
    use_tz: bool | None = None  # the setting USE_TZ for which the converters are right
    converters: dict[int, Any] | None = None  # position of a column that has converters → (converters, expression)

    def remember_converters(self, converters: dict[int, Any], use_tz: bool) -> dict[int, Any]:
        """Remember the converters under this setting of USE_TZ. Return a copy, which may be changed."""
        self.converters, self.use_tz = converters, use_tz
        return converters.copy()


class ColumnCacheMixin(_Compiler):
    """Mixin for the compiler class of a SELECT that compiles columns as Django does, see :func:`compiles_as_django`."""

    connection: CachedConnection  # type: ignore[assignment]  # Django's own type would do for fewer connections
    _model_columns: ModelColumns | None = None  # of the model whose whole rows are selected

    def get_select(self, with_col_aliases: bool = False) -> Any:
        """Return the columns to select, as Django does: from the cache if they are the whole rows of a model."""
        query = self.query
        if with_col_aliases or not _selects_whole_rows(query):
            return super().get_select(with_col_aliases=with_col_aliases)
        model: Any = query.model
        cache = self.connection.ormcache.columns
        fields, table = model._meta.concrete_fields, query.base_table
        known = cache.get(model)
        if known is not None and known.fields is fields and known.table == table:
            query.ref_alias(table)  # as get_select() does
            self._model_columns = known
            return known.select.copy(), {"model": model, "select_fields": list(range(len(known.select)))}, {}
        answer = super().get_select()
        if model._meta.apps is not apps:
            return answer  # a migration's model, which must not be kept alive: it has a whole registry behind it
        select = answer[0]
        if all(map(_compiles_alike, fields)) and all(_is_plain_column(selected, table) for selected in select):
            columns = [column for column, *_ in select]
            readers = [(field, field.from_db_value) for field in fields if hasattr(field, "from_db_value")]
            self._model_columns = ModelColumns(fields, table, select.copy(), columns, readers)
            cache.put(model, self._model_columns)
        return answer

    def get_converters(self, expressions: Any) -> Any:
        """Return the converters of the columns' values, as Django does: from the cache if they are known."""
        known, use_tz = self._model_columns, settings.USE_TZ
        if known is None or expressions != known.columns:
            return super().get_converters(expressions)
        if any(getattr(field, "from_db_value", None) != reader for field, reader in known.readers):
            return super().get_converters(expressions)  # a test has replaced one
        if known.converters is None or known.use_tz != use_tz:
            return known.remember_converters(super().get_converters(expressions), use_tz)
        return known.converters.copy()


def _selects_whole_rows(query: Any) -> bool:
    """Return whether a query selects what its model alone decides."""
    return (
        type(query) is Query
        and query.default_cols
        and not query.deferred_loading[0]
        and not query.select_related
        and not query.annotations
        and not query.extra
        and query.alias_map.keys() <= query.table_map.keys()  # no alias that could be a column's name
    )


def _is_plain_column(selected: Any, table: str | None) -> bool:
    """Return whether an item of the select list is a column of this table, and no more."""
    column, _, alias = selected
    return column.alias == table and alias is None and _compiles_alike(column.output_field)


def _compiles_alike(field: Any) -> bool:
    """Return whether a field selects and converts its column as Django's own fields do, the same way every time."""
    return _has_django_methods(type(field), _FIELD_METHODS)


@lru_cache(maxsize=MOST_CLASSES)
def compiles_as_django(compiler: type[Any], operations: type[Any]) -> bool:
    """Return whether a compiler, with the operations that it quotes and converts by, does as Django does."""
    return _has_django_methods(compiler, _COMPILER_METHODS) and _has_django_methods(operations, _OPERATIONS_METHODS)


def _has_django_methods(cls: type[Any], names: tuple[str, ...]) -> bool:
    """Return whether all of these methods of a class, as far as it has them, are Django's own."""
    methods = [getattr(cls, name, None) for name in names]
    return all(method is None or method.__module__.startswith("django.db.") for method in methods)


_FIELD_METHODS = ("get_col", "select_format", "get_db_converters")
_OPERATIONS_METHODS = ("quote_name", "get_db_converters")
_COMPILER_METHODS = (
    "get_select",
    "get_default_columns",
    "get_converters",
    "compile",
    "quote_name",
    "quote_name_unless_alias",
    "setup_query",
    "results_iter",
)
