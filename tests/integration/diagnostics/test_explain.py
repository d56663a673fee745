"""What the explanation of a query says, and that it is what becomes of it."""

from __future__ import annotations

import json

import pytest
from django.db import connection, connections, transaction
from django.db.models import Count

import ormcache
from ormcache import reasons
from ormcache.catalog import provenance as c
from ormcache.diagnostics.explain import explanation as e
from ormcache.diagnostics.explain.rows import AFTER_THE_QUERY
from ormcache.diagnostics.format.encoder import JSONEncoder
from tests.integration.reading import ENGINE, execute, not_on_mysql, only_postgresql, stats
from tests.integration.schema import row_model
from tests.shop.models import Author, Book, Genre, LegacyStock, Novel, Restaurant, Upper

STORES = {
    "embedded": {},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "memcached": {"STORE": "memcached", "CACHE": "memcached"},
    "django": {"STORE": "django", "CACHE": "file"},
}


@pytest.fixture(autouse=True)
def _rows(engine: str) -> None:
    Author.objects.using("plain").create(name="Ann")


def explain(subject=Author, using="default"):
    return ormcache.explain(subject, using)


def names_of(relations) -> set[str]:
    return {relation.name for relation in relations}


def causes_of(relations) -> dict[str, tuple[str | None, str | None]]:
    return {relation.name: (relation.cause, relation.by) for relation in relations}


# What it is ------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Author, Book, Novel, Restaurant, Upper, LegacyStock])
def test_a_model(model, queries):
    before = len(connections.all())
    connection.ensure_connection()
    with queries(0):
        found = explain(model)
    assert (found.kind, found.cached, found.reason, found.bypass_reason) == ("read", True, None, None)
    assert found.subject == model._meta.label
    assert found.table.model == model._meta.label
    assert found.table.known
    assert found.table.name.lower() == model._meta.db_table.lower()
    assert len(connections.all()) == before
    assert found.entry.state == e.ABSENT
    assert found.sql.startswith("SELECT")
    assert json.loads(json.dumps(found, cls=JSONEncoder))["key"]["name"] == found.key.name


def test_of_what_the_using_is():
    assert ormcache.explain(Author).using == "default"
    assert ormcache.explain("SELECT 1").using == "default"
    assert ormcache.explain(Author.objects.using("second")).using == "second"
    assert ormcache.explain(Author.objects.using("second"), "default").using == "default"
    assert ormcache.explain(Author.objects).subject == "shop.Author.objects"
    with pytest.raises(ormcache.NotCached, match=r"ENGINE is 'django\.db"):
        ormcache.explain(Author, "plain")
    with pytest.raises(ormcache.NotCached, match="Did you mean 'default'"):
        ormcache.explain(Author, "defalt")
    with pytest.raises(TypeError, match="expected"):
        ormcache.explain(7)


def test_no_query():
    found = explain(Author.objects.none())
    assert (found.kind, found.cached, found.entry) == (e.NO_QUERY, False, None)


@pytest.mark.parametrize(
    "make, reason",
    [
        (lambda: Author.objects.order_by("?"), reasons.RANDOM),
        (lambda: "SELECT 1 FROM nowhere", reasons.UNKNOWN_RELATION),
        (lambda: "UPDATE shop_author SET name = ''", reasons.NOT_A_READ),
        (lambda: "SELECT current_timestamp FROM shop_author", reasons.CLOCK),
        (lambda: "SELECT 'x", reasons.NOT_UNDERSTOOD),
    ],
)
def test_reasons(make, reason):
    found = explain(make())
    assert not found.cached
    assert found.reason.name == reason
    assert found.reason.text
    assert found.entry is None


def test_the_reason_function_names_the_functions():
    # "a_function" and "another" do not exist; lower() is repeatable
    found = explain("SELECT lower(name), another(name), a_function(id) FROM shop_author")
    assert found.reason.name == reasons.FUNCTION
    assert found.reason.text.endswith(". It calls a_function, another")


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no row locks")
def test_a_lock():
    with transaction.atomic():
        assert explain(Author.objects.select_for_update()).reason.name == reasons.LOCKING


