"""The signals' arguments are those that are documented: in the guide, and beside the signals."""

from __future__ import annotations

import functools
import re
import time
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.db.models import IntegerField, Value

import ormcache
from ormcache import signals
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from tests.shop.models import Author

ROOT = Path(__file__).parents[2]
NAMES = ("hit", "missed", "bypassed", "invalidated")
DERIVED = ("derived_hit", "derived_missed")


def in_the_guide(name: str) -> list[str]:
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
    cell = re.search(rf"^\| `ormcache\.signals\.{name}` \| ([^|]*) \|", guide, re.MULTILINE)[1]
    return re.findall(r"`(\w+)`", cell)


def in_the_code(name: str) -> str:
    source = Path(signals.__file__).read_text(encoding="utf-8")
    return re.search(rf"((?:^#:.*\n)+){name} = ", source, re.MULTILINE)[1]


@pytest.fixture
def sent():
    """Signal → the arguments of the last time that it was sent."""
    found: dict[str, dict[str, Any]] = {}
    receivers = []

    def listen(name: str) -> None:
        def receive(sender: Any, signal: Any, using: str, **arguments: Any) -> None:
            found[name] = arguments

        receivers.append(receive)
        getattr(signals, name).connect(receive)

    for name in (*NAMES, *DERIVED):
        listen(name)
    Author.objects.create(name="A")
    Author.objects.count()
    Author.objects.count()
    with ormcache.disabled():
        Author.objects.count()
    for _ in range(2):
        compute(Use("function", "shop.count", b"key"), Author.objects.count)
    return found


@pytest.mark.parametrize("name", [*NAMES, *DERIVED])
def test_documented_and_sent(sent, name):
    assert in_the_guide(name) == list(dict.fromkeys(in_the_guide(name)))
    assert set(in_the_guide(name)) == set(sent[name])
    assert [argument for argument in sent[name] if f"``{argument}``" not in in_the_code(name)] == []


def test_every_argument_is_explained():
    guide = (ROOT / "docs/guide.md").read_text(encoding="utf-8").split("### Signals\n")[1].split("\n#")[0]
    told = guide.partition("\n- ")[2]
    names = (*NAMES, *DERIVED)
    assert [argument for name in names for argument in in_the_guide(name) if f"`{argument}`" not in told] == []


@pytest.mark.parametrize("name", ["missed", "hit"])
def test_the_time_of_the_cache_begins_when_the_query_is_compiled(name):
    """Django compiles it without a cache as well. Counted, it makes the adaptive bypass give up what pays."""
    compiled_at, longest = [], []

    class SlowToCompile(Value):
        def as_sql(self, *args: Any, **kwargs: Any) -> Any:
            until = time.perf_counter() + 0.05
            while time.perf_counter() < until:
                pass
            compiled_at.append(time.perf_counter())
            return super().as_sql(*args, **kwargs)

    def receive(took: float, query: float = 0.0, **arguments: Any) -> None:
        longest.append((took, time.perf_counter() - compiled_at[-1] - query))

    authors = Author.objects.annotate(one=SlowToCompile(1, output_field=IntegerField()))
    if name == "hit":
        list(authors.all())
    getattr(signals, name).connect(receive)
    list(authors.all())
    [(took, at_most)] = longest
    assert took <= at_most


def test_what_a_receiver_raises_disturbs_nobody(caplog):
    def fail(**arguments: Any) -> None:
        raise ZeroDivisionError

    for name in NAMES:
        getattr(signals, name).connect(fail)
    Author.objects.create(name="A")
    assert Author.objects.count() == Author.objects.count() == 1
    with ormcache.disabled():
        assert Author.objects.count() == 1
    assert {record.name for record in caplog.records} <= {"django.dispatch"}
    assert len(caplog.records) == len(NAMES)


class Nameless:
    """A receiver that Django cannot name in its log, which makes ``send_robust`` raise."""

    def __call__(self, **arguments: Any) -> None:
        raise ZeroDivisionError


@pytest.mark.parametrize("fail", [Nameless(), functools.partial(Nameless())], ids=["object", "partial"])
def test_a_receiver_without_a_name_disturbs_nobody_either(fail, caplog):
    ran = []
    for name in NAMES:
        getattr(signals, name).connect(fail)
    try:
        with transaction.atomic():
            Author.objects.create(name="A")
            transaction.on_commit(lambda: ran.append("on_commit"))
        assert ran == ["on_commit"]
        assert Author.objects.count() == Author.objects.count() == 1
        with ormcache.disabled():
            assert Author.objects.count() == 1
    finally:
        for name in NAMES:
            getattr(signals, name).disconnect(fail)
    said = [record.getMessage() for record in caplog.records if record.name == "ormcache"]
    assert said == ["a signal could not be sent to all of its receivers"] * len(NAMES)
