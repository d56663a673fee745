"""Fragments of Django's templates: what they are named by, when they are rendered anew, and what is never stored."""

from __future__ import annotations

import datetime
import random
import sys
import time
import types
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Prefetch
from django.template import Context, Engine, Library, RequestContext, Template, TemplateSyntaxError, engines
from django.test import RequestFactory, override_settings
from django.urls import re_path, set_script_prefix, set_urlconf
from django.utils import timezone, translation
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

import ormcache
from ormcache import reasons
from ormcache.cache import local_cache
from ormcache.cache.tracking import Tracker, tracking
from ormcache.pages import derivation, fragments
from tests.integration.reading import in_thread
from tests.shop.models import Author, Book, Genre, Review


@pytest.fixture(autouse=True)
def _rows() -> None:
    ann = Author.objects.create(name="Ann")
    bea = Author.objects.create(name="Bea")
    for author, title in ((ann, "Dawn"), (ann, "Dusk"), (bea, "Noon")):
        Book.objects.create(author=author, title=title)


@pytest.fixture
def rendered(monkeypatch) -> list[str]:
    """The labels of the fragments that were rendered, in order."""
    found: list[str] = []
    real = fragments.compute

    def compute(use, content, *more):
        def watched():
            found.append(use.label)
            return content()

        return real(use, watched, *more)

    monkeypatch.setattr(fragments, "compute", compute)
    return found


def counters(label: str):
    for each in connections["default"].ormcache.observer.counters.derived:
        if (each.kind, each.label) == ("fragment", label):
            return each
    return None


def rejection(label: str = "f") -> tuple[str, str | None] | None:
    last = counters(label).last_rejection
    return None if last is None else (last.reason, last.sql or last.subject)


def template(content: str, arguments: str = "", around: str = "{}") -> Template:
    return Template(
        "{% load ormcache %}" + around.format(f'{{% ormcache "f" {arguments} %}}{content}{{% endormcache %}}')
    )


def render(content: str, arguments: str = "", around: str = "{}", **variables) -> str:
    return template(content, arguments, around).render(Context(variables))


def truth(content: str, around: str = "{}", **variables) -> str:
    return Template(around.format(content)).render(Context(variables))


def author_by_cursor() -> str:
    with connections["default"].cursor() as cursor:
        cursor.execute("SELECT name FROM shop_author ORDER BY id")
        return str(cursor.fetchone()[0])


def urls(name: str) -> str:
    """The name of a new module with a site's URLs."""
    module: Any = types.ModuleType(f"{__name__}_{name}")
    module.urlpatterns = [re_path(f"^{name}/$", lambda request: None, name="start")]
    sys.modules[module.__name__] = module
    return str(module.__name__)


class ByCursor:
    """Reads past the ORM, whenever it is asked."""

    def name(self) -> str:
        return author_by_cursor()


@pytest.mark.parametrize("content, kind", [("{{ x }}", str), ("{{ x.name }}", ByCursor), ("{{ x.0.name }}", list)])
def test_a_lazy_variable_whose_loader_uses_a_cursor(content, kind):
    """It is loaded to name the fragment, or in it: either way, no write may go unnoticed."""
    if kind is str:
        makes = [lambda: SimpleLazyObject(author_by_cursor)]
    else:
        makes = [lambda: SimpleLazyObject(ByCursor)] if kind is ByCursor else [lambda: [SimpleLazyObject(ByCursor)]]
    for name in ("Ann", "Cid", "Dee"):
        Author.objects.filter(name__in=("Ann", "Cid")).update(name=name)
        for make in makes * 2:
            with tracking(Tracker()) as page:
                assert render(content, x=make()) == name
            assert page.rejection is not None  # so no page around it is stored either
            assert page.rejection.reason == reasons.STATEMENT


@pytest.mark.parametrize("name", ["shop", "warehouse"])
def test_urls_outside_of_requests(name):
    """As in a command or a task: they are those of the settings."""
    with override_settings(ROOT_URLCONF=urls(name)):
        set_urlconf(None)
        assert render("{% url 'start' %}") == f"/{name}/"


