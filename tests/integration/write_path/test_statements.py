"""Whatever way a row changes, the next read shows it.

Each test reads (and proves that the answer is cached), writes in one particular way, and reads again: the answer must
be the one that the same database gives through Django's own backend, which knows nothing of the cache.
"""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

from ormcache.sql import Effect, analyse
from tests.integration.reading import (
    ENGINE,
    QUOTE,
    Reading,
    everything,
    execute,
    not_on_mysql,
    not_on_sqlite,
    only_postgresql,
    only_sqlite,
    rows_of,
)
from tests.shop.models import Author, Book, Genre, LegacyStock, Novel, Restaurant, Review, Upper


@pytest.fixture(autouse=True)
def _rows() -> None:
    """A few rows in each table, made past the cache."""
    ann, bob = (Author.objects.using("plain").create(name=name, email=f"{name}@x.org") for name in ("Ann", "Bob"))
    prose, verse = (Genre.objects.using("plain").create(name=name) for name in ("Prose", "Verse"))
    for number, author in enumerate((ann, ann, bob)):
        book = Book.objects.using("plain").create(author=author, title=f"Title {number}", copies=number)
        book.genres.add(prose, verse)
        Review.objects.using("plain").create(book=book, stars=number + 1)
        LegacyStock.objects.using("plain").create(book=book, quantity=number)
    Restaurant.objects.using("plain").create(name="Chez Ann")
    Upper.objects.using("plain").create(label="a")


@pytest.fixture
def shop(queries) -> Reading:
    """All rows of all tables, cached."""
    return Reading(queries, everything)


# The ORM --------------------------------------------------------------------------------


def _save():
    author = Author.objects.get(name="Ann")
    author.name = "Anna"
    author.save()


def _save_expression():
    book = Book.objects.get(title="Title 0")
    book.copies = F("copies") + 7
    book.save()


def _save_inherited():
    restaurant = Restaurant.objects.get()
    restaurant.name = "Chez Bob"
    restaurant.save()


def _bulk_update():
    books = list(Book.objects.all())
    for book in books:
        book.copies += 5
    Book.objects.bulk_update(books, ["copies"])


def _upsert():
    unique = {} if ENGINE == "mysql" else {"unique_fields": ["email"]}
    Author.objects.bulk_create(
        [Author(name="Anna", email="Ann@x.org")], update_conflicts=True, update_fields=["name"], **unique
    )


def _ignore_conflicts():
    Author.objects.bulk_create([Author(name="C", email="Ann@x.org"), Author(name="D")], ignore_conflicts=True)


def _get_or_create():
    Author.objects.get_or_create(name="Carol")


def _update_or_create():
    Author.objects.update_or_create(name="Ann", defaults={"active": False})


def _m2m_add():
    Book.objects.get(title="Title 0").genres.add(Genre.objects.create(name="New"))


def _m2m_clear():
    Book.objects.get(title="Title 0").genres.clear()


def _m2m_reverse():
    Genre.objects.first().books.clear()


def _delete_parent():
    Author.objects.get(name="Ann").delete()


def _raw_delete():
    reviews = Review.objects.all()
    reviews._raw_delete(reviews.db)


def _bulk_create_many():
    Genre.objects.bulk_create([Genre(name=str(number)) for number in range(300)], batch_size=90)


