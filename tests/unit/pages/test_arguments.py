"""The exact form of arguments: equal only where a function can make nothing different of them."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import io
import threading
import types
import uuid
from typing import Any, NamedTuple

import pytest
import pytz
from dateutil import tz
from django.contrib.auth.models import AnonymousUser
from django.db.models import Q
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from ormcache.pages.arguments import ExactForm
from ormcache.pages.faults import Fault
from tests.integration.reading import model_of
from tests.shop.models import Author, Book, Novel


def text(value: Any) -> str:
    return ExactForm().text(value)


def author(**values: Any) -> Author:
    found = Author(**{"pk": 1, "name": "A"} | values)
    found._state.db, found._state.adding = "default", False
    return found


class Color(enum.Enum):
    RED = 1
    GREEN = 2


class Point(NamedTuple):
    x: int
    y: int


class OtherPoint(NamedTuple):
    x: int
    y: int


class Service:
    """An object without a state of its own."""


class Rate:
    def __init__(self, percent: Any) -> None:
        self.percent = percent


class Colliding(Rate):
    """Objects that are in a set in the order in which they were added."""

    def __hash__(self) -> int:
        return 0


class Slotted:
    __slots__ = ("a",)

    def __init__(self, a: Any) -> None:
        self.a = a


@dataclasses.dataclass
class Span:
    begin: int
    end: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    value: Any


class Sku(str):
    __slots__ = ()


class Hidden:
    """It decides itself what is pickled of it."""

    def __getstate__(self) -> Any:
        return {}


class WithState(dict):
    """Its content is not among its attributes."""


UNSAVED = Author(name="A")
DEFERRED = Author.from_db("default", ["id"], [1])

#: No two of these may be taken for the same
DIFFERENT = [
    None,
    False,
    True,
    0,
    1,
    -1,
    1.0,
    0.0,
    -0.0,
    decimal.Decimal(1),
    decimal.Decimal("1.0"),
    "1",
    "",
    b"1",
    Sku("1"),
    SafeString("1"),
    "None",
    "#0",
    "(1,)",
    (),
    (1,),
    ("1",),
    [],
    [1],
    [[1]],
    [(1,)],
    [1, 2],
    [2, 1],
    ["1, 2"],
    ["1", "2"],
    {},
    {1: 2},
    {"1": 2},
    {1: 2, 2: 1},
    {2: 1, 1: 2},
    set(),
    {1},
    {1, 2},
    frozenset({1}),
    frozenset({1, 2}),
    datetime.date(2024, 1, 1),
    datetime.datetime(2024, 1, 1),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    uuid.UUID(int=1),
    Color.RED,
    Color.GREEN,
    Point(1, 2),
    OtherPoint(1, 2),
    (1, 2),
    Service(),
    Rate(1),
    Rate("1"),
    Rate(Rate(1)),
    Slotted(1),
    Slotted(2),
    Span(1),
    Span(1, 2),
    Frozen(1),
    Frozen((1,)),
    Author,
    Book,
    Novel,
    Service,
    Author.objects,
    Author.objects.db_manager("second"),
    Book.objects,
    Book.available,
    Q(name="A"),
    Q(name="B"),
    Q(name="A") | Q(name="B"),
    AnonymousUser(),
    author(),
    author(name="B"),
    author(pk=2),
    author(born=datetime.date(2000, 1, 1)),
    UNSAVED,
    DEFERRED,
    Book(pk=1, title="A"),
    Novel(pk=1, title="A"),
]


def test_what_differs_has_different_texts() -> None:
    texts = [text(value) for value in DIFFERENT]

    assert len(set(texts)) == len(texts), [one for one, count in collections.Counter(texts).items() if count > 1]
    nested = [text([value]) for value in DIFFERENT]
    assert not set(nested) & set(texts) - {text([1]), text([(1,)]), text([[1]])}


@pytest.mark.parametrize("value", DIFFERENT, ids=lambda value: type(value).__name__)
def test_the_same_has_the_same_text(value: Any) -> None:
    assert text(value) == text(value)


def test_what_is_equal_and_made_anew_has_the_same_text() -> None:
    for make in (author, Service, lambda: Rate([1, {2: Span(3)}]), lambda: {"b", "a", "c"}, lambda: Q(a=1) & Q(b=2)):
        assert text(make()) == text(make())


def test_the_order_in_which_attributes_were_set_says_nothing() -> None:
    """Two objects that have the same are the same to a function, whichever was filled first."""
    one, other = Service(), Service()
    vars(one).update(a=1, b=2)
    vars(other).update(b=2, a=1)
    assert text(one) == text(other)
    first, second = author(), author()
    vars(first).update(seen=1, times=2)
    vars(second).update(times=2, seen=1)
    assert text(first) == text(second)
    first._state.fields_cache.update(agent=None, editor=None)
    second._state.fields_cache.update(editor=None, agent=None)
    assert text(first) == text(second)


def test_objects_in_a_set_are_numbered_by_no_chance() -> None:
    """The order of a set says nothing: which of its members is meant otherwise does."""
    a, b = Colliding("a"), Colliding("b")
    one, other = {a, b}, {b, a}
    assert list(one) != list(other)

    assert text([one, a]) == text([other, a]) != text([other, b])
    assert text([a, one]) == text([a, other]) != text([b, other])
    assert text([one, a]) != text([one, Colliding("a")])


def test_objects_in_a_set_that_look_the_same() -> None:
    with pytest.raises(Fault, match="look the same"):
        text({Colliding("a"), Colliding("a")})
    around: dict[str, Any] = {}
    around["set"] = {Colliding(around)}  # it contains itself
    assert text(around) == text(around)
    shared = {1}
    assert text([shared, shared]) != text([shared, {1}])


def test_an_int_that_is_too_long_for_python() -> None:
    for value in (10**5000, [10**5000], {10**5000: 1}):
        with pytest.raises(Fault, match="digits"):
            text(value)


def test_other_moments_of_a_time_zone_count() -> None:
    """Python's own zones are among what differs; these have the same offset at this moment."""
    moment = datetime.datetime(2024, 1, 1)
    zones = [tz.gettz("Europe/Berlin"), tz.gettz("Africa/Lagos"), tz.tzoffset(None, 3600), tz.tzstr("CET-1")]
    zones += [pytz.timezone(name).localize(moment).tzinfo for name in ("Europe/Berlin", "Africa/Lagos")]
    texts = [text(moment.replace(tzinfo=zone)) for zone in zones]
    assert len(set(texts)) == len(zones)
    assert texts[0] == text(moment.replace(tzinfo=tz.gettz("Europe/Berlin")))
    for zone in (tz.tzlocal(), tz.tzrange("CET", 3600, "CEST")):
        with pytest.raises(Fault, match="time zone"):
            text(moment.replace(tzinfo=zone))


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=8,
)


