"""A write that no store could be notified of outlives the process that made it."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from ormcache.database.outbox import Outbox
from ormcache.diagnostics.health.examination import examine
from ormcache.exceptions import StoreUnavailable
from ormcache.models import OutboxEntry
from ormcache.outside.connections import own_connections
from ormcache.outside.outbox import OutboxSettler, outbox_settler
from tests import environment
from tests.integration.calls import add, add_atomically, is_cached, names, run
from tests.integration.outside.writers import NOWHERE
from tests.shop.models import Author
from tests.waiting import eventually

ENGINE = environment.current().engine
WRITE = "tests.integration.outside.writers.write_cut_off"
ADDED = "after:ormcache.write_path.outbox_writer.OutboxWriter.add"
OVER = "before:ormcache.write_path.outbox_writer.OutboxWriter.end"


@pytest.fixture(autouse=True)
def _store(configure):
    configure(STORE="redis", CACHE="redis", LOCAL_SIZE=0, LEASE=30, OUTBOX_INTERVAL=3600)
    yield
    own_connections.close_all()


@pytest.fixture
def settler():
    return OutboxSettler()


@pytest.fixture(params=["add", "add_atomically"])
def function(request):
    return request.param


@pytest.fixture
def cut_off():
    """The process of the test has no store."""
    caches = settings.CACHES | {"redis": settings.CACHES["redis"] | {"LOCATION": NOWHERE}}
    with override_settings(CACHES=caches, ORMCACHE={}):
        yield
    connections.close_all()


def left():
    return sorted(OutboxEntry.objects.using("plain").values_list("relation", flat=True))


def is_hit(read):
    counters = connection.ormcache.observer.counters
    before = counters.snapshot()["hits"]
    read()
    return counters.snapshot()["hits"] > before


def databases():
    names()
    return {"default": connection.ormcache.database}


def killed_after(other_process, function, stop="written"):
    writer = other_process.start(WRITE, function, "A", stops=[stop])
    writer.wait_for(stop)
    writer.kill()


# What dies with a process, and what does not -----------------------------------------------------


def test_a_writer_that_is_killed_leaves_its_write_to_others(other_process, settler, function):
    assert is_cached(names)
    known = databases()
    killed_after(other_process, function)
    assert "shop_author" in left()
    settler.run(known)

    assert names() == ["A"]
    assert left() == []
    assert is_cached(names)


def test_so_does_one_that_is_killed_before_it_knows_that_its_statement_is_over(other_process, settler, function):
    """Its row may still stand there as that of an unfinished write, for which nothing is stored."""
    assert is_cached(names)
    known = databases()
    killed_after(other_process, function, OVER)
    settler.run(known)
    assert names() == names() == ["A"]
    settler.run(known)
    assert names() == names() == ["A"]


def test_the_row_of_a_statement_that_is_not_visible_yet_stays(other_process, settler):
    """Deleted then, it would be lost with the process."""
    assert is_cached(names)
    known = databases()
    writer = other_process.start(WRITE, "add", "A", stops=[ADDED, OVER])
    writer.wait_for(ADDED)
    settler.run(known)
    assert names() == names() == []
    settler.run(known)
    assert "shop_author" in left()
    writer.go()
    writer.wait_for(OVER)
    writer.kill()

    assert names() == names() == ["A"]


def test_the_next_process_reads_the_outbox_first(other_process, function):
    names()
    killed_after(other_process, function)

    assert other_process.start("tests.integration.calls.names").result() == ["A"]
    assert left() == []


@pytest.mark.skipif(ENGINE != "sqlite", reason="the same with any engine")
def test_the_thread_reads_it_every_two_seconds(other_process, configure):
    configure(OUTBOX_INTERVAL=2)
    connections.close_all()
    assert is_cached(names)
    assert outbox_settler.interval(databases()) == 2
    killed_after(other_process, "add")

    eventually(lambda: names() == ["A"])


def test_nothing_is_deleted_before_the_store_has_answered(other_process, cut_off):
    databases()
    outbox = connection.ormcache.database.outbox
    other_process.start(WRITE, "add", "A").result()
    before = left()
    with pytest.raises(StoreUnavailable):
        outbox.settle(connection.connection, lambda delete: delete())

    assert "shop_author" in before
    assert left() == before


def test_one_process_reads_for_all(settler, monkeypatch):
    known, reads = databases(), []
    monkeypatch.setattr(Outbox, "settle", lambda self, *args: reads.append(self))
    for one in (settler, OutboxSettler(), settler, OutboxSettler()):
        one.run(known)

    assert len(reads) == 2


def test_a_process_whose_store_answers_again_reads_it_too(settler, monkeypatch):
    known, other, reads = databases(), OutboxSettler(), []
    monkeypatch.setattr(Outbox, "settle", lambda self, *args: reads.append(self))
    settler.run(known)
    other.run(known)
    assert len(reads) == 1
    store = known["default"].stamps.store
    store._record_failure(OSError("cut"), 0)
    other.run(known)

    assert len(reads) == 2


def test_a_relation_that_nobody_knows_stands_for_everything():
    """Of a trigger that was made for a table which has another name by now, or views above it."""
    assert is_cached(names)
    OutboxEntry.objects.using("plain").create(relation="gone")
    connection.ormcache.database.outbox.settle(connection.connection, lambda delete: delete())

    assert not is_hit(names)
    assert left() == []


# What is written when -----------------------------------------------------------------------------


def test_nothing_is_written_while_all_is_well(function):
    {"add": add, "add_atomically": add_atomically}[function]("A")

    assert left() == []


def test_what_is_rolled_back_leaves_nothing(cut_off):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        add("A")
        raise ZeroDivisionError

    assert left() == []


def test_the_statements_on_the_outbox_are_not_logged(cut_off, function):
    names()
    with CaptureQueriesContext(connection) as captured:
        {"add": add, "add_atomically": add_atomically}[function]("A")

    assert "shop_author" in left()
    assert not [query for query in captured if "outbox" in query["sql"].lower()]
    assert names("plain") == ["A"]


REJECT = {
    "sqlite": (
        "CREATE TRIGGER rejecting BEFORE INSERT ON ormcache_outbox BEGIN SELECT RAISE(ABORT, 'no'); END",
        "DROP TRIGGER rejecting",
    ),
    "postgresql": (
        "ALTER TABLE ormcache_outbox ADD CONSTRAINT rejecting CHECK (relation = '') NOT VALID",
        "ALTER TABLE ormcache_outbox DROP CONSTRAINT rejecting",
    ),
    "mysql": (
        "ALTER TABLE ormcache_outbox ADD CONSTRAINT rejecting CHECK (relation = '')",
        "ALTER TABLE ormcache_outbox DROP CONSTRAINT rejecting",
    ),
}


def test_an_outbox_that_takes_nothing_fails_no_write(cut_off, function):
    reject, accept = REJECT[ENGINE]
    run(reject, using="plain")
    try:
        {"add": add, "add_atomically": add_atomically}[function]("A")
    finally:
        run(accept, using="plain")

    assert names() == names("plain") == ["A"]
    assert left() == []


def test_without_the_table_a_write_is_as_it_would_be(cut_off, function):
    run("ALTER TABLE ormcache_outbox RENAME TO elsewhere", using="plain")
    try:
        {"add": add, "add_atomically": add_atomically}[function]("A")
    finally:
        run("ALTER TABLE elsewhere RENAME TO ormcache_outbox", using="plain")

    assert names() == names("plain") == ["A"]


@pytest.mark.skipif(ENGINE != "postgresql", reason="of psycopg")
def test_nothing_is_written_in_a_pipeline(cut_off):
    names()
    with connection.cursor() as cursor, cursor.connection.pipeline():
        cursor.execute("INSERT INTO shop_author (name, active) VALUES ('A', true)")

    assert names("plain") == ["A"]
    assert left() == []


@pytest.mark.skipif(ENGINE != "mysql", reason="of MySQL")
def test_the_number_of_the_last_row_is_kept(cut_off):
    names()
    with transaction.atomic():
        author = Author.objects.create(name="A")
    with connection.cursor() as cursor:
        cursor.execute("SELECT LAST_INSERT_ID()")
        assert cursor.fetchone() == (author.pk,)


def test_after_the_outage_the_process_itself_empties_it(function, settler):
    caches = settings.CACHES | {"redis": settings.CACHES["redis"] | {"LOCATION": NOWHERE}}
    with override_settings(CACHES=caches, ORMCACHE={}):
        {"add": add, "add_atomically": add_atomically}[function]("A")
        assert "shop_author" in left()
    connections.close_all()  # the next one is told that the settings have changed, and connects for the first time

    assert names() == ["A"]
    assert left() == []


# What people are shown ---------------------------------------------------------------------------------


def findings():
    return [one for one in examine(["default"], rounds=1).databases[0].findings if one.about == "outbox"]


def test_the_command_shows_what_stands_in_it():
    assert findings() == []
    OutboxEntry.objects.create(relation="shop_author")
    (found,) = findings()
    assert found.level == "warning"
    assert "shop_author" in found.text


def test_the_command_shows_that_the_table_is_missing():
    run("ALTER TABLE ormcache_outbox RENAME TO elsewhere", using="plain")
    try:
        (found,) = findings()
    finally:
        run("ALTER TABLE elsewhere RENAME TO ormcache_outbox", using="plain")
    assert found.hint == "Run migrate on this database."


# The table itself -----------------------------------------------------------------------------------


def test_the_outbox_is_never_cached_and_invalidates_nothing():
    assert is_cached(names)
    stamps = connection.ormcache.database.stamps
    slots = connection.ormcache.database.slots
    before = stamps.store.look_up(None, [slots.epoch])
    OutboxEntry.objects.create(relation="shop_author")
    assert not is_cached(lambda: list(OutboxEntry.objects.values_list("relation", flat=True)))

    assert stamps.store.look_up(None, [slots.epoch]) == before
    assert stamps.store.look_up(None, slots.names(frozenset({"ormcache_outbox"})))[1] == [None, None]
    assert is_cached(names)


def test_the_migration_is_complete():
    with override_settings(MIGRATION_MODULES={}):
        call_command("makemigrations", "ormcache", check=True, dry_run=True, verbosity=0)
