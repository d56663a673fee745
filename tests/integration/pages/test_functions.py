"""Cached functions on a real database: what is served, what is computed again, and what is never stored."""

from __future__ import annotations

import asyncio
import datetime
import inspect
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.models.functions import Now
from django.test import override_settings
from django.utils import timezone, translation

import ormcache
from ormcache import reasons
from ormcache.cache import single_flight
from ormcache.pages import functions
from ormcache.pages.derivation import Derivation
from tests.integration import actors
from tests.integration.actors import Actor
from tests.integration.calls import add, count_anew, run
from tests.integration.reading import in_thread, not_on_sqlite, only_postgresql
from tests.integration.stores.test_end_to_end import STORES
from tests.shop.models import Author, Book, Genre, Review
from tests.unit.pages.test_values import Color, ColorField
from tests.waiting import eventually

#: What was computed, in order; emptied before each test
CALLS: list[Any] = []
#: What a function reads, and names by ``vary``
PRICES = {"currency": "EUR"}


@pytest.fixture(autouse=True)
def _begin() -> None:
    count_anew()
    CALLS.clear()


def computes(call: Callable[[], Any]) -> int:
    """How often functions were computed while ``call`` ran. It is right in any case."""
    before = len(CALLS)
    found = call()
    number = len(CALLS) - before
    with ormcache.disabled():
        truth = call()
    assert found == truth
    del CALLS[before + number :]
    return number


def counters(function: Any) -> Any:
    """What this process has counted of a function."""
    label = f"{function.__module__}.{function.__qualname__}"
    return next(each for each in connection.ormcache.observer.counters.derived if each.label == label)


def rejected(function: Any) -> dict[str, int]:
    return counters(function).rejected


# The functions under test -------------------------------------------------------------


@ormcache.cached
def names(prefix: str = "", *, suffix: str = "") -> list[str]:
    """Say how it begins and ends."""
    CALLS.append(("names", prefix, suffix))
    found = Author.objects.filter(name__startswith=prefix, name__endswith=suffix)
    return list(found.order_by("pk").values_list("name", flat=True))


@ormcache.cached()
def books() -> list[Book]:
    CALLS.append("books")
    return list(Book.objects.select_related("author").order_by("pk"))


@ormcache.cached
def name_of(pk: int) -> str:
    CALLS.append(("name_of", pk))
    return Author.objects.get(pk=pk).name


@ormcache.cached
def genres() -> list[str]:
    CALLS.append("genres")
    return list(Genre.objects.order_by("pk").values_list("name", flat=True))


@ormcache.cached
def sidebar() -> dict[str, Any]:
    CALLS.append("sidebar")
    return {"genres": genres(), "names": names()}


@ormcache.cached
def page() -> dict[str, Any]:
    CALLS.append("page")
    return {"sidebar": sidebar(), "reviews": Review.objects.count()}


@ormcache.cached
async def anames(prefix: str = "") -> list[str]:
    CALLS.append("anames")
    return [author.name async for author in Author.objects.filter(name__startswith=prefix).order_by("pk")]


@ormcache.cached
def nothing() -> None:
    CALLS.append("nothing")
    Author.objects.count()


@ormcache.cached
def failing() -> None:
    CALLS.append("failing")
    Author.objects.get(pk=0)


@ormcache.cached
def of_author(author: Author) -> str:
    CALLS.append("of_author")
    return f"{author.name}: {author.books.count()}"


def of_count() -> int:
    return Author.objects.count()


