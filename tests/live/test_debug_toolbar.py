"""The panel of django-debug-toolbar, on a site in a process of its own."""

from __future__ import annotations

import datetime
import re

import pytest

from tests.live.test_company_commands import library  # noqa: F401  # a fixture
from tests.projects.running import Library

pytest.importorskip("debug_toolbar")

SQL_PANEL, PANEL = "debug_toolbar.panels.sql.SQLPanel", "ormcache.contrib.debug_toolbar.OrmcachePanel"


@pytest.fixture
def site(library: Library) -> Library:  # noqa: F811
    """With the toolbar, without ormcache among its apps."""
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


def text_of(content: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", content).split())


def test_what_a_request_did(site):
    found = site.call("panel.seen", "/everything/", 2)

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
    assert (miss["retired_by"], miss["retired_in"]) == ("library_shelf", "this request")
    assert "UPDATE" in miss["retired_cause"]
    assert (bypass["reason"]["name"], bypass["took_ms"]) == ("disabled", None)
    assert bypass["reason"]["text"]
    assert all(event["saved_ms"] is not None for event in (first, second, script, other))
    assert all("urls_of_panel.py:" in event["caller"] for event in stats["events"])
    assert min(first["took_ms"], miss["query_ms"], bypass["query_ms"], write["took_ms"]) > 0
    assert [database["alias"] for database in stats["databases"]] == ["default"]


def test_what_people_see(site):
    found = site.call("panel.seen", "/everything/", 2)

    assert found["nav"] == ["ormcache", "4 hits, 1 miss, 1 bypassed, 1 write"]
    assert found["title"] == "Cached queries: 4 hits, 1 miss, 1 bypassed, 1 write"
    assert found["in page"]
    assert "OrmcachePanel_cache" in found["timing"]
    content = found["content"]
    text = text_of(content)
    for words in (
        "4 hits",
        "a write had retired it by a write to library_shelf in this request",
        "What you can do:",
        "Asked 3 times with the same parameters.",
        "2 similar queries.",
        "Hits have saved about",
        "retires what depends on library_shelf",
    ):
        assert words in text
    assert content.count("Plan</button>") == 6


def test_nothing_that_a_policy_of_the_page_would_stop(site):
    content = site.call("panel.seen", "/everything/")["content"]
    assert "&lt;script&gt;" in content
    assert not re.search(r"<script|<style|<link|\sstyle=|\son\w+=|javascript:", content, re.IGNORECASE)


def test_a_request_without_queries(site):
    found = site.call("panel.seen", "/nothing/")
    assert found["stats"]["events"] == []
    assert found["nav"] == ["ormcache", ""]
    assert found["title"] == "Cached queries: none"
    assert "No query of this request" in found["content"]


def test_the_plan_of_a_query(site):
    found = site.call("panel.plans")
    assert found["forms"] == 6
    status, content = found["right"]
    assert status == 200
    text = text_of(content)
    assert "Cached yes" in text
    assert "library_shelf named in the text" in text
    assert "everything every result does" in text
    told = re.search(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC", text)[1]
    # The site's own time zone, Django's default, is hours away.
    at = datetime.datetime.fromisoformat(told).replace(tzinfo=datetime.UTC)
    assert abs(datetime.datetime.now(datetime.UTC) - at) < datetime.timedelta(hours=1)


def test_the_plan_is_for_those_whom_the_toolbar_is_shown(site):
    found = site.call("panel.plans")
    assert found["forged"][0] == found["without"] == found["by GET"] == 400
    assert found["from elsewhere"][0] == 404
    assert found["gone"][0] == 200
    assert "does not have this query any more" in found["gone"][1]


def test_requests_that_are_served_at_once_do_not_see_each_others(site):
    assert site.call("panel.asynchronously") == [["('a',)", "('a',)"], ["('b',)", "('b',)"]]


def test_switched_off_in_the_browser(site):
    assert site.call("panel.switched_off") == [{}, ""]


def test_without_the_sql_panel_and_with_the_app(site):
    site.settings["DEBUG_TOOLBAR_PANELS"] = ["debug_toolbar.panels.history.HistoryPanel", PANEL]
    site.settings["INSTALLED_APPS"].append("ormcache")
    assert site.call("panel.seen", "/everything/", 2)["nav"][1] == "4 hits, 1 miss, 1 bypassed, 1 write"