class Both:
    """Renders with the tag and without it, and compares."""

    def __init__(self, content: str, rendered: list[str], around: str = "{}", engine: Engine | None = None) -> None:
        self.tagged, self.plain = template(content, around=around), Template(around.format(content))
        self.rendered = rendered

    def __call__(self, make, *, hit: bool) -> str:
        """``make``: returns the variables, made anew for each."""
        self.rendered.clear()
        text = self.tagged.render(Context(make()))
        assert bool(self.rendered) is not hit, (self.rendered, counters("f").last_rejection)
        connections["default"].close()
        assert text == self.plain.render(Context(make()))
        return text


# What it reads ------------------------------------------------------------------------------------


def test_what_it_reads_is_tracked(rendered):
    both = Both("{% for author in authors %}{{ author.name }} {% endfor %}", rendered)

    def make():
        return {"authors": Author.objects.order_by("name")}

    assert both(make, hit=False) == "Ann Bea "
    both(make, hit=True)
    Genre.objects.create(name="Prose")
    both(make, hit=True)
    Author.objects.create(name="Cid")
    assert both(make, hit=False) == "Ann Bea Cid "
    both(make, hit=True)
    assert type(both.tagged.render(Context(make()))) is SafeString


def test_it_is_served_in_the_first_rendering_of_another_process(rendered):
    both = Both("{{ authors.count }}", rendered)

    def make():
        return {"authors": Author.objects.all()}

    both(make, hit=False)
    fragments.forget_names()
    both(make, hit=True)


def test_a_queryset_counts_by_its_query(rendered):
    both = Both("{% for each in books %}{{ each.title }} {% endfor %}", rendered)
    ann, bea = Author.objects.order_by("name")
    assert both(lambda: {"books": ann.books.order_by("title")}, hit=False) == "Dawn Dusk "
    assert both(lambda: {"books": bea.books.order_by("title")}, hit=False) == "Noon "
    assert both(lambda: {"books": ann.books.order_by("title")}, hit=True) == "Dawn Dusk "
    assert both(lambda: {"books": ann.books.order_by("-title")}, hit=False) == "Dusk Dawn "
    assert both(lambda: {"books": Book.objects.none()}, hit=False) == ""


def test_a_queryset_counts_by_the_parameters_of_its_query(rendered):
    both = Both("{% for each in books %}{{ each.title }} {% endfor %}", rendered)
    for title in ("Dawn", "Dusk"):
        assert both(lambda title=title: {"books": Book.objects.filter(title=title)}, hit=False) == f"{title} "
    assert both(lambda: {"books": Book.objects.filter(title="Dawn")}, hit=True) == "Dawn "


# What was read before it ---------------------------------------------------------------------------


def test_an_object_that_the_view_has_loaded(rendered):
    both = Both("{{ author.name }}", rendered)

    def make():
        return {"author": Author.objects.get(pk=pk)}

    pk = Author.objects.get(name="Ann").pk
    both(make, hit=False)
    both(make, hit=True)
    Author.objects.filter(pk=pk).update(name="Eve")
    assert both(make, hit=False) == "Eve"
    both(make, hit=True)
    pk = Author.objects.get(name="Bea").pk
    assert both(make, hit=False) == "Bea"


def test_an_object_that_was_not_saved(rendered):
    both = Both("{{ author.name }}", rendered)
    assert both(lambda: {"author": Author(name="x")}, hit=False) == "x"
    assert both(lambda: {"author": Author(name="y")}, hit=False) == "y"
    assert both(lambda: {"author": Author(name="x")}, hit=True) == "x"


@pytest.mark.parametrize("deferred", [False, True])
def test_fields_that_it_loads_itself(rendered, deferred):
    both = Both("{{ author.name }}", rendered)
    authors = Author.objects.defer("name") if deferred else Author.objects
    for name, hit in (("Ann", False), ("Ann", True), ("Zoe", False)):
        if name == "Zoe":
            Author.objects.filter(name="Ann").update(name=name)
        assert both(lambda: {"author": authors.order_by("pk")[0]}, hit=hit) == name


def test_a_field_that_it_loads_of_an_object_with_a_large_key(rendered):
    """Its key is read again, and is an int of its own then: Python has one object for each small int alone."""
    Author.objects.create(pk=10**6, name="Ada")
    both = Both("{{ author.name }}", rendered)

    def make():
        return {"author": Author.objects.defer("name").get(pk=10**6)}

    assert both(make, hit=False) == "Ada"
    assert both(make, hit=True) == "Ada"