ORM_WRITES = {
    "create": lambda: Author.objects.create(name="New"),
    "save": _save,
    "save with an expression": _save_expression,
    "save of a child table's parent columns": _save_inherited,
    "create in a child table": lambda: Restaurant.objects.create(name="New"),
    "bulk_create": _bulk_create_many,
    "bulk_create, conflicts ignored": _ignore_conflicts,
    "bulk_create, conflicts updated": _upsert,
    "bulk_update": _bulk_update,
    "get_or_create": _get_or_create,
    "update_or_create": _update_or_create,
    "update": lambda: Book.objects.update(copies=F("copies") + 1),
    "update with a subquery": lambda: Review.objects.filter(book__author__name="Ann").update(stars=9),
    "update with a function": lambda: Genre.objects.update(name=Concat("name", Value("!"))),
    "update across a parent table": lambda: Restaurant.objects.update(name="x", serves_pizza=True),
    "update through a proxy": lambda: Novel.objects.update(copies=77),
    "update of a table with capitals": lambda: Upper.objects.update(label="b"),
    "delete of a queryset": lambda: Review.objects.filter(stars=1).delete(),
    "delete with related rows": _delete_parent,
    "delete of a child table's row": lambda: Restaurant.objects.get().delete(),
    "delete that keeps the parents": lambda: Restaurant.objects.get().delete(keep_parents=True),
    "fast delete": _raw_delete,
    "many to many, add": _m2m_add,
    "many to many, remove": lambda: Book.objects.get(title="Title 0").genres.remove(Genre.objects.first()),
    "many to many, set": lambda: Book.objects.get(title="Title 0").genres.set([Genre.objects.last()]),
    "many to many, clear": _m2m_clear,
    "many to many, from the other side": _m2m_reverse,
    "related manager": lambda: Author.objects.get(name="Bob").books.create(title="New"),
}


@pytest.mark.parametrize("write", [pytest.param(write, id=name) for name, write in ORM_WRITES.items()])
def test_orm(shop, write):
    with transaction.atomic():
        write()
        assert everything() != shop.before
        transaction.set_rollback(True)
    shop.assert_hit()

    write()

    shop.assert_fresh()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda: Author.objects.filter(pk=-1).update(name="x"), id="update of nothing"),
        pytest.param(lambda: Author.objects.filter(pk__in=[]).update(name="x"), id="update that never runs"),
    ],
)
def test_a_write_that_changes_nothing_leaves_the_right_answer(shop, write):
    write()

    shop.assert_fresh(changed=False)


def test_async_orm(shop):
    async def write():
        author = await Author.objects.aget(name="Ann")
        author.name = "Anna"
        await author.asave()
        await sync_to_async(connections.close_all)()

    async_to_sync(write)()

    shop.assert_fresh()


# Commands ---------------------------------------------------------------------------------


def test_loaddata(shop, tmp_path):
    path = tmp_path / "genres.json"
    path.write_text(json.dumps([{"model": "shop.genre", "pk": 987654, "fields": {"name": "From a file"}}]))
    call_command("loaddata", str(path), verbosity=0)

    shop.assert_fresh()


def test_flush(shop):
    # LegacyStock is unmanaged, so flush does not name it: rows that reference others would stop it.
    LegacyStock.objects.all().delete()
    call_command("flush", interactive=False, verbosity=0, inhibit_post_migrate=True, allow_cascade=True)

    shop.assert_fresh()
    assert not any(rows for rows in everything().values())


# Raw SQL ------------------------------------------------------------------------------------

_ONE_GENRE = "(SELECT id FROM shop_genre ORDER BY id LIMIT 1)"