def exactly(value: Any) -> Any:
    """A value that is equal only where types are, too."""
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(item) for item in value]
    if isinstance(value, dict):
        return dict, [(exactly(key), exactly(item)) for key, item in value.items()]
    return type(value), repr(value)


@given(plain, plain)
def test_texts_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    assert (text(one) == text(other)) == (exactly(one) == exactly(other))


# Model instances ----------------------------------------------------------------------


def test_every_loaded_value_of_an_instance_counts() -> None:
    """A function that reads it would otherwise be served what it has made of another one."""
    base = text(author())
    for name, value in {"name": "B", "email": "b@x", "born": datetime.date(2000, 1, 1), "active": False}.items():
        assert text(author(**{name: value})) != base, name
    other_database = author()
    other_database._state.db = "second"
    assert text(other_database) != base
    unsaved = author()
    unsaved._state.adding = True
    assert text(unsaved) != base
    annotated = author()
    annotated.books_written = 3  # type: ignore[attr-defined]
    assert text(annotated) != base


def test_related_objects_that_are_loaded_count() -> None:
    """Reading them runs no query that would be seen."""
    with_author = [Book(pk=1, author=author(name=name)) for name in "AB"]
    without = Book(pk=1, author_id=1)

    uuids = {book.uuid for book in (*with_author, without)}
    assert len(uuids) == 3
    for book in (*with_author, without):
        book.uuid, book.created = uuid.UUID(int=1), datetime.datetime(2024, 1, 1)
    assert len({text(book) for book in (*with_author, without)}) == 3


