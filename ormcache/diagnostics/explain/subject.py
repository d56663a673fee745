"""What is explained: a queryset, a manager, a model, or SQL."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db.models import Manager, Model, QuerySet
from django.db.models.sql import Query

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


@dataclass(frozen=True, slots=True)
class Subject:
    """One statement with all that decides what becomes of it."""

    name: str
    sql: str
    params: Any
    compiler: Any  # of the query; for SQL, one that has compiled nothing
    is_sql: bool = False
    model: type[Model] | None = None


def compile_subject(subject: Any, connection: CachedConnection) -> Subject:
    """Compile a queryset, or the ``all()`` of a manager or a model; take SQL as it is.

    Raises EmptyResultSet for a queryset that Django knows to be empty, and TypeError for anything else than these.
    """
    if isinstance(subject, str):
        make: Any = connection.ops.compiler("SQLCompiler")
        compiler = make(Query(None), connection, connection.alias)
        compiler.col_count = None  # it has not compiled anything
        return Subject("SQL", subject, None, compiler, is_sql=True)
    model = None
    if isinstance(subject, type) and issubclass(subject, Model):
        model, query = subject, subject._default_manager.all().query
    elif isinstance(subject, Manager):
        model, query = subject.model, subject.all().query
    elif isinstance(subject, QuerySet):
        query = subject.query
    else:
        raise TypeError(f"expected a queryset, a manager, a model or SQL, not {subject!r}")
    compiler = query.get_compiler(using=connection.alias)
    sql, params = compiler.as_sql()
    return Subject(name_of(subject), sql, params, compiler, model=model)


def name_of(subject: Any) -> str:
    """Return how an explanation names its subject: ``"shop.Order.objects"``."""
    if isinstance(subject, str):
        return "SQL"
    if isinstance(subject, Manager):
        return f"{subject.model._meta.label}.{subject.name}"
    if isinstance(subject, type) and issubclass(subject, Model):
        return subject._meta.label
    return "QuerySet"


def similar_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return up to three of the known names that resemble this one, the most similar first."""
    return tuple(difflib.get_close_matches(name, sorted(known), n=3))
