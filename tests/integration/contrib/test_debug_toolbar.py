"""The panel of django-debug-toolbar, on a site in a process of its own, which makes all its requests at once."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from tests.integration.reading import shown_on_sqlite
from tests.projects.running import Library

pytest.importorskip("debug_toolbar")

pytestmark = shown_on_sqlite

SQL_PANEL, PANEL = "debug_toolbar.panels.sql.SQLPanel", "ormcache.contrib.debug_toolbar.OrmcachePanel"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """With the toolbar, without ormcache among its apps."""
    library = Library(tmp_path_factory.mktemp("site"))
    library.settings |= {
        "DEBUG": True,
        "INTERNAL_IPS": ["127.0.0.1"],
        "ALLOWED_HOSTS": ["*"],
        "INSTALLED_APPS": ["django.contrib.staticfiles", "debug_toolbar", "library"],
        "MIDDLEWARE": ["debug_toolbar.middleware.DebugToolbarMiddleware"],
        "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
        "DEBUG_TOOLBAR_PANELS": [SQL_PANEL, PANEL],
        "ROOT_URLCONF": "library.urls_of_panel",
    }
    library.settings["ORMCACHE"] |= {"SHARE": "always", "ADAPTIVE": False}
    library.manage("migrate", "--verbosity=0")
    return library


@pytest.fixture(scope="module")
def answers(site: Library) -> dict[str, Any]:
    return site.call("panel.answers")


def text_of(content: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", content).split())


def test_what_a_request_did(answers):
    found = answers["everything"]

    stats = found["stats"]
    kinds = [event["kind"] for event in stats["events"]]
    assert kinds == ["hit", "hit", "hit", "hit", "write", "miss", "bypass"]
    assert (stats["hits"], stats["misses"], stats["bypassed"], stats["writes"]) == (4, 1, 1, 1)
    first, second, script, other, write, miss, bypass = stats["events"]
    assert first["relations"] == second["relations"] == ["library_shelf"]
    assert (first["same"], first["similar"], other["same"], other["similar"]) == (3, 3, 1, 2)
    assert (stats["same"], stats["similar"]) == (3, 5)
    assert script["params"] == "('<script>alert(1)</script>',)"
    assert "UPDATE" in write["causes"][0]
    assert (miss["invalidated_by"], miss["invalidated_in"]) == ("library_shelf", "this request")
    assert "UPDATE" in miss["invalidated_cause"]
    assert (bypass["reason"]["name"], bypass["took_ms"]) == ("disabled", None)
    assert bypass["reason"]["text"]
    assert all(event["saved_ms"] is not None for event in (first, second, script, other))
    assert all("urls_of_panel.py:" in event["caller"] for event in stats["events"])
    assert min(first["took_ms"], miss["query_ms"], bypass["query_ms"], write["took_ms"]) > 0
    assert [database["alias"] for database in stats["databases"]] == ["default"]


def test_what_people_see(answers):
    found = answers["everything"]

    assert found["nav"] == ["ormcache", "4 hits, 1 miss, 1 bypass, 1 write"]
    assert found["title"] == "Cached queries: 4 hits, 1 miss, 1 bypass, 1 write"
    assert found["in page"]
    assert "OrmcachePanel_cache" in found["timing"]
    content = found["content"]
    text = text_of(content)
    for words in (
        "4 hits",
        "a write had invalidated it (to library_shelf, in this request)",
        "What you can do:",
        "Run 3 times with the same parameters.",
        "2 similar queries.",
        "Hits saved about",
        "invalidates results of library_shelf",
    ):
        assert words in text
    assert content.count("Plan</button>") == 6


def test_pages_fragments_and_functions(answers):
    found = answers["cached"]

    uses = found["stats"]["uses"]
    assert [(use["kind"], use["outcome"]) for use in uses] == [
        ("function", "hit"),
        ("function", "miss"),
        ("function", "hit"),
        ("fragment", "miss"),
    ]
    first, invalidated, _, rejected = uses
    assert first["took_ms"] > 0
    assert (first["computing_ms"], first["rejected"]) == (None, None)
    assert (invalidated["invalidated_by"], invalidated["took_ms"]) == ("library_shelf", None)
    assert invalidated["computing_ms"] > 0
    assert (rejected["rejected"]["name"], rejected["relations"]) == ("random", ["library_shelf"])
    assert "urls_of_panel.py:" in rejected["caller"]
    assert found["nav"][1].endswith("2 function hits, 1 function miss, 1 fragment miss")
    text = text_of(found["content"])
    for words in (
        "Pages, fragments and functions",
        "a write had invalidated it (to library_shelf)",
        "not stored: random",
        "Random: the answer is random",
        "What you can do:",
        f"Run at: {rejected['caller']}",
    ):
        assert words in text, words
    assert "&lt;i&gt;shelves" in found["content"]
    assert "<i>" not in found["content"]


def test_a_page_that_is_cached(answers):
    first, second = answers["cached page"]
    assert first["nav"][1] == "1 miss, 1 page miss"
    assert second["nav"][1] == "1 page hit"
    assert second["in page"]  # which the toolbar comes into, not into what is stored
    (use,) = second["stats"]["uses"]
    assert (use["kind"], use["label"], use["outcome"]) == ("page", "/cached-page/", "hit")


def test_nothing_that_a_policy_of_the_page_would_stop(answers):
    content = answers["everything"]["content"]
    assert "&lt;script&gt;" in content
    assert not re.search(r"<script|<style|<link|\sstyle=|\son\w+=|javascript:", content, re.IGNORECASE)


def test_a_request_without_queries(answers):
    found = answers["nothing"]
    assert found["stats"]["events"] == []
    assert found["nav"] == ["ormcache", ""]
    assert found["title"] == "Cached queries: none"
    assert "No query of this request" in found["content"]


def test_the_plan_of_a_query(answers):
    found = answers["plans"]
    assert found["forms"] == 6
    status, content = found["right"]
    assert status == 200
    text = text_of(content)
    assert "Cached yes" in text
    assert "library_shelf the statement names it" in text
    assert "everything every result does" in text
    told = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)[1]
    # The site's own time zone, Django's default, is hours away.
    at = datetime.datetime.fromisoformat(told).replace(tzinfo=datetime.UTC)
    assert abs(datetime.datetime.now(datetime.UTC) - at) < datetime.timedelta(hours=1)


def test_the_plan_is_for_those_whom_the_toolbar_is_shown(answers):
    found = answers["plans"]
    assert found["forged"][0] == found["without"] == found["by GET"] == 400
    assert found["from elsewhere"][0] == 404
    assert found["gone"][0] == 200
    assert "no longer has this query" in found["gone"][1]


def test_requests_that_are_served_at_once_do_not_see_each_others(answers):
    assert answers["at once"] == [["('a',)", "('a',)"], ["('b',)", "('b',)"]]


def test_switched_off_in_the_browser(answers):
    assert answers["switched off"] == [{}, ""]


def test_without_the_sql_panel_and_with_the_app(site):
    site.settings["DEBUG_TOOLBAR_PANELS"] = ["debug_toolbar.panels.history.HistoryPanel", PANEL]
    site.settings["INSTALLED_APPS"].append("ormcache")
    assert site.call("panel.seen", "/everything/", 2)["nav"][1] == "4 hits, 1 miss, 1 bypass, 1 write"
