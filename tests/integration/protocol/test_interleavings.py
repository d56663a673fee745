"""Readers and writers in every order that matters, each forced at a named point."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

import ormcache
from tests import environment
from tests.integration import actors
from tests.integration.actors import Actor
from tests.integration.calls import add, add_atomically, genres, is_cached, names, run
from tests.shop.models import Author, Genre, Place, Upper

pytestmark = pytest.mark.usefixtures("interleaved")


@pytest.fixture(params=[add, add_atomically], ids=["autocommit", "atomic"])
def write(request):
    return request.param


def do_anything():
    """What a stored procedure is to the cache."""
    with connection.cursor():
        connection.ormcache_writes.driver_calls.run(lambda: None, None)


def rejected(reason):
    return connection.ormcache.observer.counters.snapshot()["rejected"].get(reason, 0)


# One reader, one writer ---------------------------------------------------------


@pytest.mark.parametrize("point", ["after look_up", "before query", "after query", "before put"])
@pytest.mark.parametrize("empty", [True, False], ids=["empty slots", "stamped slots"])
def test_a_slow_reader_against_a_committing_writer(point, empty, write):
    if not empty:
        Author.objects.filter(name="nobody").exists()
    reader = Actor(names).to(point)
    write("A")
    reader.finish()

    assert names() == ["A"]
    assert is_cached(names)


def test_a_reader_that_looked_before_and_queries_after_gets_the_new_rows(write):
    reader = Actor(names).to("before query")
    write("A")

    assert reader.finish() == ["A"]


def test_a_reader_before_it_fills_meets_the_mark(write):
    """An empty slot is filled only if it still is empty."""
    reader = Actor(names).to("before fill")
    writer = Actor(lambda: write("A")).to("after mark")
    before = rejected("marked")

    assert reader.finish() == []
    assert rejected("marked") == before + 1
    writer.finish()
    assert names() == ["A"]


def test_a_reader_between_mark_and_commit(write):
    names()
    writer = Actor(lambda: write("A")).to("after mark")
    before = rejected("marked")

    assert Actor(names).finish() == []
    assert rejected("marked") == before + 1
    writer.finish()
    assert names() == ["A"]
    assert is_cached(names)


def test_a_reader_between_commit_and_settle(write):
    names()
    writer = Actor(lambda: write("A")).to("before settle")
    before = rejected("marked")

    assert names() == ["A"]  # visible to the database, and so to every reader
    assert rejected("marked") == before + 1
    writer.finish()
    assert is_cached(names)
    assert names() == ["A"]


def test_a_reader_all_around_a_writer(write):
    """Its vector is from before the mark, its entry arrives after the settling."""
    names()
    add("0")
    reader = Actor(names).to("before put")
    writer = Actor(lambda: write("A")).to("after mark")
    writer.to("before settle")
    reader.finish()

    assert names() == ["0", "A"]
    writer.finish()
    assert names() == ["0", "A"]


def test_a_reader_in_the_midst_of_an_autocommit_statement():
    """A statement with RETURNING is over for SQLite only when its rows are fetched."""
    names()
    writer = Actor(lambda: add("A")).to("after execute")
    Actor(names).finish()
    writer.finish()

    assert names() == ["A"]


def test_a_raw_statement_with_returning_is_over_when_execute_returns(engine):
    if engine == "mysql":
        sql = "INSERT INTO shop_genre (name) VALUES ('A') RETURNING id, name"
    else:
        sql = "INSERT INTO shop_genre (name) VALUES ('A'), ('B') RETURNING id, name"
    genres()
    with connection.cursor() as cursor:
        cursor.execute(sql)
        expected = genres("plain")
        assert Actor(genres).finish() == expected != []
        assert [name for _, name in cursor] == expected
        assert cursor.fetchone() is None
        cursor.execute("SELECT name FROM shop_genre ORDER BY name")
        assert cursor.fetchone() == ("A",)
        assert len(cursor.fetchmany(5)) == len(expected) - 1
    assert genres() == expected


def test_readers_fill_one_slot_with_one_stamp():
    first, second = Actor(names).to("before fill"), Actor(names).to("before fill")
    first.finish()
    second.finish()

    assert is_cached(names)
    before = connection.ormcache.observer.counters.snapshot()["hits"]
    assert names() == []
    assert connection.ormcache.observer.counters.snapshot()["hits"] == before + 1


def test_a_write_to_another_relation_disturbs_nobody(queries):
    genres()
    writer = Actor(lambda: add_atomically("A")).to("after mark")

    with queries(0):
        assert genres() == []
    writer.finish()
    with queries(0):
        assert genres() == []


# Two writers ----------------------------------------------------------------------


@pytest.mark.parametrize("first_to_settle", [0, 1])
def test_two_writers_of_one_relation_merge_their_marks(first_to_settle, engine):
    """Who settles first must not take away the mark of the other one."""
    names()
    if engine == "sqlite":  # one writer at a time, so the first one is past its COMMIT
        one = Actor(lambda: add_atomically("A")).to("before settle")
        two = Actor(lambda: add_atomically("B")).to("after mark")
        committed = ["A"]
    else:
        one = Actor(lambda: add_atomically("A")).to("after mark")
        two = Actor(lambda: add_atomically("B")).to("after mark")
        committed = []
    early, late = (one, two) if first_to_settle == 0 else (two, one)
    committed = sorted({*committed, "A" if early is one else "B"})
    early.finish()

    slow = Actor(names).to("after query")  # between the other one's mark and its settling
    assert slow.finish() == committed
    if late.at != "before settle":
        late.to("before settle")
    assert names() == ["A", "B"]
    late.finish()
    assert is_cached(names)
    assert names() == ["A", "B"]


def test_a_writer_of_all_and_a_writer_of_one():
    names()
    opaque = Actor(ormcache.invalidate).to("before settle")
    writer = Actor(lambda: add_atomically("A")).to("after mark")
    opaque.finish()

    assert names() == []
    writer.finish()
    assert names() == ["A"]


def test_readers_while_the_epoch_is_marked():
    """Reads go to the database; the catalog is neither doubted nor read again and again."""
    names()
    writer = Actor(do_anything).to("after mark")
    assert names() == []
    assert genres() == []
    assert not is_cached(names)
    writer.finish()
    assert is_cached(names)


def test_readers_while_a_schema_change_commits():
    names()
    writer = Actor(lambda: run("CREATE TABLE born_meanwhile (id integer)")).to("after mark")
    try:
        assert names() == []
        writer.to("before settle")
        assert names() == []
        assert not is_cached(names)
        writer.finish()
        assert is_cached(names)
    finally:
        writer.finish()
        run("DROP TABLE born_meanwhile")


# One reader that is a writer as well ------------------------------------------------


def test_own_writes_are_read_from_the_database_until_the_end(engine):
    names()
    with transaction.atomic():
        Author.objects.create(name="A")
        assert names() == ["A"]
        assert Actor(names).finish() == []
        assert names() == ["A"]
    assert names() == ["A"]
    assert Actor(names).finish() == ["A"]


def test_what_a_transaction_read_of_its_own_is_never_kept():
    """Also where a reader of another connection comes in between."""
    names()

    def write_and_fail():
        with transaction.atomic():
            Author.objects.create(name="A")
            assert names() == ["A"]
            actors.reach("written")
            raise ZeroDivisionError

    writer = Actor(write_and_fail).to("written")
    assert names() == []
    with pytest.raises(ZeroDivisionError):
        writer.finish()
    assert names() == []


def test_a_transaction_reads_others_from_the_cache(engine, queries):
    genres()
    with transaction.atomic():
        with queries(0):
            assert genres() == []
        if engine == "sqlite":
            return  # it sees what it began with, and in this journal mode keeps others from writing
        Actor(lambda: Genre.objects.create(name="G")).finish()
        assert genres() == ["G"]
        assert Actor(genres).finish() == ["G"]
    assert genres() == ["G"]


# The schema changes between planning and running -------------------------------------


FIRES = "CREATE TRIGGER shop_fires AFTER INSERT ON shop_author"
INSERT = "INSERT INTO shop_genre (name) VALUES (new.name)"
FUNCTION = f"""
    CREATE FUNCTION shop_fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {INSERT}; RETURN new; END $$
