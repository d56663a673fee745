"""Fragments of Jinja2 templates."""

from __future__ import annotations

import pytest
from django.db import connections
from django.test import RequestFactory
from django.utils import translation

from ormcache import reasons
from ormcache.pages import fragments
from tests.shop.models import Author, Book, Genre

jinja2 = pytest.importorskip("jinja2")


@pytest.fixture(autouse=True)
def _rows() -> None:
    ann = Author.objects.create(name="Ann")
    Book.objects.create(author=ann, title="Dawn")


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


def environment(**options):
    return jinja2.Environment(extensions=["ormcache.contrib.jinja2.FragmentExtension"], **options)


def template(content: str, arguments: str = "", around: str = "{}", **options):
    tagged = '{% ormcache "f"' + arguments + " %}" + content + "{% endormcache %}"
    return environment(**options).from_string(around.replace("{}", tagged))


def rejection() -> str | None:
    for each in connections["default"].ormcache.observer.counters.derived:
        if (each.kind, each.label) == ("fragment", "f"):
            return None if each.last_rejection is None else each.last_rejection.reason
    return None


def test_it_is_rendered_again_when_something_was_written(rendered):
    made = template("{% for each in authors %}{{ each.name }}{% endfor %}")

    def render() -> str:
        return made.render(authors=Author.objects.order_by("name"))

    assert [render(), render()] == ["Ann", "Ann"]
    Genre.objects.create(name="Prose")
    assert render() == "Ann"
    assert rendered == ["f"]
    Author.objects.create(name="Bea")
    assert [render(), render()] == ["AnnBea", "AnnBea"]
    assert rendered == ["f", "f"]


def test_variables_are_part_of_its_name(rendered):
    made = template("{{ book.title }} {{ book.author.name }} {{ missing }}{{ range(number)|length }}")
    for number in (1, 2, 1, 2):
        assert made.render(book=Book.objects.select_related("author").get(), number=number) == f"Dawn Ann {number}"
    assert len(rendered) == 2
    Book.objects.update(title="Dusk")
    Author.objects.update(name="Bea")
    assert made.render(book=Book.objects.select_related("author").get(), number=1) == "Dusk Bea 1"


def test_variables_of_the_template_around(rendered):
    made = template("{{ a }}{{ b }} ", around="{% set b = 'x' %}{% for a in numbers %}{}{% endfor %}")
    assert made.render(numbers=[1, 2, 1]) == "1x 2x 1x "
    assert len(rendered) == 2


def test_escaping(rendered):
    for autoescape, text in ((True, "&lt;"), (False, "<")):
        made = template("{{ a }}", autoescape=autoescape)
        assert [made.render(a="<") for _ in range(2)] == [text, text]
    made = template("{{ a }}", around="{% set x %}{}{% endset %}{{ x }}", autoescape=True)
    assert made.render(a="<") == "&lt;"
    assert len(rendered) == 2


def test_the_text_and_the_language_are_part_of_its_name(rendered):
    assert template("a").render() == "a"
    assert template("b").render() == "b"
    with translation.override("de"):
        template("a").render()
    assert len(rendered) == 3


def test_arguments(rendered):
    for number in (1, 2, 1):
        assert template("a", ", number, timeout=60").render(number=number) == "a"
    assert len(rendered) == 2


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{{ request.path }}", reasons.VARIABLE),
        ("{{ csrf_token }}", reasons.VARIABLE),
        ("{{ stack.pop() }}", reasons.VARIABLE),
        ("{{ 'abc'|random }}", reasons.RANDOM),
        ("{{ lipsum() }}", reasons.RANDOM),
        ("{% include 'other' %}", reasons.TEMPLATE_STATE),
        ("{% from 'other' import x %}", reasons.TEMPLATE_STATE),
        ("{{ self }}", reasons.TEMPLATE_STATE),
        ("{% for a in [1] %}{{ a|seen }}{% endfor %}", reasons.VARIABLE),
        ("{{ look() }}", reasons.VARIABLE),
    ],
)
def test_what_is_rendered_each_time(rendered, content, reason):
    made = environment(loader=jinja2.DictLoader({"other": "{% macro x() %}{% endmacro %}"}))
    made.filters["seen"] = jinja2.pass_context(lambda context, value: context["secret"])
    made.globals["look"] = jinja2.pass_context(lambda context: context["secret"])
    text = '{% ormcache "f" %}' + content + "{% endormcache %}"
    for secret in ("a", "b"):
        variables = {"request": RequestFactory().get("/x"), "csrf_token": "t", "stack": ["a"], "secret": secret}
        assert made.from_string(text).render(variables) is not None
        assert rejection() == reason
    assert len(rendered) == 2


def test_loops_and_blocks(rendered):
    made = template("{{ loop.index }}", around="{% for a in 'ab' %}{}{% endfor %}")
    assert made.render() == "12"
    assert rejection() == reasons.VARIABLE
    made = template("{% for a in 'ab' %}{{ loop.index }}{{ range }}{% endfor %}")
    assert made.render(range="x") == "1x2x"
    assert made.render(range="y") == "1y2y"


def test_fragments_in_fragments(rendered):
    made = environment().from_string(
        '{% ormcache "outer" %}{% ormcache "a" %}{{ authors.count() }}{% endormcache %}'
        '{% ormcache "b" %}{{ genres.count() }}{% endormcache %}{% endormcache %}'
    )

    def render() -> list[str]:
        rendered.clear()
        made.render(authors=Author.objects.all(), genres=Genre.objects.all())
        return list(rendered)

    assert render() == ["outer", "a", "b"]
    assert render() == []
    Genre.objects.create(name="Prose")
    assert render() == ["outer", "b"]


@pytest.mark.parametrize(
    "tag", ["{% ormcache %}", "{% ormcache name %}", '{% ormcache "a", x=1 %}', '{% ormcache "a" b %}']
)
def test_tags_that_are_wrong(tag):
    with pytest.raises(jinja2.TemplateSyntaxError):
        environment().from_string(tag + "{% endormcache %}")


@pytest.mark.parametrize("arguments", [", missing", ", stream", ", timeout=0", ", using='nowhere'", ", timeout='x'"])
def test_arguments_that_are_wrong(arguments):
    with pytest.raises(TypeError, match='ormcache "f"'):
        template("a", arguments).render(stream=iter("ab"))
