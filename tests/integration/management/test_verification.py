"""What ``stats``, ``check``, ``advise`` and ``tables`` say of hits that were held against the database."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.integration.calls import count_anew
from tests.integration.reading import execute, shown_on_sqlite
from tests.shop.models import Genre

pytestmark = shown_on_sqlite


def said(*arguments: str) -> str:
    out = StringIO()
    try:
        call_command("ormcache", *arguments, "--using", "default", stdout=out)
    except CommandError:  # "check" has found an error, which it has shown
        assert arguments[0] == "check"
    return out.getvalue()


def document(*arguments: str) -> Any:
    return json.loads(said(*arguments, "--json"))["databases"][0]


def read() -> None:
    list(Genre.objects.order_by("pk"))


@pytest.fixture(params=[{"ENABLED": "observe"}, {"VERIFY": 1}], ids=["observe", "verify"])
def compared(request, configure) -> bool:
    """Whether nothing is served."""
    Genre.objects.create(name="Prose")
    configure(**request.param, ADAPTIVE=False)
    count_anew()
    for _ in range(4):
        read()
    return "ENABLED" in request.param


def test_nothing_has_differed(compared):
    shown = said("stats")
    assert "0 of 3 compared results differed from the database" in shown
    assert ("3 would-be hits" in shown) == ("if hits were served" in shown) == compared
    statistics = document("stats")
    names = ("hits", "compared", "observed", "verified", "violations")
    assert [statistics[name] for name in names] == [3, 3, 3 if compared else 0, 3, 0]
    assert (statistics["saved_seconds"] > 0) == compared
    assert "; 0 of 3 compared results differed from the database" in said("advise")
    levels = [one["level"] for one in document("check")["findings"] if one["about"] == "verification"]
    assert levels == (["note", "ok"] if compared else ["ok"])


def test_something_has_differed(compared):
    execute("UPDATE shop_genre SET name = 'Verse'", using="plain")
    read()
    first = document("advise")["advice"][0]
    assert first["verdict"] == "differs from the database"
    assert "1 of 4 compared results differed from the database. They were results of shop_genre." in first["finding"]
    assert first["snippet"] is None
    (found,) = [one for one in document("check")["findings"] if one["level"] == "error"]
    assert found["about"] == "verification"
    (table,) = [one for one in document("tables")["tables"] if one["name"] == "shop_genre"]
    assert (table["verified"], table["violations"]) == (4, 1)


def test_nothing_was_compared(configure):
    Genre.objects.create(name="Prose")
    count_anew()
    read()
    read()
    assert "differed" not in said("stats") + said("advise")
    assert [one for one in document("check")["findings"] if one["about"] == "verification"] == []