@pytest.mark.parametrize(
    "books",
    [
        lambda: Book.objects,
        lambda: Book.objects.select_related("author"),
        lambda: Book.objects.prefetch_related("author"),
        lambda: Book.objects.only("title"),
    ],
)
def test_related_objects(rendered, books):
    both = Both("{{ book.title }} {{ book.author.name }}", rendered)

    def make():
        return {"book": books().order_by("title")[0]}

    assert both(make, hit=False) == "Dawn Ann"
    both(make, hit=True)
    Author.objects.filter(name="Ann").update(name="Eve")
    assert both(make, hit=False) == "Dawn Eve"
    both(make, hit=True)


@pytest.mark.parametrize("lookup", ["books", Prefetch("books", Book.objects.order_by("title"), to_attr="listed")])
def test_prefetched_objects(rendered, lookup):
    both = Both("{{ author.listed|length }}{% for book in author.books.all %}{{ book.title }} {% endfor %}", rendered)

    def make():
        return {"author": next(iter(Author.objects.prefetch_related(lookup).filter(name="Ann")))}

    both(make, hit=False)
    both(make, hit=True)
    Book.objects.filter(title="Dawn").update(title="Aurora")
    assert "Aurora" in both(make, hit=False)
    both(make, hit=True)
    Book.objects.create(author=Author.objects.get(name="Ann"), title="Late")
    assert "Late" in both(make, hit=False)


def test_an_evaluated_queryset(rendered):
    both = Both("{% for each in books %}{{ each.title }} {% endfor %}{{ books.count }}", rendered)

    def make():
        books = Book.objects.order_by("title")
        len(books)
        return {"books": books}

    both(make, hit=False)
    both(make, hit=True)
    Book.objects.filter(title="Noon").update(title="Midday")
    assert "Midday" in both(make, hit=False)


def test_a_page_of_a_paginator(rendered):
    both = Both("{% for each in page %}{{ each.title }} {% endfor %}{{ page.paginator.num_pages }}", rendered)

    def make(number: int = 1):
        return {"page": Paginator(Book.objects.order_by("title"), 2).page(number)}

    assert both(make, hit=False) == "Dawn Dusk 2"
    both(make, hit=True)
    assert both(lambda: make(2), hit=False) == "Noon 2"
    Book.objects.filter(title="Dusk").delete()
    assert both(make, hit=False) == "Dawn Noon 1"


def test_objects_that_refer_to_each_other(rendered):
    both = Both("{% for each in books %}{{ each.author.name }}{{ each.title }} {% endfor %}", rendered)

    def make():
        author = Author.objects.prefetch_related("books").order_by("name")[0]
        return {"books": list(author.books.all()), "author": author}

    both(make, hit=False)
    both(make, hit=True)
    Author.objects.update(name="same")
    both(make, hit=False)


# Plain variables --------------------------------------------------------------------------------------


def test_values_are_part_of_its_name(rendered):
    both = Both("{{ value }}", rendered)
    values = [
        1,
        True,
        "1",
        1.0,
        None,
        datetime.date(2020, 1, 1),
        ["a"],
        ("a",),
        {"a": 1},
        SafeString("<b>"),
        "<b>",
        Genre,
    ]
    for value in values:
        both(lambda value=value: {"value": value}, hit=False)
    for value in values:
        both(lambda value=value: {"value": value}, hit=True)
    both(dict, hit=False)
    both(dict, hit=True)


def test_only_what_it_uses_counts(rendered):
    both = Both("{% if flag %}{{ a }}{% else %}{{ b }}{% endif %}", rendered)
    both(lambda: {"flag": True, "a": 1, "b": random.random(), "request": object()}, hit=False)
    both(lambda: {"flag": True, "a": 1, "b": random.random(), "request": object()}, hit=True)
    both(lambda: {"flag": False, "a": 1, "b": 2}, hit=False)
    both(lambda: {"flag": False, "a": 1, "b": 2}, hit=True)
    assert both(lambda: {"flag": True, "a": 3, "b": 2}, hit=False) == "3"
    # From here on its name has all three; what has no exact form and is not used makes no difference.
    both(lambda: {"flag": True, "a": 1, "b": (each for each in ())}, hit=False)
    both(lambda: {"flag": True, "a": 1, "b": (each for each in ())}, hit=True)


