"""Random views of pages: reads by the ORM and in SQL, of two databases, writes, functions and fragments within others.

A program of a seed is a few views, fragments and functions. Each is a list of parts, and each part that reads gives one
line of the page. The same program is shown through the cache, and without it on the aliases past it.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync, sync_to_async
from django.db import connections
from django.db.models.expressions import RawSQL
from django.http import HttpRequest, HttpResponse
from django.template import Context, Engine, Library
from django.test import RequestFactory

import ormcache
from tests.integration.protocol.row_programs import IDS, READS, read_with
from tests.shop.models import Author, Book, Genre

VIEWS = 8
INNER = 5  # functions and fragments

#: Statements in SQL, with one parameter: what reads through a cursor is not tracked, and so never stored
STATEMENTS = (
    "SELECT id, name FROM shop_author WHERE id = %s",
    "SELECT count(*), max(copies) FROM shop_book WHERE author_id = %s",
    "SELECT b.id, a.name FROM shop_book b JOIN shop_author a ON a.id = b.author_id WHERE b.copies < %s ORDER BY b.id",
    "SELECT id, stars FROM shop_review WHERE book_id IN (SELECT id FROM shop_book WHERE id >= %s) ORDER BY id",
    "WITH some AS (SELECT id, title FROM shop_book WHERE id <> %s) SELECT title FROM some ORDER BY id",
)
#: A fragment: a part of a program, or a loop over a QuerySet of the view's that was not evaluated before
FRAGMENTS = """\
{% load ormcache page_programs %}\
{% if number is not None %}{% ormcache "parts" seed number %}{% parts_of seed number %}{% endormcache %}{% else %}\
{% ormcache "loop" %}{% for id, title in rows %}{{ id }} {{ title }},{% endfor %}{% endormcache %}
{% endif %}"""

register = Library()


class Part(NamedTuple):
    """One part of a view, of a fragment or of a function."""

    kind: str  # "orm", "sql", "cursor", "second", "loop", "write", "function" or "fragment"
    name: str  # of the read in READS
    number: int  # its seed, the parameter, or the number of the function or fragment


class Program(NamedTuple):
    """What the views of one seed show."""

    views: list[list[Part]]
    inner: list[list[Part]]  # of functions and fragments; each may contain those before it

    def leaves(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts that read and write, in their order."""
        for part in parts:
            yield from self.leaves(self.inner[part.number]) if part.kind in ("function", "fragment") else (part,)

    def text(self, parts: Iterable[Part], line: Callable[[Part], str]) -> str:
        """Return what these parts show. ``line``: of each part that reads."""
        return "".join(line(part) for part in self.leaves(parts) if part.kind != "write")


@functools.lru_cache(maxsize=8)
def program_of(seed: int) -> Program:
    """The program of a seed, in every process."""
    rng = random.Random(seed)

    def parts(inner: int, kinds: list[str]) -> list[Part]:
        found = []
        for _ in range(rng.randint(1, 4)):
            kind = rng.choice(kinds)
            if kind in ("function", "fragment"):
                if inner:
                    found.append(Part(kind, "", rng.randrange(inner)))
                continue
            found.append(Part(kind, rng.choice(list(READS)), rng.choice(list(IDS))))
        return found or [Part("orm", rng.choice(list(READS)), rng.choice(list(IDS)))]

    reads = ["orm", "orm", "orm", "orm", "sql", "second", "loop", "function", "function", "fragment", "fragment"]
    inner = [parts(number, reads) for number in range(INNER)]
    views = [parts(INNER, reads + ["write"] * (number == 0) + ["cursor"] * (number < 2)) for number in range(VIEWS)]
    return Program(views, inner)


# Reads ----------------------------------------------------------------------------------------


def read(part: Part, using: str = "plain", second: str = "second_plain") -> str:
    """The line of a part that reads. ``using``, ``second``: the aliases of the two databases."""
    if part.kind == "sql":
        of_author = RawSQL(
            "SELECT max(copies) FROM shop_book WHERE author_id = shop_author.id AND id <> %s", [part.number]
        )
        found = list(Author.objects.using(using).annotate(most=of_author).order_by("pk").values_list("pk", "most"))
        return f"{found}\n"
    if part.kind == "cursor":
        with connections[using].cursor() as cursor:
            cursor.execute(STATEMENTS[len(part.name) % len(STATEMENTS)], [part.number])
            return f"{[tuple(row) for row in cursor.fetchall()]}\n"
    if part.kind == "second":
        found = list(Genre.objects.using(second).filter(pk__lte=part.number).order_by("pk").values_list("pk", "name"))
        return f"{found}\n"
    if part.kind == "loop":
        return "".join(f"{pk} {title}," for pk, title in rows_of_loop(part, using)) + "\n"
    return f"{read_with(part.name, using, part.number)!r}\n"