@only_postgresql
def test_a_parameter_that_reads_the_clock():
    assert explain(Author.objects.extra(where=["born = %s"], params=["today"])).reason.name == reasons.CLOCK


def test_a_parameter_without_an_exact_form():
    class Odd(str):
        __slots__ = ("more",)

    assert explain(Author.objects.extra(where=["name = %s"], params=[Odd("x")])).reason.name == reasons.PARAMETER


def test_unknown_names_have_near_ones():
    (unknown,) = explain("SELECT 1 FROM shop_autor").unknown
    assert unknown.name == "shop_autor"
    assert unknown.similar[0] == "shop_author"


def test_what_the_settings_say(configure):
    configure(BLACKLIST=["shop.Author"])
    found = explain()
    assert found.reason.name == reasons.BLACKLISTED
    assert found.table.named_in == {"BLACKLIST": "shop.Author"}
    assert found.reads[1].named_in == {"BLACKLIST": "shop.Author"}
    (written,) = explain("DELETE FROM shop_author").writes if ENGINE != "mysql" else [None]
    if written is not None:
        assert not written.invalidates

    configure(BLACKLIST=["shop_a*", "shop_b*"])
    assert explain().table.named_in == {"BLACKLIST": "shop_a*"}
    configure(BLACKLIST=[], ONLY=["shop.Book"], PINNED=["shop.*"], ADAPTIVE=True)
    assert explain().table.named_in == {"ONLY": "", "PINNED": "shop.*"}
    assert explain(Genre.objects.all()).table is None
    found = explain(Book)
    assert found.table.named_in == {"ONLY": "shop.Book", "PINNED": "shop.*"}
    assert found.adaptive.pinned


def test_nothing_is_cached(configure):
    configure(ENABLED=False)
    connection.close()
    found = explain()
    assert (found.cached, found.reason.name, found.kind) == (False, reasons.DISABLED, "read")


# What is there ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", STORES.values(), ids=STORES)
def test_the_entry_is_the_one_that_a_read_uses(configure, queries, settings):
    configure(**settings, LOCAL_SIZE=0)
    connection.close()
    queryset = Author.objects.filter(active=True, name__startswith="A").order_by("name")
    assert explain(queryset).entry.state == e.ABSENT
    list(queryset.all())
    before = stats()
    found = explain(queryset)
    assert (found.entry.state, found.entry.place) == (e.SERVED, e.STORE)
    assert found.entry.size > 19
    assert [relation.slot.holds for relation in found.reads] == [e.STAMP, e.STAMP]
    assert stats() == before
    with queries(0):
        list(queryset.all())

    Author.objects.create(name="B")
    found = explain(queryset)
    assert (found.entry.state, found.entry.invalidated_by) == (e.INVALIDATED, ("shop_author",))
    # Looking has changed nothing: the next read fills it, as it would have.
    with queries(1):
        list(queryset.all())
    ormcache.invalidate()
    assert "*" in explain(queryset).entry.invalidated_by


def test_looking_changes_nothing():
    for _ in range(2):
        found = explain()
        assert found.entry.state == e.ABSENT
        assert found.reads[1].slot.holds == e.EMPTY


def test_a_result_of_this_process(configure):
    configure(SHARE="auto")
    list(Author.objects.all())
    assert explain().entry.place in (e.PROCESS, e.STORE)
    assert explain().entry.state == e.SERVED
    execute("UPDATE shop_author SET name = 'z'")
    assert explain().entry.state == e.INVALIDATED


def test_other_parameters_and_shapes_are_other_entries():
    names = [
        explain(queryset).key.name
        for queryset in (
            Author.objects.filter(pk=1),
            Author.objects.filter(pk=2),
            Author.objects.values("pk"),
            Author.objects.annotate(count=Count("books")),
        )
    ]
    assert len(set(names)) == 4
    assert explain(Author.objects.filter(pk=1)).key.parameters == ("int",)
    assert explain("SELECT 1 FROM shop_author").key.parameters is None