def test_a_variable_that_is_used_where_others_are_not(rendered):
    both = Both("{% if flag %}{{ a }}{% endif %}", rendered)
    both(lambda: {"flag": False, "a": 1}, hit=False)
    for number in (1, 2):
        assert both(lambda number=number: {"flag": True, "a": number}, hit=False) == str(number)


def test_variables_of_loops_and_with(rendered):
    around = "{{% for number in numbers %}}{{% with double=number|add:number %}}{}{{% endwith %}}{{% endfor %}}"
    both = Both("{{ number }}={{ double }} ", rendered, around)
    assert both(lambda: {"numbers": [1, 2]}, hit=False) == "1=2 2=4 "
    assert both(lambda: {"numbers": [2, 1]}, hit=True) == "2=4 1=2 "


def test_the_counter_of_a_loop(rendered):
    both = Both("{{ forloop.counter }}{{ number }} ", rendered, "{{% for number in numbers %}}{}{{% endfor %}}")
    both(lambda: {"numbers": "ab"}, hit=False)
    both(lambda: {"numbers": "ab"}, hit=True)
    both(lambda: {"numbers": "ba"}, hit=False)


def test_a_loop_in_a_fragment_in_a_loop(rendered):
    both = Both(
        "{% for each in 'xy' %}{{ each }}{% endfor %}{{ letter }}",
        rendered,
        "{{% for letter in text %}}{}{{% endfor %}}",
    )
    both(lambda: {"text": "ab"}, hit=False)
    both(lambda: {"text": "ba"}, hit=True)


def test_parent_loops(rendered):
    both = Both(
        "{% for each in 'x' %}{{ forloop.parentloop.counter }}{% endfor %}",
        rendered,
        "{{% for letter in text %}}{}{{% endfor %}}",
    )
    assert both(lambda: {"text": "ab"}, hit=False) == "12"
    assert both(lambda: {"text": "ab"}, hit=True) == "12"


def test_lazy_texts(rendered):
    both = Both("{% load i18n %}{% language 'de' %}{{ text }}{% endlanguage %}{{ text }}", rendered)
    assert both(lambda: {"text": gettext_lazy("Monday")}, hit=False) == "MontagMonday"
    both(lambda: {"text": gettext_lazy("Monday")}, hit=True)
    both(lambda: {"text": gettext_lazy("Tuesday")}, hit=False)


def make_label() -> str:
    return str(Author.objects.count())


def test_functions(rendered):
    both = Both("{{ label }}", rendered)
    both(lambda: {"label": make_label}, hit=False)
    both(lambda: {"label": make_label}, hit=True)
    Author.objects.create(name="Cid")
    assert both(lambda: {"label": make_label}, hit=False) == "3"
    for number in (1, 2):
        assert both(lambda number=number: {"label": lambda: number}, hit=False) == str(number)
    assert rejection() == (
        reasons.VARIABLE,
        "label is a function that is made at run time: give the fragment what it needs of it, as name=value",
    )


def test_managers(rendered):
    both = Both("{{ books.count }}", rendered)
    both(lambda: {"books": Book.objects}, hit=False)
    both(lambda: {"books": Book.objects}, hit=True)
    Book.objects.update(in_print=False)
    assert both(lambda: {"books": Book.available}, hit=False) == "0"
    both(lambda: {"books": Author.objects.get(name="Ann").books}, hit=False)
    assert rejection()[0] == reasons.VARIABLE


# Variables that cannot be named, and what changes ------------------------------------------------------


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: iter("ab"), "value is of type str_ascii_iterator"),
        (lambda: RequestFactory().get("/"), "value is of type django.core.handlers.wsgi.WSGIRequest"),
        (lambda: [RequestFactory().get("/")], "value[0] is of type django.core.handlers.wsgi.WSGIRequest"),
    ],
)
def test_a_variable_without_an_exact_form_is_named(rendered, make, said):
    both = Both("{{ value }}", rendered)
    for _ in range(2):
        rendered.clear()
        both.tagged.render(Context({"value": make()}))
        assert rendered == ["f"]
        reason, text = rejection()
        assert reason == reasons.VARIABLE
        assert text.split(":")[0].replace("str_ascii_iterator", "str_iterator") == said.replace("str_ascii", "str")


