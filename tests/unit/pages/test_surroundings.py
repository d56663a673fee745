"""What surrounds a use of something cached, and names it besides arguments and rows."""

from __future__ import annotations

import contextlib
import datetime
import types
import zoneinfo

import pytest
from django.test import override_settings
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

from ormcache.pages.surroundings import surroundings


@contextlib.contextmanager
def urls(urlconf):
    before = get_urlconf()
    set_urlconf(urlconf)
    yield
    set_urlconf(before)


@contextlib.contextmanager
def script_prefix(prefix):
    before = get_script_prefix()
    set_script_prefix(prefix)
    yield
    set_script_prefix(before)


@pytest.fixture(autouse=True)
def _usual():
    with override_settings(ROOT_URLCONF="site.urls", SITE_ID=1, USE_TZ=True), translation.override("en"):
        yield


OTHERS = {
    "language": lambda: translation.override("de"),
    "no language": lambda: translation.override(None),
    "time zone": lambda: timezone.override(zoneinfo.ZoneInfo("Asia/Tokyo")),
    "offset": lambda: timezone.override(datetime.timezone(datetime.timedelta(hours=9))),
    "USE_TZ": lambda: override_settings(USE_TZ=False),
    "SITE_ID": lambda: override_settings(SITE_ID=2),
    "ROOT_URLCONF": lambda: override_settings(ROOT_URLCONF="other.urls"),
    "urls of the request": lambda: urls("tenant.urls"),
    "script prefix": lambda: script_prefix("/shop/"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_names_a_use(other):
    before = surroundings()
    with OTHERS[other]():
        assert surroundings() not in (before, None)
        assert surroundings() == surroundings()
    assert surroundings() == before


def test_a_module_of_urls_counts_by_its_name():
    with urls("tenant.urls"):
        named = surroundings()
    with urls(types.ModuleType("tenant.urls")):
        assert surroundings() == named


class Zone(datetime.tzinfo):
    """A time zone of the project's own: nothing says which one it is."""


@pytest.mark.parametrize(
    "unknown",
    [
        lambda: timezone.override(Zone()),
        lambda: urls(("one", "two")),
    ],
)
def test_what_has_no_exact_text(unknown):
    with unknown():
        assert surroundings() is None
