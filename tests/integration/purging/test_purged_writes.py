"""Whatever gives slots new stamps purges what depends on them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections, transaction

import ormcache
from ormcache import signals
from ormcache.cache.invalidation_queue import InvalidationQueue
from ormcache.cache.stamps import Stamps
from ormcache.exceptions import StoreUnavailable
from ormcache.stores.base import Store
from ormcache.utils import drivers
from tests.integration.purging.conftest import Cdn
from tests.integration.purging.recording import InFile, purged
from tests.shop.models import Author, Book, Genre
from tests.waiting import eventually


def authors() -> list[Author]:
    return list(Author.objects.order_by("pk"))


def genres() -> list[Genre]:
    return list(Genre.objects.order_by("pk"))


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def written_by(write: Callable[[], Any]) -> frozenset[str]:
    found: list[frozenset[str]] = []

    def receive(relations: frozenset[str], **arguments: Any) -> None:
        found.append(relations)

    signals.invalidated.connect(receive)
    write()
    signals.invalidated.disconnect(receive)
    return frozenset().union(*found)


def in_transaction() -> None:
    with transaction.atomic():
        Author.objects.create(name="new")
        assert purged == [], "nobody can see it yet"


WRITES: dict[str, Callable[[], Any]] = {
    "create": lambda: Author.objects.create(name="new"),
    "bulk_create": lambda: Author.objects.bulk_create([Author(name="new"), Author(name="newer")]),
    "update": lambda: Author.objects.update(name="changed"),
    "delete": lambda: Author.objects.all().delete(),
    "atomic": in_transaction,
    "SQL": lambda: execute("UPDATE shop_author SET name = 'changed'"),
    "invalidate(model)": lambda: ormcache.invalidate(Author),
    "invalidate()": ormcache.invalidate,
}


@pytest.mark.parametrize("name", WRITES)
def test_a_write_purges_what_shows_its_table(cdn: Cdn, name: str) -> None:
    Author.objects.create(name="first")
    page, other = cdn.tags(authors), cdn.tags(genres)

    WRITES[name]()

    found = cdn.purged()
    assert found & page
    assert bool(found & other) == (name == "invalidate()")


def test_what_is_rolled_back_purges_nothing(cdn: Cdn) -> None:
    page = cdn.tags(authors)
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        Author.objects.create(name="new")
        raise ZeroDivisionError

    assert not cdn.purged() & page


def test_a_write_to_a_row_purges_pages_of_that_row(cdn: Cdn, configure: Callable[..., None]) -> None:
    configure(ROWS="always")
    first, second = (Author.objects.create(name=name) for name in ("first", "second"))
    one = cdn.tags(lambda: Author.objects.get(pk=first.pk))
    other = cdn.tags(lambda: Author.objects.get(pk=second.pk))
    all_of_them = cdn.tags(authors)

    first.name = "changed"
    first.save()

    found = cdn.purged()
    assert found & one
    assert found & all_of_them
    assert not found & other


def test_a_page_of_two_tables(cdn: Cdn) -> None:
    Book.objects.create(title="title", author=Author.objects.create(name="first"))
    page = cdn.tags(lambda: list(Book.objects.select_related("author")))

    Author.objects.update(name="changed")
    assert cdn.purged() & page
    Book.objects.update(title="changed")
    assert cdn.purged() & page


def test_while_the_store_is_away(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CDN is purged at once, and once more when other processes' results are invalidated."""
    page = cdn.tags(authors)

    def away(*args: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Store, "mark", away)
        patched.setattr(Store, "settle", away)
        patched.setattr(InvalidationQueue, "_work", lambda queue: None)
        Author.objects.create(name="new")
        assert cdn.purged() & page
    connection.ormcache.known().pending.retry_now()

    assert cdn.purged() & page


def test_invalidate_while_the_store_is_away(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    page = cdn.tags(authors)

    def away(*args: Any) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(Stamps, "renew", away)
        patched.setattr(InvalidationQueue, "_work", lambda queue: None)
        with pytest.raises(StoreUnavailable):
            ormcache.invalidate(Author)
        assert cdn.purged() & page
    connection.ormcache.known().pending.retry_now()

    assert cdn.purged() & page


def test_a_commit_without_an_answer(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may become visible at any time until its marks end, and meanwhile nothing is held."""
    page = cdn.tags(authors)
    relations = written_by(lambda: Author.objects.create(name="first"))
    invalidator = connection.ormcache_writes._invalidator
    cdn.purged()

    def fail() -> None:
        raise connection.Database.OperationalError("the connection is lost")

    with monkeypatch.context() as patched:
        patched.setattr(drivers, "has_answered", lambda *args: False)
        with pytest.raises(connection.Database.OperationalError):
            invalidator.run_marked(connection.ormcache.known(), fail, relations)

    assert cdn.purged() & page


def test_a_commit_without_an_answer_while_the_store_is_away(cdn: Cdn, monkeypatch: pytest.MonkeyPatch) -> None:
    page = cdn.tags(authors)
    relations, database = written_by(lambda: Author.objects.create(name="first")), connection.ormcache.known()
    cdn.purged()
    with monkeypatch.context() as patched:
        patched.setattr(InvalidationQueue, "_work", lambda queue: None)
        database.postpone(relations, unanswered=60.0)
        assert cdn.purged() & page
    database.pending.retry_now()  # marks it

    assert cdn.purged() & page


def test_without_the_setting_there_is_no_queue(configure: Callable[..., None]) -> None:
    Author.objects.create(name="new")

    assert connection.ormcache.known().purge_queues == ()


def test_a_purger_that_fails_fails_no_write(cdn: Cdn, configure: Callable[..., None], caplog: Any) -> None:
    configure(PURGE={"BACKEND": "no.such.Purger"})
    Author.objects.create(name="new")
    (queue,) = connection.ormcache.known().purge_queues

    eventually(lambda: queue.failures)
    assert [one.name for one in authors()] == ["new"]
    queue.forget()
    configure(PURGE=None)
    connections.close_all()


def test_a_killed_process_loses_its_purge(
    cdn: Cdn, other_process: Any, configure: Callable[..., None], tmp_path: Path
) -> None:
    """Its write is committed, and what others write later purges what they have written alone."""
    page, other = cdn.tags(authors), cdn.tags(genres)
    path = tmp_path / "purged"
    backend = f"{InFile.__module__}.{InFile.__qualname__}"
    configure(PURGE={"BACKEND": backend, "REPEAT_AFTER": 0, "OPTIONS": {"path": str(path)}})
    delivering = "before:ormcache.purging.queue.PurgeQueue.add"
    process = other_process.start("tests.integration.calls.add", "new", stops=[delivering])
    process.wait_for(delivering)
    process.kill()
    assert Author.objects.using("plain").filter(name="new").exists()
    assert not path.exists()

    other_process(f"{__name__}.add_genre")

    found = set(path.read_text(encoding="utf-8").split())
    assert found & other
    assert not found & page


def add_genre() -> None:
    Genre.objects.create(name="new")