def test_what_the_fragment_changes(rendered):
    both = Both("{{ stack.pop }}", rendered)
    stack = ["a", "b"]
    assert both.tagged.render(Context({"stack": stack})) == "b"
    assert rejection() == (reasons.VARIABLE, "stack is changed by the fragment")
    assert both.tagged.render(Context({"stack": ["a", "b"]})) == "b"
    for _ in range(2):
        assert both.tagged.render(Context({"stack": {"c"}})) == "c"
    assert rendered == ["f"] * 4


class Ticket:
    number = 0

    def next(self) -> int:
        self.number = self.number + 1
        return self.number


def test_objects_that_the_fragment_changes(rendered):
    both = Both("{{ ticket.next }}", rendered)
    ticket = Ticket()
    ticket.number = 5
    assert [both.tagged.render(Context({"ticket": ticket})) for _ in range(3)] == ["6", "7", "8"]
    fresh = [Ticket() for _ in range(2)]
    assert [both.tagged.render(Context({"ticket": ticket})) for ticket in fresh] == ["1", "1"]
    assert [ticket.number for ticket in fresh] == [1, 1]  # the attribute is new


@pytest.mark.parametrize(
    "content",
    [
        "{% cycle 'a' 'b' %}",
        "{% ifchanged number %}new{% endifchanged %}",
        "{% cycle 'a' 'b' as row silent %}{{ row }}",
    ],
)
def test_the_state_of_the_template(rendered, content):
    both = Both(content, rendered, "{{% for number in numbers %}}{}{{% endfor %}}")
    for numbers in ([1, 1, 2, 2], [1, 1, 2], [2, 2]):
        both(lambda numbers=numbers: {"numbers": numbers}, hit=False)
    assert rejection()[0] in (reasons.TEMPLATE_STATE, reasons.VARIABLE)


def test_a_loop_with_its_cycle_in_an_included_template(rendered):
    cycle = Template("{% for each in 'abc' %}{% cycle 'x' 'y' %}{% endfor %}")
    both = Both("{% include cycle %}", rendered)
    assert both.tagged.render(Context({"cycle": cycle})) == "xyx"


def test_blocks(settings):
    base = "{% load ormcache %}{% ormcache 'f' %}{% block a %}base{% endblock %}{% endormcache %}"
    child = "{{% extends 'base' %}}{{% block a %}}{}{{{{ block.super }}}}{{% endblock %}}"
    inside = "{% extends 'base' %}{% load ormcache %}{% block a %}{% ormcache 'f' %}in{% endormcache %}{% endblock %}"
    engine = Engine(
        loaders=[
            (
                "django.template.loaders.locmem.Loader",
                {"base": base, "one": child.format("one "), "two": child.format("two "), "inside": inside},
            )
        ],
        libraries={"ormcache": "ormcache.templatetags.ormcache"},
    )
    for _ in range(2):
        for name, text in (("one", "one base"), ("two", "two base"), ("base", "base"), ("inside", "in")):
            assert engine.get_template(name).render(Context()) == text
            assert rejection()[0] in (reasons.TEMPLATE_STATE, reasons.VARIABLE)


# What a request has -------------------------------------------------------------------------------------


def render_request(content: str, path: str = "/", arguments: str = "", user=None, **variables) -> str:
    request = RequestFactory().get(path)
    request.user = SimpleLazyObject(lambda: user or AnonymousUser())
    request.session = {}
    request._messages = ()
    text = "{% load ormcache %}{% ormcache 'f' " + arguments + " %}" + content + "{% endormcache %}"
    return engines["django"].from_string(text).render(variables, request)


@pytest.mark.parametrize(
    "content, variable",
    [("{{ request.path }}", "request"), ("{% csrf_token %}", "csrf_token"), ("{{ view.kind }}", "view")],
)
def test_what_belongs_to_the_request(rendered, content, variable):
    class View:
        def __init__(self, request) -> None:
            self.kind = request.path
            self.request = request

    for path in ("/a", "/b"):
        text = render_request(content, path, view=View(RequestFactory().get(path)))
        assert path in text or "csrf" in text
        assert rejection()[0] == reasons.VARIABLE
        assert rejection()[1].startswith(variable)
    assert len(rendered) == 2