class Shop:
    """A class with each kind of methods."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    @ormcache.cached
    def names(self, suffix: str = "") -> list[str]:
        CALLS.append("Shop.names")
        return sorted(Author.objects.filter(name__startswith=self.prefix).values_list("name", flat=True))

    @classmethod
    @ormcache.cached
    def above(cls) -> tuple[str, int]:
        CALLS.append("above")
        return cls.__name__, Author.objects.count()

    @ormcache.cached
    @classmethod
    def below(cls) -> tuple[str, int]:
        CALLS.append("below")
        return cls.__name__, Author.objects.count()

    @staticmethod
    @ormcache.cached
    def static(number: int) -> int:
        CALLS.append("static")
        return number + Author.objects.count()

    @ormcache.cached
    async def anames(self) -> list[str]:
        CALLS.append("Shop.anames")
        return [author.name async for author in Author.objects.filter(name__startswith=self.prefix)]


class OtherShop(Shop):
    """Its methods are those of the other one."""


# Hits and invalidation ----------------------------------------------------------------


@pytest.mark.parametrize("store", ["embedded", "redis by django-redis", "memcached, one server", "django, in memory"])
@pytest.mark.parametrize("local_size", [0, None])
def test_a_hit_until_a_table_is_written(store, local_size, configure, queries):
    configure(**STORES[store], **({} if local_size is None else {"LOCAL_SIZE": local_size}))
    author = Author.objects.create(name="Homer")
    Book.objects.create(author=author, title="Iliad", data={"a": [1]})
    with queries(1):
        assert names() == ["Homer"]
    with queries(0):
        assert names() == names("") == names(prefix="") == names(suffix="") == ["Homer"]
        assert in_thread(names) == ["Homer"]
    assert len(CALLS) == 1
    first = books()
    with queries(0):
        again = books()
    assert again == first
    assert again[0] is not first[0]
    assert (again[0].author, again[0].data, again[0].uuid) == (author, {"a": [1]}, first[0].uuid)

    author.name = "Sappho"
    author.save()
    assert names() == ["Sappho"]
    assert books()[0].author.name == "Sappho"
    assert in_thread(lambda: add("Alcaeus")) is None
    assert names() == ["Sappho", "Alcaeus"]
    Genre.objects.create(name="Epic")  # another table
    with queries(0):
        assert names() == ["Sappho", "Alcaeus"]


def test_another_process_is_served_and_invalidates(other_process, queries):
    add("Homer")
    assert other_process(f"{__name__}.names") == ["Homer"]
    with queries(0):
        assert names() == ["Homer"]
    other_process("tests.integration.calls.add", "Sappho")
    assert names() == ["Homer", "Sappho"]


def test_a_row_that_is_not_read_may_be_written(configure):
    configure(ROWS="always")
    homer, sappho = (Author.objects.create(name=name) for name in ("Homer", "Sappho"))
    assert [computes(lambda: name_of(homer.pk)) for _ in range(3)][1:] == [0, 0]

    Author.objects.filter(pk=sappho.pk).update(name="Psappha")
    assert computes(lambda: name_of(homer.pk)) == 0
    Author.objects.filter(pk=homer.pk).update(name="Homeros")
    assert computes(lambda: name_of(homer.pk)) == 1


def test_each_hit_is_new(queries):
    add("Homer")
    names().append("changed")
    with queries(0):
        found = names()
        found.append("changed")
        assert names() == ["Homer"]


def test_none_is_a_value(queries):
    nothing()
    with queries(0):
        assert nothing() is None
    assert CALLS == ["nothing"]


def test_exceptions_are_not_cached():
    for _ in range(2):
        with pytest.raises(Author.DoesNotExist):
            failing()
    assert CALLS == ["failing"] * 2


def test_within_each_other():
    """A write ends what depends on it, and nothing else."""
    add("Homer")
    assert page() == {"sidebar": {"genres": [], "names": ["Homer"]}, "reviews": 0}
    assert CALLS == ["page", "sidebar", "genres", ("names", "", "")]
    for write, expected in (
        (lambda: None, []),
        (lambda: Genre.objects.create(name="Epic"), ["page", "sidebar", "genres"]),
        (lambda: add("Sappho"), ["page", "sidebar", ("names", "", "")]),
    ):
        write()
        CALLS.clear()
        found = page()
        assert expected == CALLS
        with ormcache.disabled():
            assert found == page()
    author = Author.objects.first()
    Review.objects.create(book=Book.objects.create(author=author, title="Iliad"))
    CALLS.clear()
    assert page()["reviews"] == 1
    assert CALLS == ["page"]


def test_several_databases(queries):
    @ormcache.cached
    def both() -> list[int]:
        CALLS.append("both")
        return [Author.objects.count(), Author.objects.using("second").count()]

    assert both() == [0, 0]
    with queries(0), queries(0, using="second"):
        assert both() == [0, 0]
    add("Homer", using="second")
    assert both() == [0, 1]
    add("Sappho")
    assert both() == [1, 1]
    assert computes(both) == 0
    with transaction.atomic(using="second"):
        add("Alcaeus", using="second")
        assert both() == [1, 2]
        transaction.set_rollback(True, using="second")
    assert both() == [1, 1]


def test_in_another_database_s_store(queries):
    @ormcache.cached(using="second")
    def second() -> int:
        CALLS.append("second")
        return Author.objects.using("second").count()

    assert [second(), second()] == [0, 0]
    add("Homer", using="second")
    assert [second(), second()] == [1, 1]
    assert len(CALLS) == 2
    assert [each.hits for each in connections["second"].ormcache.observer.counters.derived] == [2]


# Names --------------------------------------------------------------------------------


def test_arguments_by_value_and_type():
    @ormcache.cached
    def kind(*args: Any, **kwargs: Any) -> str:
        CALLS.append((args, kwargs))
        return repr((args, kwargs))

    given = [1, 1.0, True, "1", None, (1,), [1], {1: 1}]
    assert [kind(value) for value in given] == [repr(((value,), {})) for value in given]
    assert [kind(value=value) for value in given] == [repr(((), {"value": value})) for value in given]
    assert len(CALLS) == 2 * len(given)
    assert [kind(value) for value in given] == [repr(((value,), {})) for value in given]
    assert len(CALLS) == 2 * len(given)


def test_an_instance_that_was_read_before():
    """Nothing would invalidate what the function makes of its fields, so that they are part of the name."""
    homer = Author.objects.create(name="Homer")
    assert [of_author(homer), of_author(homer)] == ["Homer: 0"] * 2
    Author.objects.update(name="Homeros")
    assert of_author(homer) == "Homer: 0"  # as it is called without a cache
    assert of_author(Author.objects.get()) == "Homeros: 0"
    homer.name = "nobody has saved this"
    assert of_author(homer) == "nobody has saved this: 0"
    Book.objects.create(author=homer, title="Iliad")
    assert of_author(homer) == "nobody has saved this: 1"


def test_methods():
    for name in ("Homer", "Sappho"):
        add(name)
    h, s = Shop("H"), Shop("S")
    assert [h.names(), s.names(), Shop("H").names(), Shop.names(h)] == [["Homer"], ["Sappho"], ["Homer"], ["Homer"]]
    assert CALLS == ["Shop.names"] * 2
    for name in ("above", "below"):
        found = [getattr(owner, name)() for owner in (Shop, OtherShop, h, OtherShop(""))]
        assert found == [("Shop", 2), ("OtherShop", 2), ("Shop", 2), ("OtherShop", 2)]
        assert CALLS.count(name) == 2
    assert [Shop.static(1), h.static(1), h.static(2)] == [3, 3, 4]
    assert CALLS.count("static") == 2
    assert async_to_sync(h.anames)() == async_to_sync(Shop.anames)(h) == ["Homer"]
    assert CALLS.count("Shop.anames") == 1


def test_models_and_managers():
    @ormcache.cached
    def number(of: Any) -> int:
        CALLS.append("number")
        return of.count() if hasattr(of, "count") else of.objects.count()

    add("Homer")
    add("Sappho", using="second")
    add("Alcaeus", using="second")
    for _ in range(2):
        given = [Author, Genre, Author.objects, Genre.objects, Author.objects.db_manager("second")]
        assert list(map(number, given)) == [1, 0, 1, 0, 2]
    assert len(CALLS) == 5
    with pytest.raises(ormcache.InexactArgument, match="its argument of is a manager of an object"):
        number(Author.objects.first().books)


def test_what_varies_besides():
    @ormcache.cached(vary=lambda number, **other: (PRICES["currency"], number % 2))
    def price(number: int) -> str:
        CALLS.append(number)
        return f"{Author.objects.count() + number} {PRICES['currency']}"

    PRICES["currency"] = "EUR"
    assert [price(1), price(1)] == ["1 EUR"] * 2
    PRICES["currency"] = "USD"
    assert price(1) == "1 USD"
    PRICES["currency"] = "EUR"
    assert price(1) == "1 EUR"
    assert CALLS == [1, 1]


def test_a_value_that_varies():
    def make(vary: Any) -> Any:
        @ormcache.cached(vary=vary)
        def function() -> int:
            CALLS.append(vary)
            return Author.objects.count()

        return function

    for vary in (1, 2, (1, 2), "1", None):
        make(vary)()
        make(vary)()
    assert CALLS == [1, 2, (1, 2), "1", None]
    with pytest.raises(ormcache.InexactArgument, match="its vary is of type object"):
        ormcache.cached(vary=object())(of_count)()


def test_language_time_zone_and_site():
    @ormcache.cached
    def surroundings() -> list[Any]:
        CALLS.append(None)
        Author.objects.count()
        return [translation.get_language(), timezone.get_current_timezone_name()]

    for language in ("de", "en", None):
        with translation.override(language):
            for zone in ("UTC", "Europe/Berlin"):
                with timezone.override(zone):
                    assert surroundings() == surroundings() == [language, zone]
    assert len(CALLS) == 6
    surroundings()
    before = len(CALLS)
    with override_settings(SITE_ID=2):
        surroundings()
    assert len(CALLS) == before + 1


def test_zones_by_offset():
    @ormcache.cached
    def offset() -> str:
        CALLS.append(None)
        return str(timezone.get_current_timezone().utcoffset(None))

    for hours in (1, 2):
        with timezone.override(datetime.timezone(datetime.timedelta(hours=hours), "of one name")):
            assert offset() == f"{hours}:00:00"

    class Unknown(datetime.tzinfo):
        def __init__(self, hours: int) -> None:
            self.hours = hours

        def utcoffset(self, moment: Any) -> datetime.timedelta:
            return datetime.timedelta(hours=self.hours)

    for hours in (1, 2):
        with timezone.override(Unknown(hours)):
            assert offset() == f"{hours}:00:00"


def test_a_deploy_that_changes_the_function():
    def deployed(source: str) -> Any:
        found: dict[str, Any] = {"__name__": "shop.views", "Author": Author, "CALLS": CALLS}
        exec(f"def total():\n    CALLS.append(None)\n    return {source}", found)
        return ormcache.cached(found["total"])

    assert deployed("Author.objects.count()")() == 0
    assert deployed("Author.objects.count()")() == 0
    assert deployed("Author.objects.count() + 1")() == 1
    assert deployed("Author.objects.count()")() == 0
    assert len(CALLS) == 2


def test_what_a_closure_holds():
    def of(prefix: str) -> Any:
        @ormcache.cached
        def found() -> list[str]:
            CALLS.append(prefix)
            return sorted(Author.objects.filter(name__startswith=prefix).values_list("name", flat=True))

        return found

    add("Homer")
    assert [of("H")(), of("S")(), of("H")()] == [["Homer"], [], ["Homer"]]
    assert CALLS == ["H", "S"]
    with pytest.raises(ormcache.InexactArgument, match=r"variable prefix of its closure is of type object"):
        of(object())()


# What is never stored -----------------------------------------------------------------


def test_what_writes_is_computed_each_time():
    @ormcache.cached
    def writing() -> int:
        CALLS.append("writing")
        add("Homer")
        return Author.objects.count()

    assert [writing(), writing(), writing()] == [1, 2, 3]
    assert set(rejected(writing)) == {reasons.WRITES}
    assert sum(rejected(writing).values()) == 3


def test_what_reads_the_clock_is_computed_each_time():
    @ormcache.cached
    def clock() -> int:
        CALLS.append("clock")
        return Book.objects.filter(created__lt=Now()).count()

    assert [clock(), clock()] == [0, 0]
    assert rejected(clock) == {reasons.CLOCK: 2}
    assert len(CALLS) == 2


def test_a_cursor_is_not_followed():
    @ormcache.cached
    def raw() -> list[Any]:
        CALLS.append("raw")
        with connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM shop_author")
            return list(cursor.fetchone())

    assert [raw(), raw()] == [[0], [0]]
    assert rejected(raw) == {reasons.STATEMENT: 2}


def test_a_database_without_ormcache():
    @ormcache.cached
    def elsewhere() -> int:
        CALLS.append("elsewhere")
        return Author.objects.using("plain").count()

    assert elsewhere() == 0
    add("Homer", using="plain")
    assert elsewhere() == 1


def test_disabled():
    add("Homer")
    assert names() == ["Homer"]
    with ormcache.disabled():
        assert names() == ["Homer"]
        assert names() == ["Homer"]
    assert len(CALLS) == 3
    assert rejected(names) == {reasons.DISABLED: 2}
    assert names() == ["Homer"]
    assert len(CALLS) == 3


def test_a_value_that_is_too_deep_is_not_stored():
    @ormcache.cached
    def deep(number: int) -> Any:
        CALLS.append(number)
        found: Any = Author.objects.count()
        for _ in range(number):
            found = [found]
        return found

    assert deep(10) == deep(10) == [[[[[[[[[[0]]]]]]]]]]
    assert len(CALLS) == 1
    deep(100_000)
    deep(100_000)
    assert len(CALLS) == 3
    assert rejected(deep) == {reasons.UNSERIALIZABLE: 2}


def test_the_store_is_away(start_server, configure):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        add("Homer")
        assert names() == ["Homer"]
        assert computes(names) == 0
        server.stop()
        assert [computes(names), computes(names)] == [1, 1]
        assert rejected(names)[reasons.STORE_UNAVAILABLE] == 2
        connections.close_all()


class Answers:
    """Has any attribute that one asks for, as Jinja2's namespaces have none but their own."""

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return Answers
        raise AttributeError(name)