def test_objects_may_refer_to_each_other() -> None:
    book = Book(pk=1, author=author())
    book.author.latest = book  # type: ignore[attr-defined]
    values: list[Any] = [1]
    values.append(values)

    assert "#0" in text(book)
    assert text(values) == "list(1,#0)"
    assert text([author(), author()]) != text([author(), author(name="B")])


def test_prefetched_objects_are_an_error() -> None:
    found = author()
    found._prefetched_objects_cache = {"books": Book.objects.none()}  # type: ignore[attr-defined]

    with pytest.raises(Fault) as caught:
        text([found])
    assert caught.value.path == "[0]"
    assert "prefetched objects (books)" in caught.value.what
    assert "to_attr" in caught.value.advice


def test_a_lazy_object_is_the_one_that_it_stands_for() -> None:
    assert text(SimpleLazyObject(author)) == text(author())


def test_a_model_of_no_app_has_no_name() -> None:
    with pytest.raises(Fault, match="cannot be found by that name"):
        text(model_of("elsewhere")(pk=1))


# Without an exact form ----------------------------------------------------------------


def local_class() -> Any:
    class Local:
        pass

    return Local


@pytest.mark.parametrize(
    "value, advice",
    [
        (Author.objects.all(), "list(queryset)"),
        (Author.objects.raw("SELECT 1"), "list(queryset)"),
        (author().books, "primary key"),
        (Author.objects.db_manager(hints={"instance": 1}), "primary key"),
        (HttpRequest(), "request.user.pk"),
        (gettext_lazy("Yes"), "str(…)"),
        (lambda: 1, "pass what"),
        (len, "pass what"),
        (functools.partial(len), "pass what"),
        ((number for number in (1, 2)), "pass what"),
        (iter([1]), "pass what"),
        (object(), "pass what"),
        (io.BytesIO(), "pass what"),
        (threading.Lock(), "pass what"),
        (threading.local(), "pass what"),
        (types.SimpleNamespace(a=1), "pass what"),
        (Hidden(), "pass what"),
        (WithState(a=1), "pass what"),
        (collections.OrderedDict(a=1), "pass what"),
        (ValueError(), "pass what"),
        (Rate(lambda: 1), "pass what"),
        (local_class(), "top of a module"),
        (local_class()(), "top of a module"),
        (datetime.datetime(2024, 1, 1, tzinfo=type("Zone", (datetime.tzinfo,), {})()), "pass what"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_without_an_exact_form(value: Any, advice: str) -> None:
    for shown, path in ((value, ""), ([value], "[0]"), ({"a": (1, value)}, "['a'][1]"), (Rate(value), ".percent")):
        with pytest.raises(Fault) as caught:
            text(shown)
        assert advice in caught.value.advice
        assert caught.value.path.startswith(path)


# Functions ----------------------------------------------------------------------------


def closing(value: Any) -> Any:
    def inner() -> Any:
        return value

    return inner


def named(function: Any) -> str:
    return ExactForm().function(function)


def test_what_a_closure_holds_counts() -> None:
    assert named(closing(1)) == named(closing(1))
    texts = {named(closing(value)) for value in (1, "1", 2, Author, len, threading, closing(1), closing(2))}
    assert len(texts) == 8
    with pytest.raises(Fault) as caught:
        named(closing(object()))
    assert caught.value.path == "value"


def test_defaults_of_an_enclosed_function_count() -> None:
    def make(default: Any) -> Any:
        def inner(a: Any = default, *, b: Any = default) -> Any:
            return a, b

        return closing(inner)

    assert named(make(1)) == named(make(1))
    assert named(make(1)) != named(make(2))
    # Those of the function itself are arguments of each call.
    assert named(make(1)()) == named(make(2)())


def test_functions_that_call_each_other() -> None:
    def even(number: int) -> bool:
        return number == 0 or odd(number - 1)

    def odd(number: int) -> bool:
        return number != 0 and even(number - 1)

    assert named(even) == named(even)
    assert named(even) != named(odd)