def test_an_entry_that_is_over(configure, monkeypatch):
    configure(TIMEOUT=1000, LOCAL_SIZE=0)
    list(Author.objects.all())
    found = explain().entry
    assert found.state == e.SERVED
    later = found.expires + (found.expires - found.expires.replace(year=found.expires.year - 1))
    monkeypatch.setattr("ormcache.diagnostics.explain.inspection._now", lambda: later)
    assert explain().entry.state == e.EXPIRED


def test_a_damaged_entry(configure):
    configure(LOCAL_SIZE=0)
    list(Author.objects.all())
    name = bytes.fromhex(explain().key.name)
    connection.ormcache.database.stamps.store.put_entry(name, b"rubbish", None)
    assert explain().entry.state == e.DAMAGED


def test_a_signed_entry(configure):
    configure(LOCAL_SIZE=0, SIGN=True)
    list(Author.objects.all())
    assert explain().entry.state == e.SERVED
    name = bytes.fromhex(explain().key.name)
    connection.ormcache.database.stamps.store.put_entry(name, b"rubbish" * 100, None)
    assert explain().entry.state == e.DAMAGED


def test_a_table_that_is_being_written(other_process):
    list(Author.objects.all())
    mark = "after:ormcache.stores.base.Store.mark"
    process = other_process.start("tests.integration.diagnostics.test_explain.rename", "Zoe", stops=[mark])
    process.wait_for(mark)
    found = explain()
    slot = found.reads[1].slot
    assert (found.entry.state, slot.holds, slot.marks, slot.since) == (e.MARKED, e.MARKED, 1, None)
    process.go()
    process.result()
    assert explain().entry.invalidated_by == ("shop_author",)


def rename(to: str) -> None:
    Author.objects.update(name=to)


def test_the_store_is_away(configure, start_server):
    from django.conf import settings
    from django.test import override_settings

    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own")
        list(Author.objects.all())
        server.stop()
        found = explain()
        assert found.cached
        assert found.entry.state == e.UNAVAILABLE
        assert {relation.slot.holds for relation in found.reads} == {e.UNAVAILABLE}
        connection.close()


# What hinders ----------------------------------------------------------------------------------


def test_what_hinders():
    with ormcache.disabled():
        assert explain().bypass_reason.name == reasons.DISABLED
    with transaction.atomic():
        Author.objects.update(name="x")
        found = explain()
        assert found.cached
        assert found.bypass_reason.name == reasons.DIRTY
    assert explain().bypass_reason is None


def test_a_session_hinders():
    if ENGINE == "postgresql":
        execute("DISCARD TEMP")
        execute("DO $$ BEGIN END $$")
    elif ENGINE == "mysql":
        execute("SET @@session.sql_mode = 'ANSI_QUOTES'")
    else:
        execute("PRAGMA read_uncommitted = 1")
    hindered = explain().bypass_reason
    connection.close()
    assert hindered is not None
    assert hindered.name == reasons.UNTRACKED_SESSION


@only_postgresql
def test_what_the_session_is():
    execute("SET search_path TO public")
    execute("SET intervalstyle TO 'iso_8601'")
    key = explain().key
    assert key.search_path == ("public",)
    assert set(key.settings) == {"intervalstyle", "search_path"}
    assert key.user
    assert key.session != ""
    connection.close()
    assert explain().key.settings == ()


def test_another_version_is_another_name(configure):
    one = explain().key
    configure(VERSION="2")
    connection.close()
    two = explain().key
    assert (one.version, two.version) == ("", "2")
    assert one.namespace != two.namespace
    assert one.name != two.name


# Why -------------------------------------------------------------------------------------------


def test_a_view(ddl):
    ddl("CREATE VIEW explained AS SELECT id, name FROM shop_author", "DROP VIEW explained")
    found = explain("SELECT * FROM explained")
    assert causes_of(found.reads) == {
        "*": (c.STATEMENT, None),
        "explained": (c.NAMED, None),
        "shop_author": (c.VIEW, "explained"),
    }
    assert found.reads[2].why == "the view explained reads it"


