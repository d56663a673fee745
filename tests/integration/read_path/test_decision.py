"""What becomes of a read is decided once: ``explain()`` says what the read path then does, and why."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now, Random
from django.db.models.sql import Query
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

import ormcache
from ormcache import reasons
from ormcache.cache import adaptive
from ormcache.database.current_time import SUSPICIOUS
from ormcache.diagnostics.explain import explainer
from ormcache.read_path import eligibility, read
from ormcache.telemetry.recorder import BYPASS, Recorder
from tests.integration.reading import ENGINE, execute
from tests.shop.models import Author, Book, Genre, Review


class Unkeyable(str):  # noqa: SLOT000  # its attributes are the point
    """A parameter with more to it than its characters: it has no exact form."""

    def __init__(self, value: str) -> None:
        self.origin = object()


class OwnQuery(Query):
    def get_compiler(self, using: Any = None, connection: Any = None, *args: Any, **kwargs: Any) -> Any:
        return SQLCompiler(self, connection or connections[using], using, *args, **kwargs)


#: Name → a read, and why it is never cached by itself
READS: dict[str, tuple[Callable[[], Any], str | None]] = {
    "plain": (Author.objects.all, None),
    "parameter": (lambda: Author.objects.filter(name="Ann"), None),
    "join": (lambda: Book.objects.select_related("author").filter(author__name="Ann"), None),
    "aggregate": (lambda: Author.objects.values("name").annotate(number=Count("books")), None),
    "another table": (lambda: Genre.objects.filter(name="Prose"), None),
    "blacklisted": (Review.objects.all, reasons.BLACKLISTED),
    "locking": (Author.objects.select_for_update, reasons.LOCKING),
    "clock": (lambda: Book.objects.filter(created__lt=Now()), reasons.CLOCK),
    "random": (lambda: Author.objects.annotate(number=Random()), reasons.RANDOM),
    "unkeyable": (lambda: Author.objects.filter(name=Unkeyable("Ann")), reasons.PARAMETER),
    "current time": (lambda: Book.objects.filter(Q(created__gt=timezone.now()) | Q(pk=-1)), reasons.CURRENT_TIME),
    "an earlier time": (lambda: Book.objects.filter(created__gt=timezone.now() - datetime.timedelta(days=3)), None),
    "own compiler": (lambda: QuerySet(Author, query=OwnQuery(Author)), reasons.OWN_COMPILER),
}
if ENGINE == "postgresql":
    clock = Author.objects.extra(where=["born = %s"], params=["today"])
    READS["clock parameter"] = (clock.all, reasons.CLOCK)


@contextmanager
def written() -> Iterator[None]:
    with transaction.atomic():
        Author.objects.update(active=False)
        yield


@contextmanager
def broken() -> Iterator[None]:
    with suppress(DatabaseError, transaction.TransactionManagementError), transaction.atomic():
        transaction.set_rollback(True)
        yield


@contextmanager
def untracked() -> Iterator[None]:
    statements = {
        "postgresql": "DO $$ BEGIN END $$",
        "mysql": "SET @@session.sql_mode = 'ANSI_QUOTES'",
        "sqlite": "PRAGMA read_uncommitted = 1",
    }
    execute(statements[ENGINE])
    yield
    connection.close()


def through(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    return execute(sql, params, many, context)


@contextmanager
def adaptively_bypassed() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptive.AdaptiveBypass, "is_active", True)
        patch.setattr(adaptive.AdaptiveBypass, "is_probe_due", lambda self: False)
        patch.setattr(adaptive.AdaptiveBypass, "record_query", lambda self, took: None)
        yield


#: Name → what a connection is in when it reads
CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "at rest": nullcontext,
    "disabled": ormcache.disabled,
    "transaction": transaction.atomic,
    "dirty": written,
    "broken transaction": broken,
    "untracked session": untracked,
    "intercepted": lambda: connection.execute_wrapper(through),
    "adaptive bypass": adaptively_bypassed,
}


@pytest.fixture(autouse=True)
def _rows(configure: Any) -> None:
    configure(BLACKLIST=["shop_review"])
    Author.objects.using("plain").create(name="Ann")
    connection.ensure_connection()


def explained_reason(explanation: Any) -> str | None:
    """What an explanation says why a read would not be looked up now."""
    bypass = explanation.bypass_reason or explanation.reason
    return None if bypass is None else bypass.name


def reason_of_read(queryset: Any) -> str | None:
    """Why the read of a queryset was not looked up; None if it was."""
    with Recorder() as recorder, suppress(DatabaseError, transaction.TransactionManagementError):
        list(queryset)
    (recorded,) = recorder.reads
    return recorded.reason if recorded.outcome == BYPASS else None


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", READS)
def test_an_explanation_says_what_the_read_path_does(name: str, context: str) -> None:
    make, reason = READS[name]
    if name == "locking" and context not in ("transaction", "dirty") and ENGINE != "sqlite":
        pytest.skip("a lock needs a transaction")
    if reason == reasons.CURRENT_TIME:
        if context == "untracked session" and ENGINE == "postgresql":
            pytest.skip("names are looked up elsewhere: that is another plan, of which nothing is known yet")
        for _ in range(SUSPICIOUS):
            list(make())
    with CONTEXTS[context]():
        queryset = make()
        explanation = ormcache.explain(queryset)
        became = reason_of_read(queryset)
    if ENGINE == "sqlite" and became == reasons.SNAPSHOT and context in ("transaction", "dirty"):
        became = None  # it was eligible; the stamps that the lookup brought were not of the snapshot

    assert explained_reason(explanation) == became
    assert (None if explanation.reason is None else explanation.reason.name) == reason
    assert explanation.cached == (reason is None)


@pytest.mark.parametrize("name", ["plain", "join", "unkeyable"])
def test_the_reason_is_the_same_function_s(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eligibility, "connection_reason", lambda *args: reasons.UNCOMMITTED)
    queryset = READS[name][0]()

    assert explained_reason(ormcache.explain(queryset)) == reasons.UNCOMMITTED
    assert reason_of_read(queryset) == reasons.UNCOMMITTED
    assert explainer.decide is eligibility.decide is read.decide