def test_tags_that_use_the_request_of_the_context(rendered):
    for query in ("?a=1", "?a=2"):
        assert query in render_request("{% querystring b=1 %}", f"/{query}")
        assert rejection() is not None
        assert rejection()[1].startswith("context.request")
    assert len(rendered) == 2


def test_urls(rendered):
    for _ in range(2):
        assert "/admin/" in render_request("{% url 'admin:index' %}")
    assert len(rendered) == 1
    with override_settings(FORCE_SCRIPT_NAME="/shop"):
        try:
            set_script_prefix("/shop/")
            assert render_request("{% url 'admin:index' %}") == "/shop/admin/"
        finally:
            set_script_prefix("/")


def test_the_user(rendered):
    for name in ("ann", "bea"):
        User.objects.create(username=name)

    def greet(name: str | None) -> str:
        user = User.objects.get(username=name) if name else None
        return render_request("{{ user.username }}{% if perms.shop.add_book %}+{% endif %}", user=user)

    assert [greet(each) for each in ("ann", "bea", None) * 2] == ["ann", "bea", ""] * 2
    assert len(rendered) == 3
    User.objects.filter(username="ann").update(is_superuser=True)
    assert greet("ann") == "ann+"


def test_inclusion_tags_are_given_the_token_and_need_not_use_it(rendered):
    tags = Library()
    tags.inclusion_tag(Template("<i>{{ text }}</i>"), name="shown")(lambda text: {"text": text})
    engine = Engine(libraries={"ormcache": "ormcache.templatetags.ormcache"})
    engine.template_libraries["tags"] = tags
    text = "{% load ormcache tags %}{% ormcache 'f' %}{% shown 'a' %}{% endormcache %}"
    for _ in range(2):
        context = RequestContext(RequestFactory().get("/"), {})
        assert engine.from_string(text).render(context) == "<i>a</i>"
    assert len(rendered) == 1


# Clock and chance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{% now 'u' %}", reasons.CLOCK),
        ("{% if True %}{% for each in 'a' %}{% now 'u' %}{% endfor %}{% endif %}", reasons.CLOCK),
        ("{{ letters|random }}", reasons.RANDOM),
        ("{% if letters|random == 'x' %}{% endif %}", reasons.RANDOM),
        ("{% with a=letters|random %}{{ a }}{% endwith %}", reasons.RANDOM),
        ("{{ day|timesince }}", reasons.CLOCK),
        ("{{ day|timeuntil }}", reasons.CLOCK),
        ("{% lorem 3 w random %}", reasons.RANDOM),
        ("{% load cache %}{% cache 9 x %}a{% endcache %}", reasons.CLOCK),
        ("{% include clock %}", reasons.CLOCK),
        ("{% ormcache 'inner' %}{% include clock %}{% endormcache %}", reasons.CLOCK),
    ],
)
def test_clock_and_chance(rendered, content, reason):
    made = template(content)
    variables = {"letters": "abc", "day": datetime.datetime(2020, 1, 1), "clock": Template("{% now 'u' %}")}
    if "clock" in content:
        # Given by name, as templates are
        loaded = {
            "clock": "{% now 'u' %}",
            "f": "{% load ormcache %}{% ormcache 'f' %}" + content + "{% endormcache %}",
        }
        engine = Engine(
            loaders=[("django.template.loaders.locmem.Loader", loaded)],
            libraries={"ormcache": "ormcache.templatetags.ormcache"},
        )
        made = engine.get_template("f")
        variables["clock"] = "clock"
    for _ in range(2):
        made.render(Context(variables))
        assert rejection()[0] == reason
    assert rendered.count("f") == 2


def test_a_time_since_another_time_is_none(rendered):
    both = Both("{{ day|timesince:later }}", rendered)

    def make():
        return {"day": datetime.datetime(2020, 1, 1), "later": datetime.datetime(2020, 1, 3)}

    both(make, hit=False)
    both(make, hit=True)


# Its name ----------------------------------------------------------------------------------------------------


def test_the_text_of_the_template_is_part_of_its_name(rendered):
    for text in ("a", "b", "{% if 1 %}a{% else %}b{% endif %}", "{% if 1 %}a{% endif %}b", "{# c #}a"):
        assert render(text) == truth(text)
        assert render(text) == truth(text)
    assert len(rendered) == 5