RAW = {
    "UPDATE": "UPDATE shop_genre SET name = 'new'",
    "small letters": "update shop_genre set name = 'new'",
    "odd letters": "uPdAtE SHOP_GENRE SeT nAmE = 'new'" if ENGINE != "mysql" else "uPdAtE shop_genre SeT nAmE = 'new'",
    "white space": "\n\t \r\n UPDATE\n\tshop_genre\r\nSET\tname\n=\n'new'\n",
    "block comments": "/* a */ UPDATE /* shop_author */ shop_genre /* ' */ SET /* \" */ name = 'new' /* ; */",
    "line comments": "-- it's a comment\nUPDATE -- shop_author '\nshop_genre -- \"\nSET name = 'new' --",
    "a comment in a literal": "UPDATE shop_genre SET name = '/* -- ' WHERE name <> ' */'",
    "a statement in a literal": "UPDATE shop_genre SET name = 'x; DELETE FROM shop_author'",
    "a semicolon at the end": "UPDATE shop_genre SET name = 'new' ; ",
    "a doubled quote": "UPDATE shop_genre SET name = 'it''s /*'",
    "a quoted table": f"UPDATE {QUOTE}shop_genre{QUOTE} SET {QUOTE}name{QUOTE}='new'",
    "a quoted table with capitals": f"UPDATE {QUOTE}Shop_Upper{QUOTE} SET {QUOTE}Label{QUOTE} = 'new'",
    "no space after the name": f"INSERT INTO{QUOTE}shop_genre{QUOTE}(name)VALUES('new')",
    "an alias": "UPDATE shop_genre AS g SET name = 'new'",
    "a subquery": "UPDATE shop_book SET copies = (SELECT count(*) + 100 FROM shop_review)",
    "INSERT": "INSERT INTO shop_genre (name) VALUES ('new'), ('newer')",
    "INSERT … SELECT": "INSERT INTO shop_genre (name) SELECT name FROM shop_author WHERE active",
    "INSERT … SELECT from itself": "INSERT INTO shop_genre (name) SELECT name FROM shop_genre",
    "DELETE": "DELETE FROM shop_review",
    "DELETE with a subquery": "DELETE FROM shop_review WHERE book_id IN (SELECT id FROM shop_book WHERE copies < 2)",
    "DELETE that cascades in the database": "DELETE FROM legacy_stock",
    "a percent sign": "UPDATE shop_genre SET name = '100%%' WHERE name LIKE '%%r%%'",
}
RAW_SQLITE = {
    "a table in brackets": "UPDATE [shop_genre] SET [name] = 'new'",
    "a table in backticks": "UPDATE `shop_genre` SET `name` = 'new'",
    "a qualified table": "UPDATE main.shop_genre SET name = 'new'",
    "a qualified quoted table": 'UPDATE "main" . "shop_genre" SET name = \'new\'',
    "a comment that does not end": "UPDATE shop_genre SET name = 'new' /* to the end",
    "UPDATE OR IGNORE": "UPDATE OR IGNORE shop_genre SET name = 'new'",
    "UPDATE … FROM": "UPDATE shop_genre SET name = a.name FROM shop_author a WHERE a.name = 'Bob'",
    "INSERT OR REPLACE": f"INSERT OR REPLACE INTO shop_genre (id, name) VALUES ({_ONE_GENRE}, 'new')",
    "REPLACE": f"REPLACE INTO shop_genre (id, name) VALUES ({_ONE_GENRE}, 'new')",
    "REPLACE … SELECT": "REPLACE INTO shop_genre (id, name) SELECT id, name || '!' FROM shop_genre",
    "DEFAULT VALUES": "INSERT INTO shop_place (name) VALUES ('a') RETURNING id",
    "upsert": f"INSERT INTO shop_genre (id, name) VALUES ({_ONE_GENRE}, 'x')"
    " ON CONFLICT (id) DO UPDATE SET name = 'new'",
    "WITH … UPDATE": "WITH n AS (SELECT 'new' AS name) UPDATE shop_genre SET name = (SELECT name FROM n)",
    "WITH … DELETE": "WITH b AS (SELECT id FROM shop_book) DELETE FROM shop_review WHERE book_id IN (SELECT id FROM b)",
    "WITH … INSERT": "WITH n AS (SELECT 'new' AS name) INSERT INTO shop_genre (name) SELECT name FROM n",
    "WITH … REPLACE": "WITH n AS (SELECT 1 AS id) REPLACE INTO shop_genre (name) SELECT 'new' FROM n",
    "RETURNING": "UPDATE shop_genre SET name = 'new' RETURNING name",
    "a literal that ends in a backslash": "UPDATE shop_genre SET name = 'c:\\' WHERE name <> '\\'",
    "a string in double quotes": 'UPDATE shop_genre SET name = "new"',
}
RAW_POSTGRESQL = {
    "a qualified table": "UPDATE public.shop_genre SET name = 'new'",
    "a qualified quoted table": 'UPDATE "public" . "shop_genre" SET name = \'new\'',
    "a table with its database": "UPDATE {database}.public.shop_genre SET name = 'new'",
    "a unicode identifier": "UPDATE U&\"shop\\005fgenre\" SET name = 'new'",
    "nested comments": "/* a /* b */ c */ UPDATE shop_genre /* /* */ */ SET name = 'new'",
    "deeply nested comments": "/*" * 9 + "*/" * 9 + "UPDATE shop_genre SET name = 'new'",
    "UPDATE ONLY": "UPDATE ONLY shop_genre SET name = 'new'",
    "UPDATE with a star": "UPDATE shop_genre * SET name = 'new'",
    "UPDATE … FROM": "UPDATE shop_genre SET name = a.name FROM shop_author a WHERE a.name = 'Bob'",
    "DELETE … USING": "DELETE FROM shop_review r USING shop_book b WHERE b.id = r.book_id AND b.copies < 2",
    "DELETE ONLY": "DELETE FROM ONLY shop_review",
    "RETURNING": "DELETE FROM shop_review RETURNING id, stars",
    "upsert": f"INSERT INTO shop_genre (id, name) VALUES ({_ONE_GENRE}, 'x')"
    " ON CONFLICT (id) DO UPDATE SET name = 'new'",
    "MERGE": "MERGE INTO shop_genre g USING shop_author a ON a.name = g.name"
    " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (name) VALUES (a.name)",
    "WITH … MERGE": "WITH s AS (SELECT * FROM shop_author) MERGE INTO shop_genre g USING s ON false"
    " WHEN NOT MATCHED THEN INSERT (name) VALUES (s.name)",
    "TRUNCATE": "TRUNCATE shop_review",
    "TRUNCATE TABLE ONLY": "TRUNCATE TABLE ONLY shop_review RESTART IDENTITY",
    "TRUNCATE of several": "TRUNCATE shop_review, legacy_stock",
    "TRUNCATE … CASCADE": "TRUNCATE shop_book CASCADE",
    "TRUNCATE of a quoted table": 'TRUNCATE "Shop_Upper"',
    "a CTE that deletes": "WITH gone AS (DELETE FROM shop_review RETURNING *) SELECT count(*) FROM gone",
    "a CTE that inserts": "WITH n AS (INSERT INTO shop_genre (name) VALUES ('new') RETURNING name) SELECT * FROM n",
    "two CTEs that write": "WITH a AS (UPDATE shop_genre SET name = 'new' RETURNING 1),"
    " b AS (DELETE FROM shop_review RETURNING 1) SELECT 1",
    "a CTE that writes before a write": "WITH gone AS (DELETE FROM shop_review RETURNING book_id)"
    " UPDATE shop_book SET copies = 99 WHERE id IN (SELECT book_id FROM gone)",
    "several statements": "SELECT 1; UPDATE shop_genre SET name = 'new'; SELECT 2",
    "several writes": "UPDATE shop_genre SET name = 'new'; DELETE FROM shop_review",
    "a transaction in one text": "BEGIN; UPDATE shop_genre SET name = 'new'; COMMIT",
    "a setting and a write": "SET work_mem = '8MB'; UPDATE shop_genre SET name = 'new'",
    "DO": "DO $$ BEGIN UPDATE shop_genre SET name = 'new'; END $$",
    "DO with text put together": "DO $x$ BEGIN EXECUTE 'UPDATE shop_' || 'genre SET name = $y$new$y$'; END $x$",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE UPDATE shop_genre SET name = 'new'",
    "EXPLAIN (ANALYZE, …)": "EXPLAIN (COSTS OFF, ANALYZE, TIMING OFF) DELETE FROM shop_review",
    "PREPARE and EXECUTE": "PREPARE p AS UPDATE shop_genre SET name = 'new'; EXECUTE p; DEALLOCATE p",
    "a literal that ends in a backslash": "UPDATE shop_genre SET name = 'c:\\' WHERE name <> '\\'",
    "an escape string": "UPDATE shop_genre SET name = E'it\\'s /*'",
    "a dollar string": "UPDATE shop_genre SET name = $$it's -- $$ WHERE name <> $a$ $$ ' $a$",
    "a bit operator": "UPDATE shop_book SET copies = copies # 5 WHERE copies # 1 >= 0",
}
RAW_MYSQL = {
    "a qualified table": "UPDATE {database}.shop_genre SET name = 'new'",
    "a qualified quoted table": "UPDATE `{database}` . `shop_genre` SET name = 'new'",
    "hash comments": "# it's a comment\nUPDATE shop_genre # '\nSET name = 'new'",
    "an executable comment": "/*! UPDATE shop_genre SET name = 'new' */",
    "an executable comment with a version": "UPDATE /*!50000 shop_genre */ SET name = 'new'",
    "an executable comment of MariaDB": "/*M! UPDATE shop_genre SET name = 'new' */",
    "two hyphens that are no comment": "UPDATE shop_book SET copies = 5--copies",
    "a string in double quotes": 'UPDATE shop_genre SET name = "it\'s /*"',
    "an escaped quote": "UPDATE shop_genre SET name = 'it\\'s /*'",
    "UPDATE of two tables": "UPDATE shop_book b, shop_review r SET b.copies = 50, r.stars = 7 WHERE r.book_id = b.id",
    "UPDATE … JOIN": "UPDATE shop_author a JOIN shop_book b ON b.author_id = a.id SET b.copies = 50",
    "UPDATE LOW_PRIORITY IGNORE": "UPDATE LOW_PRIORITY IGNORE shop_genre SET name = 'new'",
    "DELETE of one table of two": "DELETE r FROM shop_review r JOIN shop_book b ON b.id = r.book_id",
    "DELETE of two tables": "DELETE r, s FROM shop_review r JOIN legacy_stock s ON s.book_id = r.book_id",
    "DELETE … USING": "DELETE FROM r USING shop_review r JOIN shop_book b ON b.id = r.book_id",
    "DELETE QUICK": "DELETE QUICK FROM shop_review",
    "INSERT … SET": "INSERT shop_genre SET name = 'new'",
    "INSERT without INTO": "INSERT IGNORE shop_genre (name) VALUES ('new')",
    "upsert": "INSERT INTO shop_genre (id, name) VALUES"
    " ((SELECT id FROM (SELECT min(id) AS id FROM shop_genre) g), 'x') ON DUPLICATE KEY UPDATE name = 'new'",
    "REPLACE": "REPLACE INTO shop_review (id, book_id, stars, text) SELECT id, book_id, 8, '' FROM shop_review",
    "REPLACE without INTO": "REPLACE shop_review SET id = 1, book_id = (SELECT min(id) FROM shop_book),"
    " stars = 8, text = ''",
    "TRUNCATE": "TRUNCATE shop_review",
    "TRUNCATE TABLE": "TRUNCATE TABLE `shop_review`",
    "PREPARE": "EXECUTE IMMEDIATE 'UPDATE shop_genre SET name = \"new\"'",
    "a compound statement": "BEGIN NOT ATOMIC UPDATE shop_genre SET name = 'new'; END",
    "IF": "IF 1 = 1 THEN UPDATE shop_genre SET name = 'new'; END IF",
    "ANALYZE": "ANALYZE FORMAT=JSON UPDATE shop_genre SET name = 'new'",
}
RAW |= {"sqlite": RAW_SQLITE, "postgresql": RAW_POSTGRESQL, "mysql": RAW_MYSQL}[ENGINE]

