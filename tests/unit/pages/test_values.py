"""Values to what is stored and back: equal in value and in type, or an error that says what to return instead."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import importlib
import ipaddress
import math
import random
import uuid
import zoneinfo
from types import SimpleNamespace
from typing import Any, NamedTuple

import django
import pytest
from django.core.files.base import ContentFile
from django.db import models
from django.db.models.fields.files import FieldFile
from django.utils.functional import SimpleLazyObject, cached_property
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

from ormcache.cache import serializer
from ormcache.cache.serializer import Unreadable
from ormcache.pages import values
from ormcache.pages.faults import Fault
from ormcache.pages.values import dump, load
from tests.integration.reading import model_of
from tests.shop.models import Author, Book, Novel, Place, Restaurant, Review

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def saved(model: Any, **fields: Any) -> Any:
    found = model(**fields)
    found._state.db, found._state.adding = "default", False
    return found


def author(**fields: Any) -> Author:
    return saved(Author, **{"pk": 1, "name": "A"} | fields)


def through(value: Any) -> Any:
    """What a hit in another process would return."""
    return load(serializer.decode(serializer.encode((dump(value),)))[0], is_signed=True)


def exactly(value: Any) -> Any:
    """A value that is equal only where types are, too."""
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted((exactly(item) for item in value), key=repr)
    if isinstance(value, dict):
        return dict, [(exactly(key), exactly(item)) for key, item in value.items()]
    return type(value), repr(value), isinstance(value, float) and not math.isnan(value) and value


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.decimals()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC) | st.just(BERLIN))
    | st.times()
    | st.timedeltas()
    | st.ip_addresses()
    | st.text().map(SafeString)
)
hashed = leaves.filter(lambda value: str(value).strip("-s").lower()[:3] != "nan")
some = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(hashed, inner)
        | st.sets(hashed)
        | st.frozensets(hashed)
    ),
    max_leaves=12,
)


@given(some)
@settings(max_examples=150)
def test_round_trip(value: Any) -> None:
    assert exactly(through(value)) == exactly(value)
    assert exactly(load(dump(value))) == exactly(value)


def test_a_safe_string_stays_safe_and_others_do_not_become_so() -> None:
    found = through([mark_safe("<b>"), "<b>"])

    assert list(map(type, found)) == [SafeString, str]


def test_mutable_values_are_new_each_time() -> None:
    value = [[1], {"a": [2]}, {3}, bytearray(b"4")]
    payload = dump(value)
    value[0].append(5)  # type: ignore[attr-defined]
    first = load(payload)
    first[1]["a"].append(6)
    first[2].add(7)

    assert load(payload)[:3] == [[1], {"a": [2]}, {3}]
    assert load(payload)[1] is not load(payload)[1]


def test_many_keys_of_any_type() -> None:
    for make in (int, str, uuid_of, decimal.Decimal, lambda number: (number, -number)):
        value = {make(number): number for number in range(1000)}
        assert through(value) == value
        assert through(set(value)) == set(value)


def uuid_of(number: int) -> uuid.UUID:
    return uuid.UUID(int=number)


# Model instances ----------------------------------------------------------------------


def same(one: Any, other: Any) -> None:
    """Two instances have nothing that tells them apart."""
    assert type(one) is type(other)
    assert one is not other
    assert one._state.db == other._state.db
    assert one._state.adding is other._state.adding is False
    left, right = (dict(vars(each)) for each in (one, other))
    del left["_state"], right["_state"]
    assert exactly(sorted(left.items())) == exactly(sorted(right.items()))
    assert one.get_deferred_fields() == other.get_deferred_fields()
    assert one._state.fields_cache.keys() == other._state.fields_cache.keys()


def book(**fields: Any) -> Book:
    return saved(
        Book,
        **{
            "pk": 7,
            "author_id": 1,
            "title": "T",
            "data": {"a": [1, None, {"b": 2.5}]},
            "cover": b"\0\1",
            "listening_time": datetime.timedelta(hours=1),
            "read_aloud_at": datetime.time(12),
            "created": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
            "rating": 0.5,
            "price": decimal.Decimal("9.90"),
            "ordered_from": "::1",
        }
        | fields,
    )


@pytest.mark.parametrize("model", [Book, Novel])
def test_an_instance_comes_back_with_all_fields(model: Any) -> None:
    original = book()
    original.__class__ = model

    same(through(original), original)
    same(through([{"a": (original,)}])[0]["a"][0], original)


def test_an_instance_of_a_child_model() -> None:
    found = through(saved(Restaurant, pk=1, name="R", serves_pizza=True))

    assert type(found) is Restaurant
    assert (found.pk, found.place_ptr_id, found.name, found.serves_pizza) == (1, 1, "R", True)


def test_deferred_fields_stay_deferred() -> None:
    original = Author.from_db("second", ["id", "name"], [1, "A"])
    found = through(original)

    same(found, original)
    assert found.get_deferred_fields() == {"email", "born", "active"}
    assert found._state.db == "second"


@pytest.mark.skipif(django.VERSION < (6, 1), reason="Django fetches in one way")
def test_the_way_of_fetching_stays() -> None:
    modes = importlib.import_module("django.db.models.fetch_modes")
    for mode in (modes.FETCH_ONE, modes.FETCH_PEERS, modes.FETCH_RAISE):
        original: Any = author()
        original._state.fetch_mode = mode
        found: Any = through(original)
        assert found._state.fetch_mode is mode


def test_annotations_and_other_attributes() -> None:
    original = author()
    original.number, original.latest = 3, [book()]  # type: ignore[attr-defined]
    found = through(original)

    assert found.number == 3
    same(found.latest[0], original.latest[0])  # type: ignore[attr-defined]


def test_related_objects_that_are_loaded() -> None:
    a, review = author(), saved(Review, pk=3, book_id=7)
    review.book = saved(Book, pk=7, title="T")
    review.book.author = a
    found = through([review, review.book, saved(Restaurant, pk=2)])

    assert found[0].book is found[1]
    same(found[0].book.author, a)
    place = saved(Place, pk=2)
    place._state.fields_cache["restaurant"] = None  # there is none: that is known as well
    assert through(place)._state.fields_cache == {"restaurant": None}


def test_instances_may_refer_to_each_other_and_be_shared() -> None:
    a = author()
    books = [book(pk=number, author=a) for number in (1, 2)]
    a.books_by_title = books  # type: ignore[attr-defined]
    found = through({"a": a, "books": books})

    assert found["a"].books_by_title == found["books"]
    assert found["books"][0].author is found["books"][1].author is found["a"]


def test_instances_as_keys_and_in_sets() -> None:
    a, b = author(), author(pk=2)

    assert through({a: [1], b: [2]}) == {a: [1], b: [2]}
    assert through({a, b}) == {a, b}


def test_different_groups() -> None:
    mixed = [author(), Author.from_db("default", ["id"], [2]), book(), author(pk=3)]
    found = through(mixed)

    for one, other in zip(found, mixed, strict=True):
        same(one, other)


def test_cached_properties_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    prop = cached_property(lambda self: object())
    prop.__set_name__(Author, "expensive")
    monkeypatch.setattr(Author, "expensive", prop, raising=False)
    original = author()
    assert original.expensive is original.expensive  # type: ignore[attr-defined]

    assert "expensive" not in vars(through(original))


def test_what_a_model_sets_itself_may_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so again for an instance that is made of stored values; a tracker of changes for one."""
    from_db = Author.from_db.__func__  # type: ignore[attr-defined]

    def tracking(cls: Any, *args: Any, **kwargs: Any) -> Any:
        found = from_db(cls, *args, **kwargs)
        found._values = {name: value for name, value in vars(found).items() if name != "_state"}
        found._tracker = SimpleNamespace(of=found)
        return found

    monkeypatch.setattr(Author, "from_db", classmethod(tracking))
    original: Any = Author.from_db("default", ["id", "name"], [1, "A"])
    found = through(original)
    assert found._tracker.of is found
    assert found._values == {"id": 1, "name": "A"}

    original._other = SimpleNamespace()
    with pytest.raises(Fault) as caught:
        dump(original)
    assert caught.value.path == "._other"


