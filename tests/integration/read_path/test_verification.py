"""``ENABLED = "observe"`` and ``VERIFY``: hits that are held against the database."""

from __future__ import annotations

import logging
import random
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Avg, Count, Q, Window
from django.db.models.functions import RowNumber

import ormcache
from ormcache import reasons, signals
from ormcache.connection.compiler import CachedCompiler
from ormcache.context.switch import Mode
from ormcache.read_path import verification
from ormcache.telemetry import Tally
from ormcache.testing import override_cache
from tests.integration.calls import count_anew
from tests.integration.reading import ENGINE, execute, in_thread, shown_on_sqlite
from tests.shop.models import Author, Book, Genre

STORES = ["embedded", "redis", "memcached"]
OBSERVE, VERIFY = {"ENABLED": "observe"}, {"VERIFY": 1}


@pytest.fixture(autouse=True)
def _rows() -> None:
    for name in ("Prose", "Verse"):
        Genre.objects.create(name=name)


@pytest.fixture(params=[OBSERVE, VERIFY], ids=["observe", "verify"])
def compared(request, configure) -> None:
    """Every hit is compared."""
    configure(**request.param, ADAPTIVE=False)
    count_anew()


def names() -> list[str]:
    return list(Genre.objects.order_by("pk").values_list("name", flat=True))


def total() -> Tally:
    return connection.ormcache.observer.counters.total()


def counts() -> tuple[int, int, int, int]:
    """Hits, those whose query ran, those that were verified, and violations."""
    tally = total()
    return tally.hits, tally.compared, tally.verified, tally.violations


def write_outside(sql: str) -> None:
    """Write as a program that knows nothing of ormcache."""
    if ENGINE == "sqlite":
        with sqlite3.connect(settings.DATABASES["default"]["NAME"]) as other:
            other.execute(sql)
        other.close()
    else:
        execute(sql, using="plain")