def rows_of_loop(part: Part, using: str) -> Any:
    return Book.objects.using(using).filter(pk__gte=part.number).order_by("pk").values_list("pk", "title")


def write(part: Part) -> None:
    Author.objects.update_or_create(pk=part.number, defaults={"name": f"seen {random.random()}"})


# Through the cache ---------------------------------------------------------------------------------


class Shown(NamedTuple):
    """One part, or a whole page, as it was shown through the cache."""

    text: str
    parts: list[Part]
    computed: str | None  # what its parts showed, if it was computed; None: it was read or served


class Screen:
    """What one process is shown through the cache."""

    def __init__(self, seed: int, note: Callable[[Shown], None]) -> None:
        """``note``: is called with all that is shown, when it is."""
        self.seed = seed
        self.program = program_of(seed)
        self.hits = self.unmodified = 0
        self._note = note
        self._before: Callable[[], None] = lambda: None
        #: of all that is being shown: the texts of its parts; None: it has not been computed so far
        self._open: list[list[str] | None] = []
        #: view → the tag and the content that the browser has
        self._known: dict[int, tuple[str, str]] = {}

    @contextmanager
    def interrupted_by(self, before: Callable[[], None]) -> Iterator[None]:
        """Call this before each part that is computed, and at the end."""
        self._before = before
        try:
            yield
        finally:
            self._before = lambda: None

    def show(self, number: int, *, asks: bool = False) -> str:
        """Return a page. ``asks``: whether for another one than the browser has."""
        request = RequestFactory().get(f"/{self.seed}/{number}/")
        tag, content = self._known.get(number, ("", ""))
        if asks and tag:
            request.META["HTTP_IF_NONE_MATCH"] = tag

        def fetch() -> str:
            view: Any = async_to_sync(view_of_coroutine) if number % 3 == 2 else view_of_page
            response = view(request, self.seed, number)
            if response.status_code == 304:
                self.unmodified += 1
                return content
            self._known[number] = (response.headers.get("ETag", ""), response.content.decode())
            return self._known[number][1]

        context = _screen.set(self)
        try:
            return self._show(fetch, self.program.views[number])
        finally:
            _screen.reset(context)

    def _show(self, fetch: Callable[[], str], parts: list[Part]) -> str:
        self._open.append(None)
        try:
            found = fetch()
        finally:
            texts = self._open.pop()
        self._note(Shown(found, parts, None if texts is None else "".join(texts)))
        around = self._open[-1] if self._open else None
        if around is not None:
            around.append(found)
        return found

    def compute(self, parts: list[Part]) -> str:
        """Return what these parts show, each through the cache."""
        texts = self._open[-1] = []
        for part in parts:
            self._before()
            if part.kind == "write":
                write(part)
            elif part.kind in ("function", "fragment"):
                inner = self.program.inner[part.number]
                self._show(functools.partial(self._nested, part), inner)
            else:
                self._show(functools.partial(self._read, part), [part])
        self._before()
        return "".join(texts)

    def _nested(self, part: Part) -> str:
        if part.kind == "function":
            return cached_parts(self.seed, part.number)
        return _template().render(Context({"seed": self.seed, "number": part.number}, autoescape=False))

    @staticmethod
    def _read(part: Part) -> str:
        if part.kind != "loop":
            return read(part, "default", "second")
        return _template().render(Context({"number": None, "rows": rows_of_loop(part, "default")}, autoescape=False))


_screen: ContextVar[Screen] = ContextVar("screen")


@functools.cache
def _template() -> Any:
    libraries = {"ormcache": "ormcache.templatetags.ormcache", "page_programs": __name__}
    return Engine(libraries=libraries, autoescape=False).from_string(FRAGMENTS)


@register.simple_tag
def parts_of(seed: int, number: int) -> str:
    return _screen.get().compute(program_of(seed).inner[number])


@ormcache.cached
def cached_parts(seed: int, number: int) -> str:
    return _screen.get().compute(program_of(seed).inner[number])


@ormcache.cache_page()
def view_of_page(request: HttpRequest, seed: int, number: int) -> HttpResponse:
    return HttpResponse(_screen.get().compute(program_of(seed).views[number]))


@ormcache.cache_page()
async def view_of_coroutine(request: HttpRequest, seed: int, number: int) -> HttpResponse:
    return HttpResponse(await sync_to_async(_screen.get().compute)(program_of(seed).views[number]))
