"""Random programs on two connections: whatever they do, a read answers what the database answers."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import Avg, Count, Exists, OuterRef
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import ormcache
from ormcache import reasons
from ormcache.read_path import eligibility
from tests import environment
from tests.examples import examples
from tests.integration.calls import leftovers, run
from tests.shop.models import Author, Book, Genre

WHO = st.sampled_from(["one", "two"])
NAMES = st.sampled_from(["A", "B", "C"])

#: What is asked, and asked again and again
QUERIES: dict[str, Callable[[str], Any]] = {
    "names": lambda using: list(Author.objects.using(using).order_by("name", "id").values_list("name", flat=True)),
    "active": lambda using: [a.name for a in Author.objects.using(using).filter(active=True).order_by("name", "id")],
    "count": lambda using: Author.objects.using(using).count(),
    "exists": lambda using: Book.objects.using(using).filter(title="A").exists(),
    "first": lambda using: Author.objects.using(using).order_by("-name").values_list("name").first(),
    "books": lambda using: list(Book.objects.using(using).order_by("title", "id").values_list("title", "author__name")),
    "average": lambda using: Book.objects.using(using).aggregate(Avg("copies"), Count("author", distinct=True)),
    "with books": lambda using: sorted(
        Author.objects.using(using)
        .filter(Exists(Book.objects.filter(author=OuterRef("pk"))))
        .values_list("name", flat=True)
    ),
    "genres": lambda using: sorted(Genre.objects.using(using).values_list("name", "books__title"), key=str),
    "prefetched": lambda using: [
        (author.name, sorted(book.title for book in author.books.all()))
        for author in Author.objects.using(using).order_by("name", "id").prefetch_related("books")
    ],
}


def create(name: str) -> None:
    Author.objects.create(name=name)


def create_many(name: str) -> None:
    Author.objects.bulk_create([Author(name=name), Author(name=name + name, active=False)])


def create_book(name: str) -> None:
    author = Author.objects.first()
    if author is not None:
        book = Book.objects.create(author=author, title=name, copies=len(name))
        book.genres.add(Genre.objects.create(name=name))


def rename(name: str) -> None:
    Author.objects.filter(name=name).update(name=name.swapcase(), active=False)


def save(name: str) -> None:
    author = Author.objects.last()
    if author is not None:
        author.name = name
        author.save()


def delete(name: str) -> None:
    """With its books, and their genres' links."""
    Author.objects.filter(name__iexact=name).delete()


def raw_insert(name: str) -> None:
    run("INSERT INTO shop_author (name, active) VALUES (%s, true)", name)


def raw_update(name: str) -> None:
    run("UPDATE shop_book SET title = %s", name)


INSERTS = st.sampled_from([create, create_many, raw_insert])
WRITES = st.sampled_from([create, create_many, raw_insert, create_book, rename, save, delete, raw_update])


class Program(RuleBasedStateMachine):
    """Each of the two connections belongs to a thread; only one of them runs at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.threads = {who: ThreadPoolExecutor(1) for who in ("one", "two")}
        #: the blocks that each connection is in, the outermost one first
        self.blocks: dict[str, list[Any]] = {"one": [], "two": []}

    def on(self, who: str, function: Callable[..., Any], *args: Any) -> Any:
        return self.threads[who].submit(function, *args).result(30)

    def other_is_free(self, who: str) -> bool:
        return not self.blocks["two" if who == "one" else "one"]

    @rule(who=WHO, query=st.sampled_from(sorted(QUERIES)), times=st.integers(1, 2))
    def read(self, who: str, query: str, times: int) -> None:
        def uncached() -> Any:
            # Through the same connection where it is in a transaction, which may see more or less than others do.
            if not self.blocks[who]:
                return QUERIES[query]("plain")
            with ormcache.disabled():
                return QUERIES[query]("default")

        for _ in range(times):
            assert self.on(who, QUERIES[query], "default") == self.on(who, uncached), f"{query} on {who}"

    @rule(who=WHO, write=WRITES, name=NAMES)
    def write(self, who: str, write: Callable[[str], None], name: str) -> None:
        if self.other_is_free(who):  # or else it could wait for a lock for ever
            self.on(who, write, name)

    @precondition(lambda self: environment.current().engine != "sqlite")
    @rule(who=WHO, insert=INSERTS, name=NAMES)
    def insert(self, who: str, insert: Callable[[str], None], name: str) -> None:
        self.on(who, insert, name)

    @rule(who=WHO)
    def begin(self, who: str) -> None:
        if len(self.blocks[who]) < 3 and (environment.current().engine != "sqlite" or self.other_is_free(who)):
            block = transaction.atomic()
            self.on(who, block.__enter__)
            self.blocks[who].append(block)

    @precondition(lambda self: any(self.blocks.values()))
    @rule(who=WHO)
    def commit(self, who: str) -> None:
        if self.blocks[who]:
            self.on(who, self.blocks[who].pop().__exit__, None, None, None)

    @precondition(lambda self: any(self.blocks.values()))
    @rule(who=WHO)
    def rollback(self, who: str) -> None:
        if self.blocks[who]:
            self.on(who, self.blocks[who].pop().__exit__, ValueError, ValueError("undone"), None)

    @rule(who=WHO, write=WRITES, name=NAMES, query=st.sampled_from(sorted(QUERIES)))
    def try_and_undo(self, who: str, write: Callable[[str], None], name: str, query: str) -> None:
        if self.other_is_free(who):
            self.begin(who)
            self.read(who, query, 1)
            self.write(who, write, name)
            self.read(who, query, 1)
            self.rollback(who)
            self.read(who, query, 1)

    def teardown(self) -> None:
        left = []
        for who in self.threads:
            while self.blocks[who]:
                self.on(who, self.blocks[who].pop().__exit__, None, None, None)
            left += self.on(who, leftovers)
        wrong = [
            (who, query)
            for query, ask in QUERIES.items()
            for who in self.threads
            if self.on(who, ask, "default") != ask("plain")
        ]
        for who, thread in self.threads.items():
            self.on(who, connections.close_all)
            thread.shutdown()
        for model in (Author, Genre):
            model.objects.all().delete()
        assert wrong == left == []


def run_programs(count: int, **options: Any) -> None:
    run_state_machine_as_test(
        Program,
        settings=settings(
            max_examples=count,
            stateful_step_count=30,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            **options,
        ),
    )


@pytest.mark.parametrize("local_size, share", [(0, "always"), (2**20, "always"), (2**20, "auto")])
def test_random_programs(configure, local_size, share):
    configure(LOCAL_SIZE=local_size, SHARE=share)
    before = ormcache.stats("default")["hits"]
    run_programs(examples(50))
    assert ormcache.stats("default")["hits"] > before + examples(100)


def test_such_programs_find_a_fault(configure, monkeypatch):
    """Without the rule about a transaction's own writes: what a transaction has written and undone is served."""
    connection_reason = eligibility.connection_reason

    def blind(*args: Any) -> str | None:
        reason = connection_reason(*args)
        return None if reason in (reasons.DIRTY, reasons.SNAPSHOT) else reason

    monkeypatch.setattr(eligibility, "connection_reason", blind)
    # Hypothesis runs a program that has failed once more: what is judged meanwhile must not make it another one.
    configure(ROWS="never", ADAPTIVE=False)
    with pytest.raises(AssertionError):
        run_programs(200, phases=[Phase.generate])
    monkeypatch.undo()
    ormcache.invalidate()