def test_a_trigger(ddl):
    body = {
        "sqlite": "CREATE TRIGGER explaining AFTER DELETE ON shop_genre BEGIN UPDATE shop_author SET name = 'x'; END",
        "mysql": "CREATE TRIGGER explaining AFTER DELETE ON shop_genre FOR EACH ROW UPDATE shop_author SET name = 'x'",
    }
    if ENGINE == "postgresql":
        ddl(
            "CREATE FUNCTION explaining() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN UPDATE shop_author SET name = 'x'; RETURN NULL; END $$",
            "DROP FUNCTION explaining()",
        )
        ddl(
            "CREATE TRIGGER t AFTER DELETE ON shop_genre FOR EACH ROW EXECUTE FUNCTION explaining()",
            "DROP TRIGGER t ON shop_genre",
        )
    else:
        ddl(body[ENGINE], "DROP TRIGGER explaining")
    found = {relation.name: relation for relation in explain("DELETE FROM shop_genre").writes}
    assert (found["shop_author"].cause, found["shop_author"].by) == (c.CODE, "shop_genre")
    origin = "the function explaining()" if ENGINE == "postgresql" else "the trigger explaining"
    assert found["shop_author"].why == f"{origin} runs when shop_genre is written"
    assert found["shop_genre"].cause == c.NAMED


def test_a_cascade():
    found = causes_of(explain("DELETE FROM shop_book").writes)
    assert found["shop_book"] == (c.NAMED, None)
    assert found["legacy_stock"] == (c.FOREIGN_KEY, "shop_book")


@only_postgresql
def test_a_partition_and_a_rule_and_a_policy(ddl):
    ddl("CREATE TABLE whole (id int, name text, ref int) PARTITION BY LIST (id)", "DROP TABLE whole")
    ddl("CREATE TABLE part PARTITION OF whole FOR VALUES IN (1)", "")
    ddl("CREATE RULE explained AS ON INSERT TO whole DO ALSO DELETE FROM shop_genre", "")
    assert causes_of(explain("DELETE FROM part").writes)["whole"] == (c.PARENT, "part")
    found = {relation.name: relation for relation in explain("INSERT INTO whole VALUES (1)").writes}
    assert (found["part"].cause, found["part"].by) == (c.PARTITION, "whole")
    assert found["shop_genre"].why == "the rule explained runs when whole is written"
    ddl("CREATE POLICY seen ON shop_place USING (id IN (SELECT id FROM shop_genre))", "DROP POLICY seen ON shop_place")
    found = {relation.name: relation for relation in explain("SELECT 1 FROM shop_place").reads}
    assert found["shop_genre"].why == "a row-level security policy of shop_place reads it"


@not_on_mysql
def test_a_schema_change():
    found = explain("CREATE TABLE explained (id int)")
    assert found.kind == "schema change"
    assert causes_of(found.writes) == {"*": (c.STATEMENT, None), "*schema": (c.STATEMENT, None)}


def test_the_schema_has_changed_elsewhere(ddl, other_process):
    assert explain("SELECT 1 FROM made_elsewhere").reason.name == reasons.UNKNOWN_RELATION
    other_process("tests.integration.diagnostics.test_explain.make_view")
    try:
        found = explain("SELECT 1 FROM made_elsewhere")
        assert names_of(found.reads) == {"*", "made_elsewhere", "shop_author"}
    finally:
        execute("DROP VIEW made_elsewhere", using="plain")


def make_view() -> None:
    execute("CREATE VIEW made_elsewhere AS SELECT name FROM shop_author")


def test_a_relation_without_a_model():
    assert explain(row_model("nothing_of_the_kind").objects.all()).reason.name == reasons.UNKNOWN_RELATION


# Rows ------------------------------------------------------------------------------------------