"""
TRIGGER = {
    "sqlite": [f"{FIRES} BEGIN {INSERT}; END"],
    "postgresql": [FUNCTION, f"{FIRES} FOR EACH ROW EXECUTE FUNCTION shop_fires()"],
    "mysql": [f"{FIRES} FOR EACH ROW {INSERT}"],
}


@pytest.fixture
def trigger(engine):
    def create():
        for statement in TRIGGER[engine]:
            run(statement)

    yield create
    connection.close()
    on = " ON shop_author" if engine == "postgresql" else ""
    run(f"DROP TRIGGER shop_fires{on}", using="plain")
    if engine == "postgresql":
        run("DROP FUNCTION shop_fires", using="plain")


def test_a_trigger_made_after_a_statement_was_planned(trigger, write):
    genres(), names()
    writer = Actor(lambda: write("A")).to("before write")
    trigger()
    assert is_cached(genres)
    writer.finish()

    assert genres() == genres("plain") == ["A"]


def test_a_trigger_made_by_another_process(trigger, write, engine):
    genres(), names()
    writer = Actor(lambda: write("A")).to("before write")
    trigger()
    genres()
    connection.ormcache.database.catalog_cache.forget()
    writer.finish()

    assert genres() == genres("plain") == ["A"]


@pytest.mark.skipif(environment.current().engine == "sqlite", reason="sqlite has no such thing")
def test_the_catalog_is_not_read_in_a_snapshot_by_the_options(trigger, engine, monkeypatch):
    """It would be older than the version that it is filed under."""
    if engine == "postgresql":
        from django.db.backends.postgresql.psycopg_any import IsolationLevel

        level = IsolationLevel.REPEATABLE_READ
    else:
        level = "repeatable read"
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "isolation_level", level)
    genres()
    with transaction.atomic():
        Place.objects.count()  # takes the snapshot
        Actor(trigger).finish()
        connection.ormcache.database.catalog_cache.forget()
        Upper.objects.create(label="A")
    assert Actor(lambda: is_cached(genres)).finish()
    Actor(lambda: add("B")).finish()
    assert genres() == genres("plain") == ["B"]