def test_an_argument_that_answers_for_itself():
    with pytest.raises(ormcache.InexactArgument, match="Answers"):
        names_of(Answers())


@ormcache.cached
def names_of(argument: Any) -> str:
    return type(argument).__name__


# Transactions -------------------------------------------------------------------------


def test_after_a_write_in_the_same_transaction():
    add("Homer")
    assert names() == ["Homer"]
    with transaction.atomic():
        add("Sappho")
        assert names() == ["Homer", "Sappho"]
        assert names() == ["Homer", "Sappho"]
        assert in_thread_or_same(names) in (["Homer"], None)
        transaction.set_rollback(True)
    assert names() == ["Homer"]
    with transaction.atomic():
        add("Alcaeus")
        names()
    assert names() == ["Homer", "Alcaeus"]


def in_thread_or_same(call: Callable[[], Any]) -> Any:
    """The result in another connection; None on SQLite, whose file is locked."""
    return None if connection.vendor == "sqlite" else in_thread(call)


def test_a_savepoint_that_is_rolled_back():
    add("Homer")
    with transaction.atomic():
        with transaction.atomic():
            add("Sappho")
            assert names() == ["Homer", "Sappho"]
            transaction.set_rollback(True)
        assert names() == ["Homer"]
    assert names() == ["Homer"]


