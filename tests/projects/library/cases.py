# ruff: noqa: PT009, PT027  # unittest's own style, as in a project that knows nothing else
"""The site's own tests, as people write them with Django's test classes. None of them knows of ormcache."""

from __future__ import annotations

import os
import urllib.request

from django.db import connection, transaction
from django.test import LiveServerTestCase, SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django.test.testcases import DatabaseOperationForbidden
from library.models import Shelf, Volume

CACHED = os.environ.get("LIBRARY_CACHED", "1") == "1"
#: what the migrations have put on the shelf
FIRST = os.environ.get("LIBRARY_FIRST", "first")


def names() -> list[str]:
    """By the ORM; it must be what the database says."""
    found = list(Shelf.objects.order_by("pk").values_list("name", flat=True))
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM library_shelf ORDER BY id")
        assert found == [name for (name,) in cursor.fetchall()], "stale"
    return found


class ReadOnly(TestCase):
    """What is read here is what the database holds before and after the test."""

    def test_read(self) -> None:
        self.assertEqual(names(), [FIRST])


class ReadOnlyAgain(ReadOnly):
    pass


class RolledBack(TestCase):
    """Two tests that write the same rows; each starts from those of setUpTestData."""

    @classmethod
    def setUpTestData(cls) -> None:
        cls.shelf = Shelf.objects.create(name="drama")

    def test_one(self) -> None:
        self.assertEqual(names(), [FIRST, "drama"])
        Shelf.objects.create(name="one")
        self.shelf.name = "comedy"
        self.shelf.save()
        self.assertEqual(names(), [FIRST, "comedy", "one"])

    def test_two(self) -> None:
        self.assertEqual(names(), [FIRST, "drama"])
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            Shelf.objects.all().delete()
            self.assertEqual(names(), [])
            raise ZeroDivisionError
        self.assertEqual(names(), [FIRST, "drama"])

    def test_pages(self) -> None:
        self.assertContains(self.client.get("/"), f"{FIRST},drama")
        self.assertContains(self.client.get("/add/?name=new"), f"{FIRST},drama,new")
        self.assertContains(self.client.get("/"), f"{FIRST},drama,new")

    def test_hooks(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            Shelf.objects.create(name="hook")
            transaction.on_commit(lambda: Shelf.objects.create(name="hooked"))
        self.assertEqual(names(), [FIRST, "drama", "hook", "hooked"])


class WithFixtures(TestCase):
    fixtures = ("poetry",)

    def test_rows(self) -> None:
        self.assertIn("poetry", names())
        self.assertEqual(Volume.objects.select_related("shelf").get().shelf.name, "poetry")


class Committed(TransactionTestCase):
    """Flushed after each test; the rows of the migrations are put back before it."""

    serialized_rollback = True

    def test_one(self) -> None:
        self.assertEqual(names(), [FIRST])
        Shelf.objects.create(name="one")
        self.assertEqual(names(), [FIRST, "one"])

    def test_two(self) -> None:
        self.assertEqual(names(), [FIRST])
        Shelf.objects.create(name="two")
        self.assertEqual(names(), [FIRST, "two"])

    def test_queries(self) -> None:
        with self.assertNumQueries(1):
            list(Volume.objects.all())
        with self.assertNumQueries(0 if CACHED else 1):
            list(Volume.objects.all())
        shelf = Shelf.objects.get()
        with self.assertNumQueries(1):
            Volume.objects.create(shelf=shelf, title="A")
        with self.assertNumQueries(1):
            self.assertEqual(Volume.objects.get().title, "A")

    @override_settings(ORMCACHE={"ENABLED": False})
    def test_switched_off(self) -> None:
        for _ in range(2):
            with self.assertNumQueries(1):
                self.assertEqual(Shelf.objects.get().name, FIRST)


class CommittedFixtures(TransactionTestCase):
    fixtures = ("poetry",)

    def test_one(self) -> None:
        self.assertIn("poetry", names())
        Shelf.objects.all().delete()
        self.assertEqual(names(), [])

    test_two = test_one


class Served(LiveServerTestCase):
    """The server's thread reads what the test writes, and the other way round."""

    serialized_rollback = True

    def get(self, path: str) -> str:
        with urllib.request.urlopen(self.live_server_url + path, timeout=20) as answer:
            return answer.read().decode()

    def test_pages(self) -> None:
        self.assertEqual(self.get("/"), f"<body>{FIRST}</body>")
        self.assertEqual(self.get("/"), f"<body>{FIRST}</body>")
        Shelf.objects.create(name="mine")
        self.assertEqual(self.get("/"), f"<body>{FIRST},mine</body>")
        self.assertEqual(names(), [FIRST, "mine"])
        self.assertEqual(self.get("/add/?name=yours"), f"<body>{FIRST},mine,yours</body>")
        self.assertEqual(names(), [FIRST, "mine", "yours"])


class WithoutDatabase(SimpleTestCase):
    """A read that the cache could answer is forbidden like any other."""

    @classmethod
    def setUpClass(cls) -> None:
        for _ in range(2):
            list(Volume.objects.filter(title="warm"))
        super().setUpClass()

    def test_read(self) -> None:
        with self.assertRaises(DatabaseOperationForbidden):
            list(Volume.objects.filter(title="warm"))

    def test_reads_that_need_no_database(self) -> None:
        self.assertEqual(list(Volume.objects.none()), [])
        self.assertEqual(list(Volume.objects.filter(pk__in=[])), [])
        self.assertEqual(Volume.objects.filter(pk__in=[]).count(), 0)
