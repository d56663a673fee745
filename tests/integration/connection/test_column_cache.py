"""Columns that are compiled once are those that Django would compile, and are converted as it would."""

from __future__ import annotations

import pytest
from django.core.exceptions import EmptyResultSet
from django.db import connection, connections, models
from django.db.models import CharField, Q
from django.db.models.expressions import Col
from django.db.models.sql import Query
from django.test.utils import isolate_apps

from ormcache.connection.column_cache import compiles_as_django
from tests.integration.cache.test_serializer import typed
from tests.shop.models import Author, Book, LegacyStock, Novel, Place, Restaurant, Review, Upper

MODELS = [Author, Book, LegacyStock, Novel, Place, Restaurant, Review, Upper]


def relations(model):
    return [field.name for field in model._meta.fields if field.is_relation]


QUERIES = {
    "all": lambda rows: rows.all(),
    "filtered": lambda rows: rows.filter(pk__gt=1),
    "sliced": lambda rows: rows.order_by("-pk")[1:4],
    "distinct": lambda rows: rows.distinct(),
    "negated": lambda rows: rows.exclude(Q(pk=1) | Q(pk=3)),
    "only": lambda rows: rows.only("pk"),
    "values": lambda rows: rows.values(),
    "values_list": lambda rows: rows.values_list("pk", flat=True),
    "annotated": lambda rows: rows.annotate(extra_pk=models.F("pk") + 1),
    "extra": lambda rows: rows.extra(select={"one": "1"}),
    "related": lambda rows: rows.select_related(*relations(rows.model)) if relations(rows.model) else rows,
    "union": lambda rows: rows.filter(pk=1).union(rows.filter(pk=2)),
    "inside": lambda rows: rows.filter(pk__in=rows.filter(pk__gt=1)),
    "self-joined": lambda rows: rows.alias(other=models.F("pk")).filter(other__gt=0),
    "none": lambda rows: rows.none(),
}


def told(info):
    """What tells how rows become instances; the functions in it are others each time."""
    related = [told(one) for one in info.get("related_klass_infos", [])] if info else []
    return info and (info["model"], info["select_fields"], related)


