"""The current site, which Django remembers in memory: what is computed of it shows the one of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

import ormcache

pytestmark = pytest.mark.usefixtures("database")

#: How often what is cached was computed
computed: list[str] = []


@contextmanager
def sites(site_id: int | None) -> Iterator[Any]:
    """The model of sites with one site, which this process has found before. In a process of its own: it keeps it."""
    apps = [*settings.INSTALLED_APPS, "django.contrib.sites"]
    with override_settings(INSTALLED_APPS=apps, ALLOWED_HOSTS=["testserver"], SITE_ID=site_id):
        from django.contrib.sites.models import Site

        with connection.schema_editor() as editor:
            editor.create_model(Site)
        try:
            Site.objects.create(pk=1, domain="testserver", name="One")
            assert current_site().name == "One"
            yield Site
        finally:
            with connection.schema_editor() as editor:
                editor.delete_model(Site)


def current_site(request: HttpRequest | None = None) -> Any:
    from django.contrib.sites.shortcuts import get_current_site

    return get_current_site(request or RequestFactory().get("/"))


@ormcache.cache_page()
def page(request: HttpRequest) -> HttpResponse:
    computed.append("page")
    return HttpResponse(current_site(request).name)


@ormcache.cached
def name() -> str:
    computed.append("name")
    return str(current_site().name)


@ormcache.snapshot
def in_a_snapshot() -> str:
    return str(current_site().name)


def tracked() -> str:
    with ormcache.track() as dependencies:
        found = str(current_site().name)
    assert {table.rpartition(".")[2] for table in dependencies.tables} <= {"django_site"}
    assert dependencies.is_current()
    return found


def names(site_id: int | None) -> list[list[str]]:
    """What is shown after each change of the site, and what was computed for it."""
    with sites(site_id) as site:
        found = []
        for change in ("Two", "Three", None, "Four"):
            if change is None:
                site.objects.clear_cache()
                assert current_site().name == "Three"
                continue
            site.objects.filter(pk=1).update(name=change)  # of which Django's memory does not learn
            computed.clear()
            for _ in range(2):
                shown = {page(RequestFactory().get("/")).content.decode(), name(), in_a_snapshot(), tracked()}
            found.append([*shown, *computed])
        return found


def kept(site_id: int | None) -> str:
    """What a block finds while another thread puts what it has read long ago into Django's memory."""
    with sites(site_id) as site:
        from django.contrib.sites import models

        old = current_site()
        site.objects.filter(pk=1).update(name="Two")
        put: Any = type(site.objects).get

        def get(manager: Any, *args: Any, **kwargs: Any) -> Any:
            found = put(manager, *args, **kwargs)
            original = models.SITE_CACHE.__class__.__setitem__

            def set_twice(sites: Any, key: Any, value: Any) -> None:
                original(sites, key, value)
                thread = Thread(target=original, args=(sites, key, old))
                thread.start()
                thread.join()

            models.SITE_CACHE.__class__.__setitem__ = set_twice
            return found

        type(site.objects).get = get
        with ormcache.track():
            return str(current_site().name)


@pytest.mark.parametrize("site_id", [1, None])
def test_a_site_that_is_renamed(site_id, other_process):
    found = other_process(f"{__name__}.names", site_id)
    assert found == [[name, "page", "name"] for name in ("Two", "Three", "Four")]


def test_a_site_that_another_thread_remembers(other_process):
    assert other_process(f"{__name__}.kept", 1) == "Two"