raw = pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in RAW.items()])


def _formatted(sql: str) -> str:
    return sql.replace("{database}", str(connection.settings_dict["NAME"]))


def _run(sql: str) -> None:
    with connection.cursor() as cursor:
        # With no parameters at all a percent sign stands for itself.
        cursor.execute(_formatted(sql), [] if "%%" in sql else None)


#: MySQL commits before and after these, PostgreSQL's is a transaction itself
_COMMITS = ("TRUNCATE", "ANALYZE") if ENGINE == "mysql" else ("BEGIN;",)


@raw
def test_raw_sql(shop, sql):
    if not sql.startswith(_COMMITS):
        with transaction.atomic():
            _run(sql)
            assert everything() != shop.before
            transaction.set_rollback(True)
        if analyse(_formatted(sql), connection.vendor).effect is Effect.OPAQUE:
            shop.assert_fresh(changed=False)  # a COMMIT could have been among it, so that it has invalidated everything
        else:
            shop.assert_hit()

    _run(sql)

    shop.assert_fresh()


@pytest.mark.parametrize("hide", [str.encode, type("Text", (str,), {})], ids=["bytes", "str subclass"])
@not_on_mysql
def test_other_kinds_of_text(shop, hide):
    if ENGINE == "sqlite" and hide is str.encode:
        pytest.skip("sqlite3 takes no bytes")
    with connection.cursor() as cursor:
        cursor.execute(hide("UPDATE shop_genre SET name = 'new'"))

    shop.assert_fresh()