def statement(queryset):
    """What a query compiles to, with all that its rows are made by."""
    compiler = queryset.query.get_compiler(queryset.db)
    try:
        sql, params = compiler.as_sql()
    except EmptyResultSet:
        return None
    columns = [column for column, *_ in compiler.select]
    converted = {
        at: [getattr(one, "__qualname__", one) for one in converters]
        for at, (converters, _) in compiler.get_converters(columns).items()
    }
    return (
        sql,
        tuple(params),
        told(compiler.klass_info),
        compiler.annotation_col_map,
        compiler.col_count,
        columns,
        converted,
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_any_query_compiles_to_what_it_compiles_to_without_us(model):
    list(model._default_manager.all())  # whole rows are known
    for name, make in QUERIES.items():
        first, again = (statement(make(model._default_manager.using("default"))) for _ in range(2))
        assert first == again == statement(make(model._default_manager.using("plain"))), name


def test_a_query_that_was_told_its_columns():
    list(Author.objects.all())
    ours, theirs = Author.objects.using("default"), Author.objects.using("plain")
    for queryset in (ours, theirs):
        queryset.query.clear_select_clause()
        queryset.query.add_fields(["name"])
    assert statement(ours) == statement(theirs)


class Masking(Query):
    def get_select_mask(self):
        return {self.model._meta.pk: {}}


def test_a_query_of_a_class_of_its_own():
    list(Author.objects.all())
    ours, theirs = Author.objects.using("default"), Author.objects.using("plain")
    for queryset in (ours, theirs):
        queryset.query.__class__ = Masking
    assert statement(ours) == statement(theirs)


def test_what_is_remembered_cannot_be_changed_through_what_is_given():
    expected = statement(Book.objects.using("plain"))
    for _ in range(3):
        compiler = Book.objects.all().query.get_compiler("default")
        compiler.as_sql()
        converters = compiler.get_converters([column for column, *_ in compiler.select])
        compiler.select.clear()
        compiler.klass_info["select_fields"].clear()
        converters.clear()
        assert statement(Book.objects.all()) == expected


def test_other_expressions_have_converters_of_their_own():
    list(Book.objects.all())
    for alias in ("default", "plain"):
        compiler = Book.objects.using(alias).all().query.get_compiler(alias)
        compiler.as_sql()
        columns = [column for column, *_ in compiler.select]
        answers = [list(compiler.get_converters(columns)), list(compiler.get_converters(columns[::-1]))]
        if alias == "default":
            ours = answers
    assert ours == answers
    assert ours[0] != ours[1]


def test_one_compiler_of_a_query_that_changes():
    list(Author.objects.all())
    query = Author.objects.all().query
    compiler = query.get_compiler("default")
    compiler.as_sql()
    query.add_deferred_loading(["name"])
    compiler.as_sql()
    assert [column.target.name for column, *_ in compiler.select] == ["id", "email", "born", "active"]
    assert len(compiler.get_converters([column for column, *_ in compiler.select])) <= 4


def test_the_references_of_aliases_are_counted_as_django_counts_them():
    for _ in range(2):
        ours, theirs = (Book.objects.using(alias).filter(author__name="a").query for alias in ("default", "plain"))
        for query, alias in ((ours, "default"), (theirs, "plain")):
            query.get_compiler(alias).pre_sql_setup()
        assert ours.alias_refcount == theirs.alias_refcount, (ours.alias_refcount, theirs.alias_refcount)


def compiled(monkeypatch, queryset) -> bool:
    """Does a query compile the columns anew?"""
    asked = []
    original = models.sql.compiler.SQLCompiler.get_default_columns
    with monkeypatch.context() as patch:
        patch.setattr(
            models.sql.compiler.SQLCompiler,
            "get_default_columns",
            lambda self, *args, **kwargs: asked.append(self) or original(self, *args, **kwargs),
        )
        queryset.query.get_compiler(queryset.db).as_sql()
    return bool(asked)


def test_the_second_query_of_a_model_compiles_no_columns(monkeypatch):
    list(Author.objects.all())
    assert not compiled(monkeypatch, Author.objects.filter(pk=1))
    assert compiled(monkeypatch, Author.objects.defer("name"))
    assert compiled(monkeypatch, Author.objects.using("plain").filter(pk=1))


class Shouting(CharField):
    """Selected in a way that changes from one moment to the next."""

    function = "UPPER"

    def select_format(self, compiler, sql, params):
        return f"{self.function}({sql})", params


class Fickle(CharField):
    """Converted in a way that does."""

    suffix = "!"

    def get_db_converters(self, connection):
        return [lambda value, expression, connection, suffix=self.suffix: value + suffix]


class Wandering(CharField):
    """Read from a column that does."""

    column_now = "mail"

    def get_col(self, alias, output_field=None):
        return Col(alias, self.model._meta.get_field(self.column_now))


@isolate_apps("tests.shop")
def test_fields_that_decide_at_each_query_are_asked_at_each(monkeypatch):
    class Loud(models.Model):
        name = Shouting(max_length=50)

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    class Wavering(models.Model):
        name = Fickle(max_length=50)

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    class Roving(models.Model):
        name = Wandering(max_length=50)
        mail = CharField(max_length=50, db_column="email")

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    class Tag(models.Model):
        word = Fickle(max_length=50, primary_key=True)

        class Meta:
            app_label = "shop"

    class Tagged(models.Model):
        tag = models.ForeignKey(Tag, models.DO_NOTHING, db_column="name", db_constraint=False)

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    Author.objects.create(name="Ada", email="a@b.c")
    assert [row.name for row in Loud.objects.all()] == ["ADA"]
    monkeypatch.setattr(Shouting, "function", "LOWER")
    assert [row.name for row in Loud.objects.all()] == ["ada"]
    assert [row.name for row in Wavering.objects.all()] == ["Ada!"]
    assert [row.tag_id for row in Tagged.objects.all()] == ["Ada!"]
    monkeypatch.setattr(Fickle, "suffix", "?")
    assert [row.tag_id for row in Tagged.objects.all()] == ["Ada?"]
    assert [row.name for row in Wavering.objects.all()] == ["Ada?"]
    assert "name" not in statement(Roving.objects.filter(pk=1))[0].replace("shop_", "")
    monkeypatch.setattr(Wandering, "column_now", "name")
    assert "name" in statement(Roving.objects.filter(pk=1))[0]


@isolate_apps("tests.shop")
def test_a_model_that_gets_another_field_or_another_table():
    class Writer(models.Model):
        name = CharField(max_length=50)

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    Author.objects.create(name="Ada", email="ada@example.org")
    Place.objects.create(name="Rome")
    assert [vars(row)["name"] for row in Writer.objects.all()] == ["Ada"]
    CharField(max_length=50, null=True).contribute_to_class(Writer, "email")
    assert [vars(row)["email"] for row in Writer.objects.all()] == ["ada@example.org"]

    class Moving(models.Model):
        name = CharField(max_length=50)

        class Meta:
            app_label, db_table = "shop", Author._meta.db_table

    assert [row.name for row in Moving.objects.all()] == ["Ada"]
    Moving._meta.db_table = Place._meta.db_table
    for field in Moving._meta.concrete_fields:
        field.__dict__.pop("cached_col", None)
    assert [row.name for row in Moving.objects.all()] == ["Rome"]


def test_converters_follow_the_setting_of_time_zones(settings):
    """MySQL makes naive times aware by a converter that is there under USE_TZ only."""
    Book.objects.create(author=Author.objects.create(name="Ada"), title="Notes")
    for use_tz in (True, False, True):
        settings.USE_TZ = use_tz
        for alias in ("default", "plain"):
            connections[alias].close()
        ours, theirs = (typed(list(Book.objects.using(alias))) for alias in ("default", "plain"))
        assert ours == theirs
    settings.USE_TZ = False
    assert statement(Book.objects.using("default")) == statement(Book.objects.using("plain"))


@isolate_apps("tests.shop")
def test_a_column_that_is_named_like_an_alias_of_the_query():
    """Django 5.2 does not quote what is the name of an alias."""

    class Part(models.Model):
        whole = models.ForeignKey("self", models.CASCADE, null=True)
        name = CharField(max_length=50, db_column="T3")

        class Meta:
            app_label = "shop"

    for make in (lambda rows: rows.all(), lambda rows: rows.filter(whole__whole__name="a"), lambda rows: rows.all()):
        assert statement(make(Part.objects.using("default"))) == statement(make(Part.objects.using("plain")))


def test_compilers_and_operations_of_others_are_left_alone():
    compiler, operations = models.sql.compiler.SQLCompiler, type(connections["plain"].ops)
    assert compiles_as_django(compiler, operations)

    class Compiler(compiler):
        def get_default_columns(self, *args, **kwargs):
            return super().get_default_columns(*args, **kwargs)[:1]

    class Operations(operations):
        def quote_name(self, name):
            return super().quote_name(name.upper())

    class Converting(operations):
        def get_db_converters(self, expression):
            return []

    assert not compiles_as_django(Compiler, operations)
    assert not compiles_as_django(compiler, Operations)
    assert not compiles_as_django(compiler, Converting)
    assert compiles_as_django(connection.ops.compiler("SQLCompiler").__mro__[3], type(connection.ops))