def library_of(country: str) -> Library:
    """A library whose tags and filters have the names of another one's."""
    library = Library()

    def price(value):
        return f"{value} of {country}"

    price.__qualname__ = f"{country}.price"
    library.filter("price", price)
    library.simple_tag(price, name="price_tag")
    return library


def test_the_same_text_means_something_else_elsewhere(rendered):
    """Two templates load libraries with the same names, or include by relative paths."""
    tag = '{% load ormcache %}{% ormcache "f" %}'
    texts = {f"{folder}/x.html": f"text of {folder}" for folder in "ab"}
    for content in ("{{ 1|price }}", "{% price_tag 1 %}", "{% include './x.html' %}"):
        main = {f"{folder}/main.html": f"{tag}{content}{{% endormcache %}}" for folder in "ab"}
        shown = []
        for folder in "ab":
            engine = Engine(
                loaders=[("django.template.loaders.locmem.Loader", {**main, **texts})],
                libraries={"ormcache": "ormcache.templatetags.ormcache"},
            )
            engine.template_builtins.append(library_of(folder))
            shown.append(engine.get_template(f"{folder}/main.html").render(Context()))
        assert shown[0] != shown[1]
        assert shown[1].endswith("b")


def test_surroundings_are_part_of_its_name(rendered):
    content = "{% load i18n tz %}{{ day }} {% get_current_language as l %}{{ l }} {{ text }} {{ number }}"
    both = Both(content, rendered)

    def make():
        return {"day": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "text": "<b>", "number": 1.5}

    both(make, hit=False)
    with translation.override("de"):
        assert " de " in both(make, hit=False)
        both(make, hit=True)
    with translation.override(None):
        both(make, hit=False)
    with timezone.override("Asia/Tokyo"):
        assert "9 a.m." in both(make, hit=False)
    with timezone.override(datetime.timezone(datetime.timedelta(hours=1))):
        both(make, hit=False)
    both(make, hit=True)
    for options in ({"autoescape": False}, {"use_l10n": False}, {"use_tz": False}):
        text = both.tagged.render(Context(make(), **options))
        assert text == both.plain.render(Context(make(), **options))


def test_arguments(rendered):
    for number in (1, 2, 1, 2):
        assert (
            render("{{ number }}{{ twice }}", "number twice=number|add:number", number=number)
            == f"{number}{2 * number}"
        )
    assert len(rendered) == 2


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("missing", r"there is no missing\. Write missing\|default"),
        ("author.missing", "there is no author.missing"),
        ("request", "request is a request, which has no exact form|request is of type"),
        ("letters", "letters is of type"),
        ("timeout='x'", "timeout='x' is no number of seconds"),
        ("timeout=0", "timeout=0 is no number"),
        ("using='nowhere'", "using='nowhere' is not in DATABASES"),
    ],
)
def test_arguments_that_are_wrong(arguments, message):
    variables = {"author": Author(name="a"), "request": RequestFactory().get("/"), "letters": iter("ab")}
    with pytest.raises(TemplateSyntaxError, match=message):
        render("a", arguments, **variables)


@pytest.mark.parametrize(
    "tag, message",
    [
        ("{% ormcache %}", "needs a name"),
        ("{% ormcache name %}", "a text in quotes, and not name"),
        ("{% ormcache 'a' a=1 b %}", "b follows an argument with a name"),
        ("{% ormcache 'a' %}{% if %}", "if"),
    ],
)
def test_tags_that_are_wrong(tag, message):
    with pytest.raises(TemplateSyntaxError, match=message):
        Template("{% load ormcache %}" + tag + "{% endormcache %}")


def test_a_missing_argument_with_a_default(rendered):
    assert render("{{ name }}", "name=missing|default:''") == ""


def test_what_a_fragment_sets_is_its_own(rendered):
    text = "{% ormcache 'f' %}{% url 'admin:index' as address %}{{ address }}{% endormcache %}{{ address }}"
    for _ in range(2):
        assert Template("{% load ormcache %}" + text).render(Context({"address": "-"})) == "/admin/-"
    assert rendered == ["f"]


# Fragments in fragments ---------------------------------------------------------------------------------------