def test_a_transaction_that_has_written_nothing(queries):
    add("Homer")
    assert names() == ["Homer"]
    with transaction.atomic(), queries() as seen:
        assert names() == ["Homer"]
    assert len(CALLS) == (2 if connection.vendor == "sqlite" else 1), list(seen)
    if connection.vendor == "sqlite":  # a transaction sees the database as it was at its first statement
        assert rejected(names) == {reasons.SNAPSHOT: 1}


@not_on_sqlite
def test_a_transaction_that_sees_an_older_state():
    add("Homer")
    scope = "" if connection.vendor == "postgresql" else "SESSION "
    connection.ensure_connection()
    connection.set_autocommit(False)
    try:
        run(f"SET {scope}TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert names() == ["Homer"]
        in_thread(lambda: add("Sappho"))
        assert in_thread(names) == ["Homer", "Sappho"]
        assert names() == list(Author.objects.order_by("pk").values_list("name", flat=True))
    finally:
        connection.rollback()
        connection.set_autocommit(True)
        connection.close()
    assert names() == ["Homer", "Sappho"]


@only_postgresql
def test_another_tenant_is_another_name():
    """What a session's settings decide, under row-level security for one, is not shared."""

    @ormcache.cached
    def total() -> int:
        CALLS.append("total")
        return Author.objects.count()

    run("SET app.tenant = '1'")
    assert [total(), total()] == [0, 0]
    run("SET app.tenant = '2'")
    assert [total(), total()] == [0, 0]
    assert len(CALLS) == 2
    run("SET app.tenant = '1'")
    assert total() == 0
    assert len(CALLS) == 2


# Interleavings ------------------------------------------------------------------------


@pytest.fixture
def points(monkeypatch, configure) -> Iterator[None]:
    configure(FLIGHT_WAIT=40)
    monkeypatch.setattr(single_flight, "TRIVIAL", 0)  # these functions are quick
    with actors.points(monkeypatch):
        yield
    connections.close_all()


@ormcache.cached
def twice() -> list[int]:
    CALLS.append("twice")
    first = Author.objects.count()
    actors.reach("between its reads")
    second = Genre.objects.count()
    actors.reach("after its reads")
    return [first, second]


@pytest.mark.parametrize("point", ["between its reads", "after its reads"])
@pytest.mark.parametrize("write", [lambda: add("Homer"), lambda: Genre.objects.create(name="Epic")])
@pytest.mark.usefixtures("points", "wal")
def test_a_write_while_it_is_computed(point, write):
    """What mixes two states, or is outdated at its end, is never served to another caller."""
    reader = Actor(twice).to(point)
    write()
    reader.finish()
    found = twice()

    assert found == [Author.objects.using("plain").count(), Genre.objects.using("plain").count()]
    assert computes(twice) == 0


@pytest.mark.parametrize("store", ["embedded", "redis by django-redis"])
@pytest.mark.usefixtures("points", "wal")
def test_one_thread_computes_for_all(store, configure, monkeypatch):
    configure(**STORES[store], LOCAL_SIZE=0)
    add("Homer")
    waiting = []
    wait_until = Derivation.wait_until
    monkeypatch.setattr(Derivation, "wait_until", lambda self: waiting.append(self) or wait_until(self))
    leader = Actor(twice).to("between its reads")
    with ThreadPoolExecutor(8) as pool:
        others = [pool.submit(in_thread, twice) for _ in range(8)]
        eventually(lambda: len(waiting) == 8)
        leader.finish()
        assert [other.result(30) for other in others] == [[1, 0]] * 8
    assert CALLS.count("twice") == 1


@pytest.mark.usefixtures("points", "wal")
def test_who_comes_after_a_write_does_not_take_what_is_older():
    leader = Actor(twice).to("after its reads")
    add("Homer")
    with ThreadPoolExecutor(2) as pool:
        other = pool.submit(in_thread, twice)
        leader.finish()
        assert other.result(30) == [1, 0]


# Time ---------------------------------------------------------------------------------


def test_a_timeout():
    @ormcache.cached(timeout=0.05)
    def short() -> int:
        CALLS.append("short")
        return Author.objects.count()

    short()
    eventually(lambda: short() == 0 and len(CALLS) > 1)


@pytest.mark.usefixtures("points", "wal")
@pytest.mark.parametrize("store", ["embedded", "redis by django-redis"])
def test_grace(store, configure):
    """While one caller computes, the others are served what is outdated."""
    configure(**STORES[store])
    assert graced() == 0
    add("Homer")
    computing = Actor(graced).to("in graced")
    assert in_thread(graced) == 0
    assert in_thread(names) == ["Homer"]  # nothing else is outdated
    assert computing.finish() == 1
    assert in_thread(graced) == 1
    assert CALLS.count("graced") == 2
    assert counters(graced).outdated_hits == 1


@ormcache.cached(grace=60)
def graced() -> int:
    CALLS.append("graced")
    found = Author.objects.count()
    actors.reach("in graced")
    return found


# Coroutines ---------------------------------------------------------------------------


def test_a_coroutine_function(queries):
    add("Homer")
    assert iscoroutinefunction(anames)
    assert async_to_sync(anames)() == ["Homer"]
    with queries(0):
        assert async_to_sync(anames)("") == async_to_sync(anames)(prefix="") == ["Homer"]
    assert len(CALLS) == 1
    add("Sappho")
    assert async_to_sync(anames)() == ["Homer", "Sappho"]


def test_one_task_computes_for_all():
    add("Homer")

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(anames() for _ in range(10)))

    assert async_to_sync(all_at_once)() == [["Homer"]] * 10
    assert len(CALLS) == 1