@contextmanager
def before_each_query(monkeypatch: Any, call: Callable[[], Any]) -> Iterator[None]:
    """Do something between the look-up and the query, and nothing in queries that this makes itself."""
    read_uncached, inside = CachedCompiler.read_uncached, []

    def first(self: Any, *args: Any) -> Any:
        if not inside:
            inside.append(True)
            call()
        return read_uncached(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(CachedCompiler, "read_uncached", first)
        yield


# What is served, and what is counted --------------------------------------------------------


def test_reads_always_go_to_the_database(configure, queries):
    configure(**OBSERVE)
    count_anew()
    with queries(3):
        for _ in range(3):
            assert names() == ["Prose", "Verse"]
    tally = total()
    assert (tally.hits, tally.misses, tally.observed, tally.stored) == (2, 1, 2, 1)
    assert counts() == (2, 2, 2, 0)
    assert tally.compared_seconds > 0
    assert tally.hit_seconds > 0
    # What would have been saved is what the database took.
    assert tally.saving_hits == 2
    assert connection.ormcache.observer.counters.saved_seconds() > 0
    by_relation = connection.ormcache.observer.counters.tally_by_relation()
    assert by_relation["shop_genre"].verified == 2


def test_writes_invalidate_as_ever(compared):
    names()
    names()
    Genre.objects.filter(name="Prose").update(name="Drama")
    assert names() == names() == ["Drama", "Verse"]
    assert total().missed.get("invalidated") == 1
    assert total().violations == 0


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("local", [0, 2**20], ids=["store", "process"])
def test_an_outside_write_is_found_and_ended(store, local, configure, compared):
    configure(STORE=store, CACHE="default" if store == "embedded" else store, LOCAL_SIZE=local)
    count_anew()
    assert names() == names() == ["Prose", "Verse"]
    write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")
    assert names() == ["Drama", "Verse"]  # what the database answers
    assert counts() == (2, 2, 2, 1)
    # It was invalidated: another process would not be served it either.
    assert names() == names() == ["Drama", "Verse"]
    assert counts() == (3, 3, 3, 1)
    assert total().missed.get("invalidated") == 1
    assert [event.kind for event in connection.ormcache.observer.counters.events()][-1] == "violation"


def test_a_result_by_row_is_ended_too(configure, compared):
    configure(ROWS="always")
    key = Genre.objects.get(name="Prose").pk
    assert [Genre.objects.get(pk=key).name for _ in range(2)] == ["Prose"] * 2
    write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")
    assert [Genre.objects.get(pk=key).name for _ in range(3)] == ["Drama"] * 3
    assert total().row_hits == 3
    assert total().violations == 1


def test_one_row_and_none(compared):
    def asked() -> tuple[Any, ...]:
        return Genre.objects.filter(name="Prose").exists(), Genre.objects.aggregate(n=Count("pk"))["n"]

    assert asked() == asked() == (True, 2)
    write_outside("DELETE FROM shop_genre WHERE name = 'Prose'")
    assert asked() == (False, 1)
    # The first one has ended the other result as well.
    assert counts() == (3, 3, 3, 1)
    assert asked() == asked() == (False, 1)


def test_chunks(compared):
    def read() -> list[str]:
        return [genre.name for genre in Genre.objects.order_by("pk").iterator(chunk_size=5)]

    assert read() == read() == ["Prose", "Verse"]
    assert counts() == (1, 1, 1, 0)
    for number in range(12):
        write_outside(f"INSERT INTO shop_genre (name) VALUES ('{number}')")
    assert len(read()) == 14  # however many there are, all are returned
    assert total().violations == 1


# Races ----------------------------------------------------------------------------------------


def test_a_write_between_the_look_up_and_the_query(compared, monkeypatch):
    names()
    rename = lambda: in_thread(lambda: Genre.objects.filter(name="Prose").update(name="Drama"))  # noqa: E731
    with before_each_query(monkeypatch, rename):
        assert names() == ["Drama", "Verse"]
    assert counts() == (1, 1, 0, 0)


def test_a_write_that_is_marked_and_not_settled(compared, monkeypatch):
    """It is visible already when the query runs, and its writer has not come back from COMMIT."""
    names()
    database = connection.ormcache.known()

    def commit() -> None:
        database.stamps.mark(database.slots.names(frozenset({"shop_genre"})))
        write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")

    with before_each_query(monkeypatch, commit):
        assert names() == ["Drama", "Verse"]
    assert counts() == (1, 1, 0, 0)


def test_an_outside_write_between_them_is_found(compared, monkeypatch):
    """It is no race of ormcache's: nobody has marked it, and the result is wrong from now on."""
    names()
    outside = lambda: write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")  # noqa: E731
    with before_each_query(monkeypatch, outside):
        assert names() == ["Drama", "Verse"]
    assert counts() == (1, 1, 1, 1)


def test_a_store_that_is_away_after_the_query(compared, monkeypatch):
    names()
    database = connection.ormcache.known()

    def away(*args: Any) -> bool:
        raise ormcache.StoreUnavailable("away")

    write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")
    with monkeypatch.context() as patched:
        patched.setattr(type(database), "still_holds", away)
        assert names() == ["Drama", "Verse"]
    assert counts() == (1, 1, 0, 0)


def test_own_writes_are_compared_with_nothing(compared):
    names()
    with transaction.atomic():
        Genre.objects.filter(name="Prose").update(name="Drama")
        assert names() == ["Drama", "Verse"]
        assert total().bypassed == {reasons.DIRTY: 1}
        transaction.set_rollback(True)
    assert names() == ["Prose", "Verse"]
    assert total().violations == 0


def test_a_write_of_the_same_transaction_between_them(compared, monkeypatch):
    names()
    names()
    count_anew()
    with transaction.atomic():
        names()  # SQLite: from now on it has a snapshot
        rename = lambda: execute("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")  # noqa: E731
        with before_each_query(monkeypatch, rename):
            assert names() == ["Drama", "Verse"]
        transaction.set_rollback(True)
    assert total().violations == 0


def test_a_snapshot(compared):
    """What another connection commits meanwhile is not what this transaction sees."""
    names()
    names()
    if ENGINE == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = WAL")
    try:
        with transaction.atomic():
            before = names()
            in_thread(lambda: Genre.objects.filter(name="Prose").update(name="Drama"))
            after = names()
            assert before == ["Prose", "Verse"]
            assert after in (before, ["Drama", "Verse"])
        assert total().violations == 0
        assert names() == names() == ["Drama", "Verse"]
        assert total().violations == 0
    finally:
        if ENGINE == "sqlite":
            connection.close()
            execute("PRAGMA journal_mode = DELETE", using="plain")


SETTING = {
    "sqlite": "PRAGMA case_sensitive_like = ON",
    "postgresql": "SET DateStyle = 'German'",
    "mysql": "SET SESSION sql_select_limit = 1",
}


def test_a_session_that_is_changed_between_them(compared, monkeypatch):
    """It would not have been served that result."""
    names()

    def change() -> None:
        execute(SETTING[ENGINE])
        write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")

    with before_each_query(monkeypatch, change):
        assert names()[0] == "Drama"
    assert counts() == (1, 1, 0, 0)
    connection.close()


def test_another_database_between_them(compared, monkeypatch):
    """The connection leads to another server by the time that the query has run."""
    names()
    write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")
    difference, state = verification.difference, connection.ormcache

    def moved(*args: Any) -> Any:
        monkeypatch.setattr(state, "known", lambda: None)
        return difference(*args)

    monkeypatch.setattr(verification, "difference", moved)
    assert names() == ["Drama", "Verse"]
    monkeypatch.undo()
    assert counts() == (1, 1, 0, 0)


def test_a_replica_may_be_behind(compared, monkeypatch):
    names()
    database = connection.ormcache.known()
    monkeypatch.setattr(database, "server", replace(database.server, replica=True))
    write_outside("UPDATE shop_genre SET name = 'Drama' WHERE name = 'Prose'")
    assert names() == ["Drama", "Verse"]
    assert counts() == (1, 1, 0, 0)


def test_errors_of_the_database_go_through(compared):
    names()
    execute(f"ALTER TABLE shop_genre RENAME TO {'shop_moved'}", using="plain")
    try:
        with pytest.raises(Exception, match="shop_genre"):
            names()
    finally:
        execute("ALTER TABLE shop_moved RENAME TO shop_genre", using="plain")
    assert counts() == (1, 0, 0, 0)
    assert names() == ["Prose", "Verse"]


# What a query does not determine ---------------------------------------------------------------


@contextmanager
def answers(monkeypatch: Any, change: Callable[[list[Any]], list[Any]]) -> Iterator[None]:
    """Let the database answer with other rows."""
    read_uncached = CachedCompiler.read_uncached

    def changed(self: Any, *args: Any) -> Any:
        found = read_uncached(self, *args)
        return [change([row for rows in found for row in rows])] if args[1] == "multi" else change([found])[0]

    with monkeypatch.context() as patched:
        patched.setattr(CachedCompiler, "read_uncached", changed)
        yield


@pytest.mark.parametrize(
    "read, change, found",
    [
        # The order
        (lambda: Genre.objects.order_by().values_list("name"), lambda rows: rows[::-1], 0),
        (lambda: Genre.objects.order_by("name").values_list("name"), lambda rows: rows[::-1], 0),
        (lambda: Genre.objects.order_by("-pk").values_list("name"), lambda rows: rows[::-1], 1),
        # Rows behind a LIMIT
        (lambda: Genre.objects.order_by("name").values_list("name")[:1], lambda rows: [("Drama",)], 0),
        (lambda: Genre.objects.order_by("name").values_list("name")[:5], lambda rows: [("Drama",)] * 2, 1),
        (lambda: Genre.objects.order_by("name").values_list("name")[:1], lambda rows: [], 1),
        (lambda: Genre.objects.order_by("name", "pk").values_list("name")[:1], lambda rows: [("Drama",)], 1),
        (lambda: Genre.objects.filter(pk__in=Genre.objects.all()[:1]), lambda rows: rows * 2, 0),
        (lambda: Genre.objects.filter(pk=1).union(Genre.objects.all())[:1], lambda rows: [(9, "Drama")], 0),
        # Joins that repeat rows
        (lambda: Genre.objects.order_by("pk").values_list("books__title"), lambda rows: rows[::-1], 0),
        # Values that depend on the order in which rows are met
        (lambda: Genre.objects.values_list("pk").annotate(n=Window(RowNumber())), lambda rows: [(9, 9)] * 2, 0),
        # Values
        (lambda: Genre.objects.values_list("name"), lambda rows: [*rows[:1], ("Lyric",)], 1),
    ],
)
@shown_on_sqlite
def test_what_counts_as_a_violation(read, change, found, compared, monkeypatch):
    if ENGINE == "mysql" and "LIMIT" in str(read().query) and "IN (" in str(read().query):
        pytest.skip("MySQL has no LIMIT in such a subquery")
    if "books__title" in str(read().query):
        author = Author.objects.create(name="A")
        book = Book.objects.create(title="B", author=author, price=1)
        book.genres.set(Genre.objects.filter(name="Prose"))
    list(read())
    with answers(monkeypatch, change):
        list(read())
    assert (total().violations, total().verified) == (found, found)
    assert total().compared == 1


@shown_on_sqlite
def test_sums_in_another_order(compared, monkeypatch):
    read = lambda: list(Book.objects.values_list("title").annotate(mean=Avg("pk")))  # noqa: E731
    author = Author.objects.create(name="A")
    Book.objects.create(title="B", author=author, price="0.1")
    read()
    with answers(monkeypatch, lambda rows: [(title, mean * (1 + 1e-15) + 1e-17) for title, mean in rows]):
        read()
    assert counts()[2:] == (1, 0)
    with answers(monkeypatch, lambda rows: [(title, mean * 1.001) for title, mean in rows]):
        read()
    assert counts()[2:] == (2, 1)


# The evidence -----------------------------------------------------------------------------------


@pytest.fixture
def log(caplog) -> Callable[[], str]:
    caplog.set_level(logging.ERROR, "ormcache")

    def line() -> str:
        (message,) = caplog.messages
        assert "\n" not in message
        return message

    return line


def violate() -> None:
    secret = Q(name__startswith="Pro") | Q(name="Verse")
    genres = Genre.objects.filter(secret).extra(where=["name <> 'Literal'"])
    read = lambda: list(genres.order_by("pk"))  # noqa: E731
    read()
    write_outside("UPDATE shop_genre SET name = 'Prose of the 20th' WHERE name = 'Prose'")
    read()


@shown_on_sqlite
def test_evidence_without_values(compared, log):
    violate()
    line = log()
    assert line.startswith(
        "a stored result differs from the database, and no write was seen: database 'default'; SQL SEL"
    )
    assert "the cache has 2 rows, 1 of them unknown to the database" in line
    assert "columns that differ: name" in line
    assert "relations shop_genre, all of which were invalidated" in line
    assert "last write seen of shop_genre: 20" in line
    assert "last write seen of *: 20" in line
    assert not any(value in line for value in ("Prose", "Pro%", "Verse", "20th", "Literal"))


@shown_on_sqlite
def test_evidence_with_values(configure, compared, log):
    configure(SHOW_PARAMETERS=True)
    violate()
    line = log()
    assert "'Pro%" in line
    assert "Prose of the 20th" in line
    assert "the cache has 2 rows: " in line


@shown_on_sqlite
def test_evidence_that_cannot_be_had(compared, log, monkeypatch):
    def fail(*args: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(verification.Verification, "_columns", fail)
    violate()
    assert "its values cannot be shown" in log()
    assert total().violations == 1


@shown_on_sqlite
def test_rows_that_cannot_be_compared(compared, monkeypatch):
    def fail(*args: Any) -> Any:
        raise TypeError("no")

    monkeypatch.setattr(verification, "difference", fail)
    names()
    assert names() == ["Prose", "Verse"]
    assert counts() == (1, 1, 0, 0)


@shown_on_sqlite
def test_one_line_a_minute(compared, caplog):
    for name in ("a", "b", "c"):
        names()
        write_outside(f"UPDATE shop_genre SET name = '{name}'")
        names()
    assert len(caplog.messages) == 1
    assert total().violations == 3


# Which hits -------------------------------------------------------------------------------------


@shown_on_sqlite
def test_a_share_of_hits(configure, monkeypatch, queries):
    configure(VERIFY=0.25, ADAPTIVE=False)
    count_anew()
    names()
    rolled = iter([0.3, 0.24, 0.25, 0.0])
    monkeypatch.setattr("ormcache.read_path.read.random", lambda: next(rolled))
    with queries(2):
        for _ in range(4):
            names()
    tally = total()
    assert (tally.hits, tally.compared, tally.observed, tally.saving_hits) == (4, 2, 0, 2)


@shown_on_sqlite
def test_a_share_is_that_share(configure):
    configure(VERIFY=0.1, ADAPTIVE=False)
    count_anew()
    random.seed(1)
    for _ in range(400):
        names()
    assert 20 < total().compared < 65


@shown_on_sqlite
def test_modes_of_tests_take_precedence(configure, queries):
    configure(**OBSERVE, ADAPTIVE=False)
    names()
    with override_cache("on"), queries(0):
        names()
    with override_cache("shadow"), queries(1):
        names()
    with ormcache.disabled(), queries(1):
        names()
    assert Mode.SHADOW.value == "shadow"


@shown_on_sqlite
def test_the_signal_says_whether_it_was_served(configure):
    served = []

    def note(served: bool, **kwargs: Any) -> None:
        seen.append(served)

    seen: list[bool] = served
    names()
    signals.hit.connect(note)
    try:
        names()
        configure(**OBSERVE)
        names()
        names()
    finally:
        signals.hit.disconnect(note)
    assert served == [True, False]


@shown_on_sqlite
def test_nobody_waits_for_a_result_that_is_not_served(configure, monkeypatch):
    configure(**OBSERVE)
    names()
    database = connection.ormcache.known()
    monkeypatch.setattr(type(database.flights), "pays", lambda *args: pytest.fail("it would wait"))
    Genre.objects.update(name="Drama")
    assert names() == ["Drama", "Drama"]


@ormcache.cached
def cached_names() -> list[str]:
    return names()


@shown_on_sqlite
def test_functions_are_computed(configure, queries):
    configure(**OBSERVE)
    count_anew()
    with queries(2):
        assert cached_names() == cached_names() == ["Prose", "Verse"]
    (derived,) = connection.ormcache.observer.counters.derived
    assert (derived.hits, derived.rejected) == (0, {reasons.OBSERVE: 2})
    configure(ENABLED=True)
    cached_names()
    with queries(0):
        assert cached_names() == ["Prose", "Verse"]
    configure(**OBSERVE)
    with queries(1):
        assert cached_names() == ["Prose", "Verse"]


# What it costs ------------------------------------------------------------------------------------


def calls(function: Callable[[], Any]) -> int:
    """How many functions of Python are called."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


@shown_on_sqlite
def test_what_a_hit_costs_that_is_not_chosen(configure):
    """Not one function of Python more: a comparison, and a random number where VERIFY is set."""
    found = []
    for share in (0, 1e-12):
        configure(VERIFY=share, ADAPTIVE=False)
        for _ in range(4):
            names()
        found.append(calls(names))
    assert found[0] == found[1]
