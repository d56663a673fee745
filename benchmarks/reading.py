"""The one difference that the code of a site shows: by hand, each place that reads names what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.cache import cache

TIMEOUT = 3600  # seconds


def _direct(key: str, make: Callable[[], Any]) -> Any:
    return make()


def _kept(key: str, make: Callable[[], Any]) -> Any:
    return cache.get_or_set(key, make, TIMEOUT)


#: ``read("product 7", lambda: …)``: what the function returns, or what was kept under that key by a cache by hand
read = _kept if settings.BENCHMARK_BY_HAND else _direct