def test_attributes_with_a_default_in_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    for default in (None, 0, "", (), [], {}):
        monkeypatch.setattr(Author, "rank", default, raising=False)
        assert through(with_attribute(rank=3)).rank == 3  # type: ignore[attr-defined]


def test_a_related_object_that_was_set_as_a_lazy_one() -> None:
    original = book(author=SimpleLazyObject(author))

    assert type(through(original).author) is Author


class Color(enum.Enum):
    RED = "red"


class ColorField(models.CharField):
    """A field with values of a type of its own."""

    def to_python(self, value: Any) -> Any:
        return value if value is None or isinstance(value, Color) else Color(value)

    def value_to_string(self, obj: Any) -> str:
        return self.value_from_object(obj).value


def test_a_field_with_a_type_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    original = author(name=Color.RED)
    with pytest.raises(Fault, match="Color"):
        dump(original)

    field = Author._meta.get_field("name")
    monkeypatch.setattr(field, "__class__", ColorField)
    assert through(original).name is Color.RED
    payload = dump(original)
    assert values.needs_signature(payload)
    for unsigned in (payload, payload[:2]):  # a field may run any code
        with pytest.raises(Unreadable):
            load(unsigned)


class FileOnly(models.FileField):
    pass


def test_a_file_is_stored_by_name() -> None:
    field = models.FileField(name="name")
    original = author()
    file = FieldFile(original, field, "a.txt")
    vars(original)["name"] = file

    assert vars(through(original))["name"] == "a.txt"
    file._committed = False
    with pytest.raises(Fault, match="not saved"):
        dump(original)