def test_executemany(shop):
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE shop_author SET name = %s WHERE name = %s", [("X", "Ann"), ("Y", "Bob")])

    shop.assert_fresh()


def test_the_debug_cursor(shop, settings):
    settings.DEBUG = True
    execute("UPDATE shop_genre SET name = 'new'")

    shop.assert_fresh()


def test_a_wrapper_that_changes_the_statement(shop):
    def rewrite(run, sql, params, many, context):
        return run(sql.replace("nothing", "shop_genre SET name = 'new'"), params, many, context)

    with connection.execute_wrapper(rewrite):
        execute("UPDATE nothing")

    shop.assert_fresh()


def test_another_process(shop, other_process):
    other_process("tests.integration.reading.execute", "UPDATE shop_genre SET name = 'new'")

    shop.assert_fresh()


# What drivers can do beside execute() ----------------------------------------------------------


@only_sqlite
def test_sqlite_script(shop):
    with connection.cursor() as cursor:
        cursor.executescript("UPDATE shop_genre SET name = 'new'; DELETE FROM shop_review")

    shop.assert_fresh()


@only_sqlite
def test_sqlite_script_commits_the_open_transaction(shop):
    with transaction.atomic():
        Genre.objects.update(name="new")
        with connection.cursor() as cursor:
            cursor.executescript("SELECT 1")
            assert Genre.objects.using("plain").filter(name="new").exists()  # committed, whatever Django thinks
            shop.assert_fresh()
            cursor.execute("BEGIN")


