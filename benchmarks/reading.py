"""The one difference that the code of a site shows: by hand, each place that reads names what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import cache

import ormcache

TIMEOUT = 3600  # seconds


def _direct(key: str, make: Callable[[], Any]) -> Any:
    return make()


def _kept(key: str, make: Callable[[], Any]) -> Any:
    return cache.get_or_set(key, make, TIMEOUT)


#: ``read("product 7", lambda: …)``: what the function returns, or what was kept under that key by a cache by hand
read = _kept if settings.BENCHMARK_BY_HAND else _direct


def derived(function: Callable[[], str]) -> Callable[[], str]:
    """As its users would keep what a function returns: by ormcache's decorator or by hand; others keep none."""
    if settings.BENCHMARK_BY_HAND:
        return lambda: _kept(f"derived {function.__qualname__}", function)
    return ormcache.cached(function) if settings.BENCHMARK_CANDIDATE.startswith("ormcache") else function


def fragment_tags() -> tuple[str, str]:
    """The tags around a fragment of a template, likewise."""
    if settings.BENCHMARK_BY_HAND:
        return f"{{% load cache %}}{{% cache {TIMEOUT} fragment %}}", "{% endcache %}"
    if settings.BENCHMARK_CANDIDATE.startswith("ormcache"):
        return '{% load ormcache %}{% ormcache "fragment" %}', "{% endormcache %}"
    return "", ""