# What cannot be stored ----------------------------------------------------------------


class Row(NamedTuple):
    a: int


@dataclasses.dataclass
class Span:
    begin: int


def with_prefetched() -> Author:
    found = author()
    found._prefetched_objects_cache = {"books": Book.objects.none()}  # type: ignore[attr-defined]
    return found


def with_attribute(**attributes: Any) -> Author:
    found = author()
    vars(found).update(attributes)
    return found


def containing_itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


async def coroutine() -> None:
    """It is never awaited."""


@pytest.mark.parametrize(
    "make, what, advice",
    [
        (Author.objects.all, "queryset", "list(queryset)"),
        (lambda: Author.objects.raw("SELECT 1"), "queryset", "list(queryset)"),
        (lambda: Author.objects, "manager", "list(manager.all())"),
        (lambda: gettext_lazy("Yes"), "lazy translation", "str(…)"),
        (lambda: SimpleLazyObject(author), "lazy object", "stands for"),
        (lambda: (number for number in ()), "iterator", "list(…)"),
        (lambda: map(str, ()), "iterator", "list(…)"),
        (lambda: Color.RED, "Color", "value"),
        (lambda: Row(1), "Row", "tuple(…)"),
        (lambda: collections.OrderedDict(a=1), "OrderedDict", "dict(…)"),
        (lambda: Span(1), "Span", "lists, tuples"),
        (object, "object", "lists, tuples"),
        (lambda: lambda: 1, "function", "lists, tuples"),
        (SimpleNamespace, "SimpleNamespace", "lists, tuples"),
        (lambda: ContentFile(b""), "ContentFile", "lists, tuples"),
        (lambda: Author, "ModelBase", "lists, tuples"),
        (ValueError, "ValueError", "lists, tuples"),
        (containing_itself, "contains itself", "lists, tuples"),
        (lambda: Author(name="A"), "not saved", "save it"),
        (with_prefetched, "prefetched objects (books)", "to_attr"),
        (lambda: with_attribute(save=1), "'save'", "another name"),
        (lambda: with_attribute(pk=1), "'pk'", "another name"),
        (lambda: saved(model_of("elsewhere"), pk=1), "no model of an installed app", "lists, tuples"),
    ],
)
def test_what_cannot_be_stored(make: Any, what: str, advice: str) -> None:
    for shown, path in (
        (make(), ""),
        ([make()], "[0]"),
        ({"a": (1, make())}, "['a'][1]"),
        (with_attribute(x=make()), ".x"),
    ):
        with pytest.raises(Fault) as caught:
            dump(shown)
        assert what in caught.value.what
        assert advice in caught.value.advice
        assert caught.value.path.startswith(path)