@only_postgresql
def test_psycopg_composed(shop):
    from psycopg import sql

    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("UPDATE {} SET {} = {}").format(
                sql.Identifier("Shop_Upper"), sql.Identifier("Label"), sql.Literal("new")
            )
        )

    shop.assert_fresh()


@only_postgresql
@pytest.mark.parametrize("statement", ["text", "composed"])
@pytest.mark.parametrize("atomic", [False, True], ids=["autocommit", "atomic"])
def test_psycopg_copy_in(shop, statement, atomic):
    from contextlib import nullcontext

    from psycopg import sql

    text = "COPY shop_genre (name) FROM STDIN"
    if statement == "composed":
        text = sql.SQL("COPY {} (name) FROM STDIN").format(sql.Identifier("shop_genre"))
    with transaction.atomic() if atomic else nullcontext(), connection.cursor() as cursor, cursor.copy(text) as copy:
        copy.write_row(["new"])

    shop.assert_fresh()


@only_postgresql
def test_psycopg_copy_that_fails(shop):
    statement = "COPY shop_genre (name) FROM STDIN"
    with pytest.raises(ZeroDivisionError), connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write_row(["new"])
        raise ZeroDivisionError

    shop.assert_fresh(changed=False)


@only_postgresql
def test_psycopg_copy_out_retires_nothing(shop):
    with connection.cursor() as cursor, cursor.copy("COPY shop_genre TO STDOUT") as copy:
        assert list(copy.rows())

    shop.assert_hit()


