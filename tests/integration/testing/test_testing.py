"""What projects have for their own tests: switching the cache, asserting what came from it."""

from __future__ import annotations

import asyncio
import threading
import unittest
from contextlib import ExitStack

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.test import TestCase, TransactionTestCase

import ormcache
from ormcache import reasons
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.testing import (
    CacheAssertions,
    Recorder,
    StaleRead,
    assert_bypassed,
    assert_hits,
    assert_misses,
    override_cache,
)
from tests.integration.reading import execute, in_thread, judge_at_once, only_sqlite
from tests.shop.models import Author, Genre


@pytest.fixture(autouse=True)
def _rows() -> None:
    Genre.objects.create(name="Prose")


def names(using: str = "default") -> list[str]:
    return list(Genre.objects.using(using).order_by("pk").values_list("name", flat=True))


def become_stale() -> None:
    """What is read is in the cache, and the row was changed past it."""
    assert names() == names() == ["Prose"]
    execute("UPDATE shop_genre SET name = 'Verse'", using="plain")
    with assert_hits(1):
        assert names() == ["Prose"]


# The recorder -----------------------------------------------------------------------------


def test_what_is_recorded():
    with Recorder() as recorder:
        names()
        names()
        Genre.objects.update(name="Verse")
        names()
        with ormcache.disabled():
            names()
    names()

    assert [type(event).__name__ for event in recorder.events] == [
        "RecordedRead",
        "RecordedRead",
        "RecordedInvalidation",
        "RecordedRead",
        "RecordedRead",
    ]
    miss, hit, again, bypassed = recorder.reads
    (invalidated,) = recorder.invalidations
    assert ([miss, again], [hit], [bypassed]) == (recorder.misses, recorder.hits, recorder.bypassed)
    for read in recorder.reads:
        assert (read.using, read.params) == ("default", ())
        assert "shop_genre" in read.sql
    assert miss.relations == hit.relations == again.relations == {"shop_genre"}
    assert (miss.cause, miss.invalidated_by, miss.rejected) == ("cold", None, None)
    assert (again.cause, again.invalidated_by) == ("invalidated", "shop_genre")
    assert bypassed.reason == reasons.DISABLED
    assert (hit.query, bypassed.took, invalidated.relations) == (None, None, {"shop_genre"})
    assert min(hit.took, miss.took, miss.query, bypassed.query, invalidated.took) > 0
    assert "UPDATE" in invalidated.causes[0]
    assert "test_testing.py:" in hit.caller
    assert "test_testing.py:" in invalidated.caller
    assert [event.at for event in recorder.events] == sorted(event.at for event in recorder.events)


def test_uses_of_functions_are_recorded():
    def shuffled() -> list[str]:
        return list(Genre.objects.order_by("?").values_list("name", flat=True))

    with Recorder() as recorder:
        for _ in range(2):
            compute(Use("function", "only.here", b"count"), Genre.objects.count)
        Genre.objects.update(name="Verse")
        compute(Use("function", "only.here", b"count"), Genre.objects.count)
        compute(Use("fragment", "shuffled", b"shuffled"), shuffled)
    with Recorder("second") as other:
        compute(Use("function", "only.here", b"count"), Genre.objects.count)
    compute(Use("function", "only.here", b"count"), Genre.objects.count)

    assert [(use.kind, use.label, use.outcome) for use in recorder.uses] == [
        ("function", "only.here", "miss"),
        ("function", "only.here", "hit"),
        ("function", "only.here", "miss"),
        ("fragment", "shuffled", "miss"),
    ]
    cold, hit, again, rejected = recorder.uses
    assert {use.using for use in recorder.uses} == {"default"}
    assert (cold.cause, cold.rejected, again.cause, again.invalidated_by) == ("cold", None, "invalidated", "shop_genre")
    assert hit.saved == pytest.approx(cold.took - hit.took)
    assert (rejected.rejected, rejected.relations) == (reasons.RANDOM, {"shop_genre"})
    assert "test_testing.py:" in rejected.caller
    assert other.uses == []


def test_a_query_that_is_known_to_be_empty_is_no_read():
    with Recorder() as recorder:
        with ormcache.disabled():
            assert list(Genre.objects.filter(pk__in=[])) == []
        assert list(Genre.objects.filter(pk__in=[])) == []
    assert recorder.events == []


def test_one_database():
    with Recorder("second") as second, Recorder() as both:
        names()
        names("second")
    assert [read.using for read in second.reads] == ["second"]
    assert [read.using for read in both.reads] == ["default", "second"]