def test_a_coroutine_cannot_be_stored() -> None:
    never = coroutine()
    with pytest.raises(Fault, match="async def"):
        dump(never)
    never.close()


# Foreign bytes ------------------------------------------------------------------------


def sample() -> Any:
    a = author()
    a.number = 3  # type: ignore[attr-defined]
    review = saved(Review, pk=3, book_id=7)
    review.book = book(author=a)
    return {
        "list": [1, "a", None, mark_safe("<b>")],
        "set": {1, 2},
        5: (review, a, Author.from_db("default", ["id"], [9])),
    }


#: Types that a value may consist of, whatever is read
KNOWN = (
    *(type(None), bool, int, float, str, bytes, bytearray, memoryview, complex, decimal.Decimal, uuid.UUID),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network),
    *(ipaddress.IPv4Interface, ipaddress.IPv6Interface),
)


def check(value: Any, seen: set[int] | None = None) -> None:
    """Nothing but what a function may return."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, models.Model):
        assert value._state.adding is False
        for name, inner in vars(value).items():
            if name != "_state":
                check(inner, seen)
        for inner in value._state.fields_cache.values():
            assert inner is None or isinstance(inner, models.Model)
            check(inner, seen)
    elif type(value) in (list, tuple, set, frozenset):
        for inner in value:
            check(inner, seen)
    elif type(value) is dict:
        for key, inner in value.items():
            check(key, seen)
            check(inner, seen)
    else:
        assert type(value) in (*KNOWN, SafeString) or type(value).__module__.startswith("psycopg")


def read(data: bytes) -> Any:
    """A value, or None if it is unreadable."""
    try:
        found = load(serializer.decode(data)[0])
    except (Unreadable, TypeError, IndexError, KeyError):
        return None
    check(found)
    return found


#: Bytes that mean something in the layout
LIKELY = b'0123456789[]",lmtdsfvh{}:\\ Aa\0'


def test_mutated_bytes() -> None:
    data = serializer.encode((dump(sample()),))
    assert read(data) is not None
    randomness = random.Random(15)
    readable = 0
    for _ in range(1000):
        changed = bytearray(data)
        for _ in range(randomness.choice((1, 1, 2, 5))):
            at = randomness.randrange(len(changed))
            what = randomness.random()
            if what < 0.6:
                changed[at] = (
                    randomness.choice(b'0123456789[]",lmtdsfvh{}:\\ Aa\0') if what < 0.5 else randomness.randrange(256)
                )
            elif what < 0.8:
                del changed[at : at + randomness.randrange(1, 5)]
            else:
                changed[at:at] = changed[: randomness.randrange(1, 5)]
        readable += read(bytes(changed)) is not None
    assert readable > 10  # else they were not near enough


#: What may stand in a tree in place of something else
OTHERS = (
    *("l", "t", "s", "f", "d", "h", "m", "v", "save", "_state", "__class__", "pk", "id", "author", "book"),
    *("shop.Author", "auth.User", "sessions.Session", "default", "second", "plain", "nowhere"),
    *(0, 1, -1, 99, 2**70, True, None, (), [], {}, [1], {1: 2}),
)


def mutated(tree: Any, randomness: random.Random) -> Any:
    """The tree with one part replaced by another one of it, or by something else."""
    parts: list[Any] = []

    def collect(part: Any) -> None:
        parts.append(part)
        if type(part) is tuple:
            for inner in part:
                collect(inner)

    collect(tree)
    target = randomness.randrange(len(parts))
    by = randomness.choice(
        [
            *parts,
            *"ltsfdhmv",
            0,
            1,
            -1,
            99,
            2**70,
            True,
            None,
            "save",
            "_state",
            "__class__",
            "pk",
            "id",
            "author",
            "book",
        ]
        + [
            "shop.Author",
            "auth.User",
            "sessions.Session",
            "default",
            "second",
            "plain",
            "nowhere",
            (),
            [],
            {},
            [1],
            {1: 2},
        ]
    )
    counter = iter(range(len(parts)))

    def replace(part: Any) -> Any:
        if next(counter) == target:
            for _ in range(sum(1 for _ in walk(part)) - 1):
                next(counter)
            return by
        return tuple(map(replace, part)) if type(part) is tuple else part

    return replace(tree)


def walk(part: Any) -> Any:
    yield part
    if type(part) is tuple:
        for inner in part:
            yield from walk(inner)


def test_mutated_trees() -> None:
    """Well-formed bytes, with other trees in them: somebody else who can write to the store knows the layout."""
    tree = dump(sample())
    randomness = random.Random(15)
    readable = 0
    for _ in range(1000):
        changed = tree
        for _ in range(randomness.choice((1, 1, 1, 2, 3))):
            changed = mutated(changed, randomness)
        try:
            found = load(changed)
        except Unreadable:
            continue
        check(found)
        readable += 1
    assert readable > 100


@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    read(data)


def group(**changes: Any) -> Any:
    """A payload of one author, with changes to its group."""
    parts = {
        "label": "shop.Author",
        "alias": "default",
        "mode": None,
        "fields": ("id", "name"),
        "attributes": (),
        "related": (),
        "columns": ((1,), ("A",)),
    } | changes
    return ("m", 0, 0), (tuple(parts.values()),)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": "shop.Nothing"},
        {"label": "os.system"},
        {"label": ""},
        {"label": None},
        {"alias": "nowhere"},
        {"alias": None},
        {"mode": "__class__"},
        {"fields": ("id", "nothing")},
        {"fields": ("name", "id")},
        {"fields": ("id", "id")},
        {"fields": (), "columns": ()},
        {"attributes": ("save",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("_state",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("__class__",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("__dict__",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("_meta",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("objects",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("DoesNotExist",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("pk",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("email",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("books",), "columns": ((1,), ("A",), (1,))},
        {"attributes": ("a b",), "columns": ((1,), ("A",), (1,))},
        {"related": ("nothing",), "columns": ((1,), ("A",), (None,))},
        {"columns": ((1,), ("A", "B"))},
        {"columns": ((1,),)},
        {"columns": [(1,), ("A",)]},
        {"columns": ((1,), (["A"],))},
        {"columns": ((1,), (("m", 0, 0),))},
        {"columns": ((1,), (("v", 1),))},
    ],
    ids=str,
)
def test_a_group_that_nobody_has_written(changes: dict[str, Any]) -> None:
    assert load(group()) == author()
    with pytest.raises(Unreadable):
        load(group(**changes))


@pytest.mark.parametrize(
    "tree",
    [
        *([1], {"a": 1}, {1}, frozenset({1})),
        *((), ("x",), ("l",), ("l", [1]), ("l", 1), ("l", (1,), 2), ("z", (1,)), (1, 2), (("l",), 2)),
        *(("d", (1, 2), (1,)), ("d", ((("l", (1,))),), (1,)), ("d", (1,)), ("s", (("l", ()),)), ("h", 1), ("h", b"")),
        *(("m", 0), ("m", 0, 1), ("m", 1, 0), ("m", -1, 0), ("m", 0, -1), ("m", "0", 0), ("m", True, 0), ("v", "A")),
    ],
    ids=str,
)
def test_a_tree_that_nobody_has_written(tree: Any) -> None:
    with pytest.raises(Unreadable):
        load((tree, group()[1]))


def test_the_object_of_a_relation_is_of_its_model() -> None:
    def payload(label: str) -> Any:
        return ("m", 0, 0), (
            ("shop.Book", "default", None, ("id", "author_id"), (), ("author",), ((1,), (1,), (("m", 1, 0),))),
            (label, "default", None, ("id",), (), (), ((1,),)),
        )

    assert load(payload("shop.Author")).author == author()
    with pytest.raises(Unreadable):
        load(payload("shop.Genre"))


def test_members_that_all_have_the_same_hash() -> None:
    """Or a short text in the store would occupy the process for minutes."""
    prime = 2**61 - 1
    members = tuple(number * prime for number in range(1, 30_000))

    for tree in (("s", members), ("f", members), ("d", members, members)):
        with pytest.raises(Unreadable):
            load((tree, ()))
    assert values.MOST_HASHED < 1000


def test_what_a_model_raises_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Exception):
        pass

    def from_db(*args: Any) -> Any:
        raise Odd

    monkeypatch.setattr(Author, "from_db", from_db)
    with pytest.raises(Unreadable):
        load(group())