@only_postgresql
def test_psycopg_streams_what_is_read_as_it_comes():
    with connection.cursor() as cursor:
        rows = cursor.stream("SELECT 12 / (3 - n) FROM generate_series(1, 1000000) AS n")
        assert [next(rows), next(rows)] == [(6,), (12,)]
        with pytest.raises(connection.Database.Error):
            next(rows)


@only_postgresql
def test_psycopg_stream(shop):
    with connection.cursor() as cursor:
        rows = list(cursor.stream("UPDATE shop_genre SET name = 'new' RETURNING name"))

    assert rows == [("new",), ("new",)]
    shop.assert_fresh()


@not_on_sqlite
def test_callproc(shop, ddl):
    if ENGINE == "postgresql":
        body = "LANGUAGE sql AS $$ UPDATE shop_genre SET name = 'new'; SELECT 1 $$"
        ddl(f"CREATE FUNCTION rename_all() RETURNS integer {body}", "DROP FUNCTION rename_all()")
    else:
        ddl("CREATE PROCEDURE rename_all() UPDATE shop_genre SET name = 'new'", "DROP PROCEDURE rename_all")
    with connection.cursor() as cursor:
        cursor.callproc("rename_all")

    shop.assert_fresh()


@not_on_sqlite
def test_call(shop, ddl):
    body = "LANGUAGE sql AS $$ UPDATE shop_genre SET name = 'new' $$" if ENGINE == "postgresql" else _UPDATE
    ddl(f"CREATE PROCEDURE rename_all() {body}", "DROP PROCEDURE rename_all")
    execute("CALL rename_all()")

    shop.assert_fresh()


_UPDATE = "UPDATE shop_genre SET name = 'new'"
_FUNCTION = {
    "postgresql": "CREATE FUNCTION renamed(n integer) RETURNS integer LANGUAGE plpgsql AS"
    " $$ BEGIN UPDATE shop_genre SET name = 'new'; RETURN n; END $$",
    "mysql": "CREATE FUNCTION renamed(n integer) RETURNS integer MODIFIES SQL DATA"
    " BEGIN UPDATE shop_genre SET name = 'new'; RETURN n; END",
}
CALLS = {
    "postgresql": [
        "SELECT renamed(1)",
        "SELECT RENAMED (1)",
        'SELECT "renamed"(1)',
        "SELECT public.renamed(1)",
        "SELECT * FROM renamed(1)",
        "VALUES (renamed(1))",
        "SELECT 1 WHERE (SELECT renamed(1)) = 1",
        "SELECT name FROM shop_author ORDER BY renamed(1)",
        "UPDATE shop_author SET active = (renamed(1) = 2)",
        "INSERT INTO shop_place (name) SELECT renamed(1)::text",
        "DELETE FROM shop_review WHERE id = renamed(-1)",
        "EXPLAIN ANALYZE SELECT renamed(1)",
        "COPY (SELECT renamed(1)) TO '/dev/null'",
        "CREATE TEMPORARY TABLE t AS SELECT renamed(1)",
        "SELECT renamed(1) INTO TEMPORARY t",
        "PREPARE p AS SELECT renamed(1); EXECUTE p; DEALLOCATE p",
        "DECLARE c CURSOR WITH HOLD FOR SELECT renamed(1); FETCH c; CLOSE c",
        "SELECT set_config('application_name', renamed(1)::text, false)",
        "SELECT query_to_xml('SELECT renamed(1)', true, true, '')",
        "SELECT coalesce(renamed(1), renamed(2))",
        "SELECT 1; SELECT renamed(1)",
    ],
    "mysql": [
        "SELECT renamed(1)",
        "SELECT RENAMED(1)",
        "SELECT `renamed`(1)",
        "SELECT {database}.renamed(1)",
        "DO renamed(1)",
        "SET @x = renamed(1)",
        "SET SESSION sort_buffer_size = 100000 + renamed(1)",
        "SELECT renamed(1) INTO @x",
        "SELECT 1 WHERE (SELECT renamed(1)) = 1",
        "INSERT INTO shop_place (name) SELECT renamed(1)",
        "UPDATE shop_author SET active = (renamed(1) = 2)",
        "CREATE TEMPORARY TABLE t AS SELECT renamed(1)",
        "ANALYZE SELECT renamed(1)",
        "EXECUTE IMMEDIATE 'SELECT renamed(1)'",
        "SHOW TABLES WHERE renamed(1) = 1",
        "VALUES (renamed(1))",
    ],
}


