"""The columns of a SELECT of whole rows of one model, compiled once for each connection.

Most queries of an application select every column of one model and nothing else. To compile those, and to find out
what converts their values, is the larger part of what Django does for a read that the cache answers, and it comes to
the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models.sql import Query

if TYPE_CHECKING:
    from django.db.models.sql.compiler import SQLCompiler as _Compiler
else:
    _Compiler = object

MOST_MODELS = 1024  # of which one connection remembers the columns


@dataclass(slots=True)
class Columns:
    """What a compiler has answered for one model."""

    fields: Any  # the model's, which Django replaces by another list when they change
    table: str
    select: list[Any]  # (column, (SQL, parameters), no alias)
    columns: list[Any]  # of those
    readers: list[tuple[Any, Any]]  # (field, its from_db_value), of the fields that have one
    use_tz: bool | None = None  # under which the converters were found
    converters: dict[int, Any] | None = None  # of the columns that have some, by position


class ColumnsMixin(_Compiler):
    """Mixin for a SELECT's compiler class that compiles columns as Django does, see :func:`is_djangos`."""

    _whole: Columns | None = None  # of the model whose whole rows are selected

    def get_select(self, with_col_aliases: bool = False) -> Any:
        query = self.query
        if with_col_aliases or not _selects_whole_rows(query):
            return super().get_select(with_col_aliases=with_col_aliases)
        model: Any = query.model
        memo: dict[Any, Columns] = self.connection.ormcache.columns  # type: ignore[attr-defined]  # it is one of ours
        fields, table = model._meta.concrete_fields, query.base_table
        kept = memo.get(model)
        if kept is not None and kept.fields is fields and kept.table == table:
            query.ref_alias(table)  # as get_select() does
            self._whole = kept
            return kept.select.copy(), {"model": model, "select_fields": list(range(len(kept.select)))}, {}
        answer = super().get_select()
        select = answer[0]
        if all(map(_decides_once, fields)) and all(_is_plain(selected, table) for selected in select):
            if len(memo) >= MOST_MODELS:
                memo.clear()
            columns = [column for column, *_ in select]
            readers = [(field, field.from_db_value) for field in fields if hasattr(field, "from_db_value")]
            self._whole = memo[model] = Columns(fields, table, select.copy(), columns, readers)
        return answer

    def get_converters(self, expressions: Any) -> Any:
        whole, use_tz = self._whole, settings.USE_TZ
        if whole is None or expressions != whole.columns:
            return super().get_converters(expressions)
        if any(getattr(field, "from_db_value", None) != reader for field, reader in whole.readers):
            return super().get_converters(expressions)  # a test has put another one in its place
        if whole.converters is None or whole.use_tz != use_tz:
            whole.converters, whole.use_tz = super().get_converters(expressions), use_tz
        return whole.converters.copy()


def _selects_whole_rows(query: Any) -> bool:
    """Does a query select what its model alone decides?"""
    return (
        type(query) is Query
        and query.default_cols
        and not query.deferred_loading[0]
        and not query.select_related
        and not query.annotations
        and not query.extra
        and query.alias_map.keys() <= query.table_map.keys()  # no alias that could be a column's name
    )


def _is_plain(selected: Any, table: str | None) -> bool:
    """Is it a column of this table, and no more?"""
    column, _, alias = selected
    return column.alias == table and alias is None and _decides_once(column.output_field)


def _decides_once(field: Any) -> bool:
    """Does a field select and convert its column as Django's own fields do, the same way every time?"""
    return _are_djangos(type(field), _OF_FIELDS)


@cache
def is_djangos(compiler: type[Any], operations: type[Any]) -> bool:
    """Are a compiler and the operations that it quotes and converts with Django's own, as far as columns go?"""
    return _are_djangos(compiler, _OF_COMPILERS) and _are_djangos(operations, _OF_OPERATIONS)


def _are_djangos(cls: type[Any], names: tuple[str, ...]) -> bool:
    methods = [getattr(cls, name, None) for name in names]
    return all(method is None or method.__module__.startswith("django.db.") for method in methods)


_OF_FIELDS = ("get_col", "select_format", "get_db_converters")
_OF_OPERATIONS = ("quote_name", "get_db_converters")
_OF_COMPILERS = (
    "get_select",
    "get_default_columns",
    "get_converters",
    "compile",
    "quote_name",
    "quote_name_unless_alias",
    "setup_query",
    "results_iter",
)
