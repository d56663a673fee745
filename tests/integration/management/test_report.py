"""``manage.py ormcache report``: one HTML file to pass on."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import override_settings

from tests.integration.calls import count_anew
from tests.integration.reading import execute
from tests.shop.models import Genre

VOID = {"meta", "br", "link", "img", "path", "rect"}


class Document(HTMLParser):
    """Checks that the elements of a document are closed in order, and collects what would be fetched."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action"):
                self.fetched.append(value)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def report(*arguments: str) -> str:
    out = StringIO()
    call_command("ormcache", "report", "--using", "default", *arguments, stdout=out)
    return out.getvalue()


def names() -> list[str]:
    return list(Genre.objects.filter(name__startswith="Pro").order_by("pk").values_list("name", flat=True))


def test_of_a_site_that_serves(configure):
    Genre.objects.create(name="Prose")
    configure(ADAPTIVE=False)
    count_anew()
    for _ in range(4):
        names()
    text = report()
    document = Document(text)
    assert document.fetched == []
    assert "url(" not in text
    assert "@import" not in text
    assert "<script" not in text
    assert "75 % of the lookups hit." in text
    assert "shop_genre" in text
    assert "no hit was compared with the database" in text
    assert "<svg" in text
    assert "Pro%" not in text


def test_of_a_site_that_observes(configure):
    Genre.objects.create(name="Prose")
    configure(ENABLED="observe", ADAPTIVE=False)
    count_anew()
    for _ in range(4):
        names()
    text = report()
    Document(text)
    assert "75 % of the lookups would have hit" in text
    assert "Would-be hit rate" in text
    assert "0 of 3 compared results differed from the database" in text


def test_of_a_violation(configure):
    Genre.objects.create(name="Prose")
    configure(VERIFY=1, ADAPTIVE=False)
    count_anew()
    names()
    execute("UPDATE shop_genre SET name = 'Pros'", using="plain")
    names()
    text = report()
    assert "1 of 1 compared result differed from the database" in text
    assert "They were results of shop_genre." in text
    assert re.search(r'class="bad">violation</td><td>shop_genre</td>', text)


def test_into_a_file(tmp_path: Path):
    count_anew()
    assert report("--output", str(tmp_path / "report.html")) == f"Written to {tmp_path / 'report.html'}.\n"
    Document((tmp_path / "report.html").read_text(encoding="utf-8"))
    with pytest.raises(CommandError, match="cannot be written: No such file or directory"):
        report("--output", str(tmp_path / "none" / "report.html"))


def test_without_a_store(configure, start_server):
    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own")
        names()
        server.stop()
        with pytest.raises(CommandError, match="does not answer"):
            report()
        connection.close()


def test_a_database_that_is_not_cached(configure):
    configure(ENABLED=False)
    text = report()
    Document(text)
    assert "Nothing of this database is cached: disabled." in text


def test_an_output_of_ascii(configure):
    class Ascii(StringIO):
        encoding = "ascii"

    count_anew()
    names()
    out = Ascii()
    call_command("ormcache", "report", "--using", "default", stdout=out)
    assert out.getvalue().isascii()
    Document(out.getvalue())