def test_two_threads_do_not_see_each_others():
    """As two requests that are served at once: both recorders listen while both threads read."""
    both = threading.Barrier(2, timeout=20)
    seen = {}

    def serve(name: str) -> None:
        with Recorder() as recorder:
            both.wait()
            list(Genre.objects.filter(name=name))
            both.wait()
        seen[name] = [read.params for read in recorder.reads]

    threads = [threading.Thread(target=in_thread, args=(lambda name=name: serve(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": [("a",)], "b": [("b",)]}


def test_two_tasks_do_not_see_each_others():
    async def serve(name: str, mine: asyncio.Event, other: asyncio.Event) -> list[tuple[str, ...]]:
        with Recorder() as recorder:
            mine.set()
            await other.wait()
            assert await Genre.objects.filter(name=name).afirst() is None
            await sync_to_async(lambda: list(Genre.objects.filter(name=name + name)))()
        return [read.params for read in recorder.reads]

    async def main() -> list[list[tuple[str, ...]]]:
        one, two = asyncio.Event(), asyncio.Event()
        return await asyncio.gather(serve("a", one, two), serve("b", two, one))

    assert async_to_sync(main)() == [[("a",), ("aa",)], [("b",), ("bb",)]]


def test_a_recorder_that_is_entered_and_left_in_unlike_contexts():
    """As middleware may, under asgiref."""
    recorder = Recorder()

    async def main() -> None:
        await sync_to_async(recorder.__enter__)()
        await Genre.objects.afirst()
        await asyncio.create_task(sync_to_async(recorder.__exit__)(None, None, None))
        await Genre.objects.afirst()

    async_to_sync(main)()
    assert len(recorder.reads) == 1


def test_everywhere():
    with Recorder() as own, Recorder(everywhere=True) as every:
        in_thread(names)
    assert (len(own.reads), len(every.reads)) == (0, 1)


# Switching --------------------------------------------------------------------------------


def test_off(queries):
    names()
    with override_cache("off"), queries(2), assert_bypassed(reasons.DISABLED, 2):
        names()
        names()
    with queries(0):
        names()


def test_writes_invalidate_while_it_is_off():
    names()
    with override_cache("off"):
        Genre.objects.update(name="Verse")
        assert names() == ["Verse"]
    assert names() == ["Verse"]


def test_off_holds_for_all_threads():
    names()
    with override_cache("off"), Recorder(everywhere=True) as recorder:
        in_thread(names)
    assert [read.reason for read in recorder.reads] == [reasons.DISABLED]


def test_the_innermost_counts(queries):
    names()
    with override_cache("off"):
        with override_cache("on"):
            with queries(0):
                names()
            with ormcache.disabled(), queries(1):
                names()
        with queries(1):
            names()


@only_sqlite
def test_on_after_tables_were_made_while_it_was_off(configure, queries):
    """As migrations do it. A database in memory has one connection for as long as the tests take."""
    configure(ENABLED=False)
    execute("CREATE TABLE made (id integer NOT NULL PRIMARY KEY, author integer REFERENCES shop_author (id))")
    execute("CREATE INDEX made_author ON made (author)")
    try:
        with override_cache("on"):
            names()
            with queries(0):
                names()
    finally:
        execute("DROP TABLE made")


def test_on_where_the_settings_have_it_off(configure, queries):
    names()
    configure(ENABLED=False)
    Genre.objects.update(name="untold")
    with queries(2):
        assert names() == names() == ["untold"]
    for name in "ab":
        with override_cache("on"):
            with queries() as seen:
                assert names() in (["untold"], ["a, untold"])
            assert len(seen) > 0, "what was kept before is not served"
            with assert_hits(1):
                names()
            Genre.objects.update(name="told")
            assert names() == ["told"]
        Genre.objects.update(name=f"{name}, untold")
        with queries(1):
            assert names() == [f"{name}, untold"]


def test_on_asks_for_what_does_not_pay(configure, monkeypatch):
    configure(ADAPTIVE=True)
    judge_at_once(monkeypatch)
    for number in range(3):
        Genre.objects.update(name=str(number))
        names()
    with assert_bypassed(reasons.ADAPTIVE_BYPASS):
        names()
    with override_cache("on"):
        names()
        with assert_hits(1):
            names()


def test_a_mode_that_there_is_not():
    with pytest.raises(ValueError, match="'on', 'off', 'shadow', not 'shadows'"):
        override_cache("shadows")


def test_as_a_decorator():
    names()

    @override_cache("off")
    def read(depth: int = 1) -> list[str]:
        return read(depth - 1) if depth else names()

    @override_cache("off")
    async def aread() -> str:
        return (await Genre.objects.aget()).name

    with assert_bypassed(n=2):
        assert read() == ["Prose"]
        assert async_to_sync(aread)() == "Prose"
    with assert_hits(1):
        names()


def run(case: type[unittest.TestCase]) -> unittest.TestResult:
    """All tests of a class, as a runner does."""
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def ran_well(case: type[unittest.TestCase]) -> int:
    result = run(case)
    assert not result.errors + result.failures, result.errors + result.failures
    return result.testsRun


def test_as_a_decorator_of_a_class():
    outcomes = []

    def read(where: str) -> None:
        with Recorder() as recorder:
            names()
        outcomes.append((where, recorder.reads[0].outcome))

    @override_cache("off")
    class Off(TransactionTestCase):
        databases = frozenset({"default"})

        @classmethod
        def setUpClass(cls) -> None:
            super().setUpClass()
            read("class")

        def test(self) -> None:
            read("test")

        def _fixture_teardown(self) -> None:
            """The rows of these tests stay."""

    @override_cache("on")
    class On(Off):
        pass

    class Inherits(Off):
        pass

    names()
    assert [ran_well(case) for case in (Off, On, Inherits)] == [1, 1, 1]
    assert outcomes == [(where, outcome) for outcome in ("bypass", "hit", "bypass") for where in ("class", "test")]
    with assert_hits(1):
        names()


def test_a_class_that_is_no_test_case():
    with pytest.raises(TypeError, match=r"is not a unittest\.TestCase"):
        override_cache("off")(type("Plain", (), {}))


# The shadow ---------------------------------------------------------------------------------


@pytest.fixture(params=[0, 32 * 2**20], ids=["store", "process"])
def from_either(request, configure) -> None:
    configure(LOCAL_SIZE=request.param)


def test_shadow_finds_what_is_stale(from_either):
    become_stale()
    with pytest.raises(StaleRead) as raised, override_cache("shadow"):
        names()
    told = str(raised.value)
    assert "SQL, on 'default': SELECT" in told
    assert "the cache has 1 row:\n    ('Prose',)" in told
    assert "the database has 1 row:\n    ('Verse',)" in told


def test_shadow_of_one_row(from_either):
    assert [Genre.objects.get().name for _ in range(2)] == ["Prose"] * 2
    execute("DELETE FROM shop_genre", using="plain")
    assert Genre.objects.exists() is False
    with pytest.raises(StaleRead), override_cache("shadow"):
        Genre.objects.get()


def test_shadow_lets_right_answers_pass(queries):
    with override_cache("shadow"), queries(3), assert_hits(2), assert_misses(1):
        for _ in range(3):
            assert names() == ["Prose"]
    with override_cache("shadow"):
        Genre.objects.update(name="Verse")
        assert names() == names() == ["Verse"]


def test_shadow_is_raised_at_the_end_if_it_was_swallowed():
    become_stale()
    with pytest.raises(StaleRead), override_cache("shadow"), pytest.raises(StaleRead):
        names()
    with override_cache("shadow"):
        Genre.objects.count()


def test_shadow_by_the_setting(configure):
    become_stale()
    configure(VERIFY="raise")
    with override_cache("on"):
        names()
    # Other settings are a new beginning: what was kept before is not asked for again.
    assert names() == names() == ["Verse"]
    execute("UPDATE shop_genre SET name = 'Drama'", using="plain")
    with pytest.raises(StaleRead):
        names()
    with override_cache("on"):
        assert names() == ["Verse"]


def test_a_write_between_the_hit_and_the_query_is_no_stale_read(monkeypatch):
    """Another thread writes when the hit was found and the query has not run."""
    from ormcache.connection.compiler import CachedCompiler

    names()
    read_uncached = CachedCompiler.read_uncached

    def write_first(self, *args):
        in_thread(lambda: Genre.objects.update(name="Verse"))
        return read_uncached(self, *args)

    with override_cache("shadow"), monkeypatch.context() as patched:
        patched.setattr(CachedCompiler, "read_uncached", write_first)
        with assert_hits(1):
            assert names() == ["Verse"]


def test_an_order_that_nobody_asked_for_is_no_stale_read(monkeypatch):
    from ormcache.connection.compiler import CachedCompiler

    Genre.objects.create(name="Drama")
    unordered = Genre.objects.order_by().values_list("name", flat=True)
    assert sorted(unordered) == sorted(unordered.all())
    names()
    read_uncached = CachedCompiler.read_uncached

    def turned(self, *args):
        return [[row for rows in read_uncached(self, *args) for row in rows][::-1]]

    monkeypatch.setattr(CachedCompiler, "read_uncached", turned)
    with override_cache("shadow"):
        list(unordered.all())
    with pytest.raises(StaleRead, match="in another order"), override_cache("shadow"):
        names()


# Assertions ---------------------------------------------------------------------------------


def test_assertions_that_hold():
    with assert_misses(1), assert_hits(0):
        names()
    with assert_hits(2) as recorder, assert_misses(0):
        names()
        names()
    assert len(recorder.hits) == 2
    with assert_hits(), assert_misses(), assert_bypassed(reasons.RANDOM), assert_bypassed(n=1):
        names()
        Genre.objects.count()
        list(Genre.objects.order_by("?"))
    with assert_misses(1, using="second"):
        names()
        names("second")


@pytest.mark.parametrize(
    "assertion, told",
    [
        (lambda: assert_hits(2), "expected 2 hits, got 1"),
        (lambda: assert_hits(0), "expected 0 hits, got 1"),
        (lambda: assert_hits(using="second"), "expected at least 1 hit on 'second', got 0. There was no read."),
        (lambda: assert_misses(2), "expected 2 misses, got 1"),
        (lambda: assert_bypassed(reasons.DIRTY), "expected at least 1 bypassed read (dirty), got 0"),
        (lambda: assert_bypassed(n=2), "expected 2 bypassed reads, got 1"),
    ],
)
def test_assertions_that_fail(assertion, told):
    names()
    Genre.objects.update(name="Verse")
    with pytest.raises(AssertionError) as raised, assertion():
        names()
        names()
        list(Genre.objects.order_by("?"))
    message = str(raised.value)
    assert message.startswith(told)
    if "There was" not in told:
        for line in (
            "  1. miss: ",
            "  2. hit, on 'default', at ",
            "  3. bypassed: random, on 'default', at ",
            "     SELECT ",
        ):
            assert line in message


def test_a_long_statement_is_shortened_in_the_message():
    with pytest.raises(AssertionError) as raised, assert_hits():
        list(Genre.objects.filter(name="x" * 99).filter(name__in=list("abcdefgh")).exclude(name="y" * 200))
    assert max(map(len, str(raised.value).splitlines())) < 180


def test_an_error_inside_goes_before():
    with pytest.raises(ZeroDivisionError), assert_hits(5):
        raise ZeroDivisionError


def test_an_unknown_reason():
    with pytest.raises(ValueError, match="did you mean 'chunked'"):
        assert_bypassed("chunk")


def test_as_a_mixin():
    class Case(CacheAssertions, TransactionTestCase):
        databases = frozenset({"default"})

        def test(self) -> None:
            with self.assertMisses(1):
                names()
            with self.assertHits(1), self.assertMisses(0):
                names()
            with ormcache.disabled(), self.assertBypassed("disabled", 1):
                names()

        def test_that_fails(self) -> None:
            with self.assertHits(7):
                names()

        def _fixture_teardown(self) -> None:
            """The rows of these tests stay."""

    result = run(Case)
    assert (result.testsRun, len(result.failures), result.errors) == (2, 1, [])
    assert "expected 7 hits, got" in result.failures[0][1]


# In a TestCase's transaction ------------------------------------------------------------------


def test_what_is_cached_in_a_test_case(engine):
    """Tables that nobody has written in the transaction."""

    class Case(CacheAssertions, TestCase):
        databases = frozenset({"default"})

        def test_untouched(self) -> None:
            names()
            with self.assertHits(1):
                names()

        def test_written(self) -> None:
            Genre.objects.create(name="Verse")
            with self.assertBypassed(reasons.DIRTY, 2):
                names()
                names()

    assert ran_well(Case) == 2
    assert names() == ["Prose"]


def test_what_was_written_unseen_in_a_transaction_is_not_kept(configure):
    """As when a test switches the cache on in the transaction that its class has begun."""
    names()
    configure(ENABLED=False)
    with ExitStack() as stack:
        atomic = transaction.atomic()
        atomic.__enter__()
        stack.callback(atomic.__exit__, None, None, None)
        Genre.objects.update(name="not committed")
        stack.enter_context(override_cache("on"))
        with assert_bypassed(reasons.DIRTY, 2):
            assert names() == names() == ["not committed"]
        connection.set_rollback(True)
    configure(ENABLED=True)
    assert in_thread(names) == names() == names("plain") == ["Prose"]


def test_what_was_only_read_unseen_in_a_transaction_does_no_harm(configure, engine):
    configure(ENABLED=False)
    with transaction.atomic():
        names()
        Author.objects.count()
        expected = assert_bypassed(reasons.SNAPSHOT, 1) if engine == "sqlite" else assert_misses(1)
        with override_cache("on"), expected:
            names()