BULK = "writes to unknown rows of shop_book"
DEPARTURES = "any row of shop_book that is changed or deleted"


@pytest.mark.parametrize(
    "make, depends_on",
    [
        (lambda: Book.objects.filter(pk=42).values("id"), {BULK, "row 42 of shop_book"}),
        (lambda: Book.objects.filter(pk__in=[1, 2]).values("id"), {BULK, "row 1 of shop_book", "row 2 of shop_book"}),
        (
            lambda: Book.objects.filter(author=7).values("id"),
            {BULK, DEPARTURES, "rows of shop_book that come to have author_id = 7"},
        ),
        (lambda: Book.objects.select_related("author").filter(pk=42), {AFTER_THE_QUERY}),
    ],
)
def test_on_which_rows_results_depend(configure, make, depends_on):
    configure(ROWS="always")
    rows = explain(make()).rows
    assert (rows.possible, rows.in_use, rows.why_not) == (True, True, None)
    assert set(rows.depends_on) == depends_on


@pytest.mark.parametrize(
    "make, why",
    [
        (lambda: Book.objects.filter(copies=1), "no condition says which value a key column has; the key columns of "),
        (lambda: Book.objects.values("title").distinct(), "it is more than a plain SELECT"),
        (lambda: Book.objects.filter(author__name="Ann"), "it compares a column of a joined table: shop_author.name"),
        (lambda: Author.objects.filter(pk=1, books__copies=1), "it compares a column of a joined table"),
        (lambda: Author.objects.filter(pk=1, books__isnull=False), "it joins shop_book by author_id, which is not"),
    ],
)
def test_why_results_depend_on_tables(configure, make, why):
    configure(ROWS="always")
    rows = explain(make()).rows
    assert (rows.possible, rows.in_use, rows.depends_on) == (False, False, ())
    assert rows.why_not.startswith(why)


def test_rows_are_off(configure):
    configure(ROWS="never")
    assert explain(Book.objects.filter(pk=1)).rows.why_not == 'the setting ROWS is "never"'


def test_when_results_begin_to_depend_on_rows(configure):
    configure(ROWS="auto", ADAPTIVE=False)
    read = Genre.objects.filter(pk=1)
    for ended in range(3):
        rows = explain(read).rows
        assert (rows.possible, rows.in_use, rows.ended, rows.needed) == (True, False, ended, 3)
        list(read.all())
        Genre.objects.create(name="Ode")
        list(read.all())
    assert explain(read).rows.in_use


def test_what_an_entry_depends_on_and_what_ended_it(configure):
    configure(ROWS="always", ADAPTIVE=False, SHARE="always")
    Author.objects.create(pk=7, name="Homer", email="h@example.org")
    Book.objects.create(pk=42, author_id=7, title="Iliad")
    read = Book.objects.filter(author=7, copies__gte=0).values("id")
    list(read.all())
    found = explain(read)
    assert (found.entry.state, found.entry.place) == (e.SERVED, e.PROCESS)
    assert set(found.entry.rows) == {BULK, DEPARTURES, "rows of shop_book that come to have author_id = 7"}
    connection.ormcache.database.local.drop(bytes.fromhex(found.key.name))
    assert set(explain(read).entry.rows) == set(found.entry.rows)
    Book.objects.create(pk=43, author_id=7, title="Odyssey")
    entry = explain(read).entry
    assert (entry.state, entry.invalidated_by) == (e.INVALIDATED, ("shop_book",))
    assert entry.changed == ("rows of shop_book that come to have author_id = 7",)


def test_rows_that_only_the_result_has(configure):
    configure(ROWS="always", ADAPTIVE=False, SHARE="always")
    Author.objects.create(pk=7, name="Homer", email="h@example.org")
    Book.objects.create(pk=42, author_id=7, title="Iliad")
    read = Book.objects.filter(author=7).values("id")
    list(read.all())
    assert set(explain(read).entry.rows) == {
        BULK,
        "rows of shop_book that come to have author_id = 7",
        "1 row of its result",
    }