def test_coroutine_functions_within_each_other():
    @ormcache.cached
    async def outer() -> Any:
        CALLS.append("outer")
        return [await anames(), await Genre.objects.acount()]

    assert async_to_sync(outer)() == [[], 0]
    assert async_to_sync(outer)() == [[], 0]
    assert len(CALLS) == 2
    add("Homer")
    assert async_to_sync(outer)() == [["Homer"], 0]
    Genre.objects.create(name="Epic")
    CALLS.clear()
    assert async_to_sync(outer)() == [["Homer"], 1]
    assert CALLS == ["outer"]


#: A coroutine sets the first when it is under way, and waits for the second
EVENTS: list[asyncio.Event] = []


@ormcache.cached
async def slow() -> int:
    """The first call waits after it has read."""
    CALLS.append("slow")
    found = await Author.objects.acount()
    if len(CALLS) == 1:
        EVENTS[0].set()
        await EVENTS[1].wait()
    return found


async def under_way() -> asyncio.Task[int]:
    """The first call, in a task of its own."""
    EVENTS[:] = asyncio.Event(), asyncio.Event()
    first = asyncio.create_task(slow())
    await asyncio.wait_for(EVENTS[0].wait(), 20)
    return first


def test_a_task_that_is_cancelled_leaves_it_to_the_next():
    async def cancel_the_first() -> list[Any]:
        first = await under_way()
        others = [asyncio.create_task(slow()) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return await asyncio.gather(*others)

    assert async_to_sync(cancel_the_first)() == [0, 0, 0]
    assert len(CALLS) == 2


def test_a_write_while_a_coroutine_computes():
    async def write_meanwhile() -> list[int]:
        first = await under_way()
        await Author.objects.acreate(name="Homer")
        EVENTS[1].set()
        return [await first, await slow(), await slow()]

    assert async_to_sync(write_meanwhile)() == [0, 1, 1]
    assert len(CALLS) == 2
    assert rejected(slow) == {reasons.WRITTEN_MEANWHILE: 1}


def test_errors_of_coroutine_functions():
    @ormcache.cached
    async def bad(value: Any) -> Any:
        return Author.objects.all()

    with pytest.raises(ormcache.InexactArgument):
        async_to_sync(bad)(object())
    with pytest.raises(ormcache.UncacheableValue):
        async_to_sync(bad)(1)


def test_in_an_event_loop_without_threads():
    """A plain function that is called there reads nothing, or Django raises."""

    @ormcache.cached
    def plain(number: int) -> int:
        CALLS.append(number)
        return number + 1

    async def call() -> list[int]:
        return [plain(1), plain(1)]

    assert asyncio.run(call()) == [2, 2]


# Errors -------------------------------------------------------------------------------


@pytest.fixture(params=["enabled", "disabled", "in a transaction"])
def state(request) -> Iterator[str]:
    """States of the cache: errors of the program do not depend on it."""
    if request.param == "disabled":
        with ormcache.disabled():
            yield request.param
    elif request.param == "in a transaction":
        with transaction.atomic():
            add("Homer")
            yield request.param
    else:
        yield request.param


def test_an_argument_without_an_exact_form(state):
    for call, message in (
        (lambda: names(object()), "its argument prefix is of type object: pass what"),
        (lambda: names(suffix=Author.objects.all()), "its argument suffix is a queryset: pass what"),
        (lambda: names([{"a": lambda: 1}]), r"its argument prefix\[0\]\['a'\] is of type function: pass what"),
    ):
        with pytest.raises(ormcache.InexactArgument, match=message) as caught:
            call()
        assert isinstance(caught.value, TypeError)
        assert str(caught.value).startswith(f"{__name__}.names: ")
    assert CALLS == []


def test_a_value_that_cannot_be_stored(state):
    @ormcache.cached
    def bad(value: Any) -> Any:
        CALLS.append("bad")
        return {"whole": Author.objects.all(), "first": [1, Author.objects.all()], "good": 1}[value]

    for _ in range(2):
        with pytest.raises(ormcache.UncacheableValue, match=r"bad: it has returned a queryset.*list\(queryset\)"):
            bad("whole")
        with pytest.raises(ormcache.UncacheableValue, match=r"bad: …\[1\] of what it has returned is a queryset"):
            bad("first")
    assert bad("good") == 1


def test_a_wrong_call_raises_what_the_function_raises():
    with pytest.raises(TypeError, match=r"^names\(\) got an unexpected keyword argument 'nothing'$"):
        names(nothing=1)
    with pytest.raises(TypeError, match=r"^name_of\(\) missing 1 required positional argument: 'pk'$"):
        name_of()


def test_what_cannot_be_decorated():
    def generator() -> Iterator[int]:
        yield 1

    async def agenerator() -> Any:
        yield 1

    for wrong in (generator, agenerator, len, Shop, Shop(""), names, 1, property(lambda self: 1)):
        with pytest.raises(TypeError):
            ormcache.cached(wrong)
    for arguments, error in (
        ({"timeout": 0}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"grace": float("nan")}, ValueError),
        ({"grace": "1"}, TypeError),
        ({"timeout": True}, TypeError),
    ):
        with pytest.raises(error):
            ormcache.cached(**arguments)(lambda: 1)


