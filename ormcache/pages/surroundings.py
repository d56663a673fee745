"""What surrounds a use and decides its value besides arguments and rows: language, time zone, site and URLs."""

from __future__ import annotations

import datetime
import zoneinfo

from django.conf import settings
from django.urls import get_script_prefix, get_urlconf
from django.utils import timezone, translation

#: Libraries whose time zones are known by their names
_ZONES = frozenset({"dateutil", "pendulum", "pytz"})


def surroundings() -> str | None:
    """Return the current language, time zone, site and URLs as an exact text; None: one of them has none."""
    zone = _text_of_zone(timezone.get_current_timezone())
    urls = get_urlconf() or settings.ROOT_URLCONF
    patterns = urls if isinstance(urls, str) else getattr(urls, "__name__", None)
    if zone is None or patterns is None:
        return None
    site = getattr(settings, "SITE_ID", None)
    return repr((translation.get_language(), zone, settings.USE_TZ, site, patterns, get_script_prefix()))


def _text_of_zone(zone: datetime.tzinfo) -> str | None:
    cls = type(zone)
    if cls is zoneinfo.ZoneInfo:
        return None if zone.key is None else zone.key  # type: ignore[attr-defined]  # mypy does not narrow by type()
    if cls is datetime.timezone or cls.__module__.partition(".")[0] in _ZONES:
        return f"{cls.__module__}.{cls.__qualname__} {zone!r}"
    return None