def test_a_write_renders_what_depends_on_it_and_nothing_else(rendered):
    text = """{% load ormcache %}{% ormcache "outer" %}{% ormcache "authors" %}{{ authors.count }}{% endormcache %}
    {% ormcache "genres" %}{{ genres.count }}{{ prefix }}{% endormcache %}{% endormcache %}"""
    made = Template(text)

    def render_all(prefix: str = "") -> list[str]:
        rendered.clear()
        made.render(Context({"authors": Author.objects.all(), "genres": Genre.objects.all(), "prefix": prefix}))
        return list(rendered)

    assert render_all() == ["outer", "authors", "genres"]
    assert render_all() == []
    Author.objects.create(name="Cid")
    assert render_all() == ["outer", "authors"]
    Genre.objects.create(name="Prose")
    assert render_all() == ["outer", "genres"]
    Review.objects.count()
    assert render_all() == []
    assert render_all("x") == ["outer", "genres"]
    assert render_all("x") == []


def test_the_timeout_of_an_inner_one_counts_for_the_outer_one(rendered, monkeypatch):
    text = (
        '{% load ormcache %}{% ormcache "outer" %}{% ormcache "inner" timeout=50 %}a{% endormcache %}{% endormcache %}'
    )
    made = Template(text)
    now = [1e9]
    clock = SimpleNamespace(time=lambda: now[0], perf_counter=time.perf_counter, monotonic=time.monotonic)
    monkeypatch.setattr(derivation, "time", clock)
    monkeypatch.setattr(local_cache, "time", clock)
    monkeypatch.setattr(connections["default"].ormcache.known().stamps, "_clock", clock.time)
    made.render(Context())
    now[0] += 30
    rendered.clear()
    with tracking(Tracker()):
        Template(text.replace('"outer"', '"other"')).render(Context())
    assert rendered == ["other"]  # with the inner one, that has 20 seconds left
    now[0] += 30
    rendered.clear()
    Template(text.replace('"outer"', '"other"')).render(Context())
    assert rendered == ["other", "inner"]


def test_a_block_around_learns_what_it_depends_on(rendered):
    made = template("{{ authors.count }}")
    for _ in range(2):
        with tracking(Tracker()) as tracker:
            made.render(Context({"authors": Author.objects.all()}))
        assert tracker.rejection is None
        assert tracker.is_current()
        Author.objects.create(name="Cid")
        assert not tracker.is_current()


def test_a_fragment_that_is_not_stored_does_not_keep_the_page_from_the_cache(rendered):
    with tracking(Tracker()) as tracker:
        render("{{ request.path }}", request=RequestFactory().get("/"))
    assert rejection()[0] == reasons.VARIABLE
    assert tracker.rejection is None


def test_what_is_loaded_for_its_name_belongs_to_the_block_around(rendered):
    made = template("{{ author.name }}")

    def make():
        return {"author": SimpleLazyObject(lambda: Author.objects.get(name="Ann"))}

    for _ in range(2):
        with tracking(Tracker()) as tracker:
            made.render(Context(make()))
        Author.objects.filter(name="Ann").update(email="a@example.org")
        assert not tracker.is_current()
        Author.objects.update(email=None)


def test_without_the_cache_it_is_rendered(rendered):
    with ormcache.disabled():
        for _ in range(2):
            assert render("{{ number }}", number=1) == "1"
    assert len(rendered) == 2


def test_an_error_in_it_is_raised():
    def broken() -> str:
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            render("{{ broken }}", broken=broken)


def test_what_is_served_outdated_is_in_no_block_around(rendered, monkeypatch):
    inner = template("{{ authors.count }}", "grace=60")
    outer = Template(
        '{% load ormcache %}{% ormcache "outer" %}{% ormcache "f" grace=60 %}{{ authors.count }}{% endormcache %}'
        "{% endormcache %}"
    )

    def make():
        return Context({"authors": Author.objects.all()})

    inner.render(make())
    Author.objects.create(name="Cid")
    seen = []
    began = fragments.compute

    def compute(use, content, *more):
        def meanwhile():
            if not seen:
                seen.append(1)
                seen.append(in_thread(lambda: outer.render(make())))
            return content()

        return began(use, meanwhile, *more) if use.label == "f" else began(use, content, *more)

    monkeypatch.setattr(fragments, "compute", compute)
    assert inner.render(make()) == "3"
    assert seen[1] == "2"  # while the other one computes
    assert outer.render(make()) == "3"