def test_it_looks_like_the_function():
    assert names.__name__ == "names"
    assert names.__doc__ == "Say how it begins and ends."
    assert list(inspect.signature(names).parameters) == ["prefix", "suffix"]
    assert pickle.loads(pickle.dumps(names)) is names
    add("Homer")
    for _ in range(2):
        assert names.uncached() == ["Homer"]
    assert len(CALLS) == 2
    assert inspect.unwrap(names) is names.uncached
    assert Shop("H").names.uncached(Shop("H")) == ["Homer"]


# Foreign bytes ------------------------------------------------------------------------


def test_what_cannot_be_read_is_computed_again(configure, queries):
    configure(LOCAL_SIZE=0)
    add("Homer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functions, "dump", lambda value: (("z", 1), ()))
        assert names() == ["Homer"]
    assert names() == ["Homer"]
    assert len(CALLS) == 2
    with queries(0):
        assert names() == ["Homer"]


# Fields that make values of texts -------------------------------------------------------


@ormcache.cached
def shouting() -> Author:
    CALLS.append("shouting")
    found = Author.objects.get()
    vars(found)["name"] = Color.RED
    return found


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_field_with_a_type_of_its_own_needs_a_signature(is_signed, configure, monkeypatch):
    """Its code makes the value of what is stored, which somebody else may have written."""
    configure(SIGN=is_signed)
    Author.objects.create(name="red")
    monkeypatch.setattr(Author._meta.get_field("name"), "__class__", ColorField)
    assert computes(shouting) == 1
    assert computes(shouting) == (0 if is_signed else 1)
    assert shouting().name is Color.RED
    assert set(rejected(shouting)) - {reasons.DISABLED} == (set() if is_signed else {reasons.UNSERIALIZABLE})