@not_on_sqlite
@pytest.mark.parametrize("sql", CALLS.get(ENGINE, []))
def test_a_function_that_writes(shop, ddl, sql):
    drop = "DROP FUNCTION renamed"
    ddl(_FUNCTION[ENGINE], drop)
    reading = Reading(shop._queries, everything)  # the schema has changed, which invalidates everything
    _run(sql)

    reading.assert_fresh()


# Several statements in one text ------------------------------------------------------------------


@only_postgresql
@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize(
    "before, params",
    [
        ("SELECT set_config('app.context', %s, true), set_config('app.user', %s, true)", ["a context", "7"]),
        ("SET LOCAL lock_timeout = '1s'", []),
        ("SELECT set_config('app.ignore', '{a,b}', true)", []),
    ],
)
def test_a_setting_in_front_of_a_write(queries, before, params, in_transaction):
    """As django-pghistory and django-pgtrigger put them there."""
    genres, authors = Reading(queries, rows_of(Genre)), Reading(queries, rows_of(Author))
    with transaction.atomic() if in_transaction else nullcontext():
        execute(f"{before}; UPDATE shop_genre SET name = %s WHERE name = %s", [*params, "new", "Prose"])

    with queries(1):
        assert genres.read() != genres.before
    authors.read()  # a custom setting is empty from now on and not missing: that is another session
    with queries(0):
        assert authors.read() == authors.before  # on the same connection, which is followed
    genres.assert_fresh()
    authors.assert_hit()


# Long writes -------------------------------------------------------------------------------------


def test_an_insert_of_a_megabyte(queries):
    genres, authors = Reading(queries, rows_of(Genre)), Reading(queries, rows_of(Author))
    rows = ", ".join(f"('{'its; a ' * 6}', {number})" for number in range(30_000))
    assert len(rows) > 1 << 20

    execute(
        f"INSERT INTO shop_genre (name, id) SELECT v.* FROM (VALUES {rows}) v WHERE 1 = 2"
        if ENGINE != "mysql"
        else f"INSERT IGNORE INTO shop_genre (name, id) VALUES {rows}"
    )

    genres.assert_fresh(changed=ENGINE == "mysql")
    authors.assert_hit()


@pytest.mark.slow
def test_an_update_of_thousands_of_rows(queries):
    number = 6000 if ENGINE != "sqlite" else 900  # as many parameters as SQLite takes at once
    Genre.objects.bulk_create([Genre(name=f"genre {n}") for n in range(number)])
    genres, authors = Reading(queries, rows_of(Genre)), Reading(queries, rows_of(Author))

    rows = list(Genre.objects.using("plain").all())
    for row in rows:
        row.name += "!"
    with transaction.atomic():
        Genre.objects.bulk_update(rows, ["name"])

    genres.assert_fresh()
    authors.assert_hit()
