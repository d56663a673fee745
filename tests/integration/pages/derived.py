"""Functions that are cached, for the tests beside this file: by the core alone, whatever is built on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from django.db import connections

from ormcache.cache.keys import digest
from ormcache.pages.computing import acompute, compute
from ormcache.pages.derivation import Derivation, Found, Use
from tests.integration.calls import genres, names
from tests.process import stop


def use(name: str = "names", **options: Any) -> Use:
    return Use("function", name, digest(name.encode()), **options)


class Computed:
    """A function that is cached, and how often it was computed; ``rejected``: why it was not stored the last time."""

    def __init__(self, function: Callable[[], Any], name: str = "names", **options: Any) -> None:
        self.times = 0
        self.rejected: str | None = None
        self.found: Found | None = None
        self._function = function
        self._use = use(name, **options)

    def __call__(self) -> Any:
        """Step by step, as a page does it."""
        derivation = Derivation(self._use)
        self.found = derivation.look_up()
        if self.found is not None:
            return self.found.payload
        self.times += 1
        with derivation.computing():
            value = self._function()
        self.found = derivation.store(value)
        self.rejected = None if derivation.rejection is None else derivation.rejection.reason
        return value

    def compute(self, **forms: Any) -> Any:
        """With flights and grace."""
        return compute(self._use, self._count, **forms)

    async def acompute(self, function: Callable[[], Awaitable[Any]]) -> Any:
        async def count() -> Any:
            self.times += 1
            return await function()

        return await acompute(self._use, count)

    def _count(self) -> Any:
        self.times += 1
        return self._function()


def pages(names: list[str], genres: list[str]) -> str:
    """A page of both."""
    return f"{','.join(names)} | {','.join(genres)}"


def page(using: str = "default") -> str:
    return pages(names(using), genres(using))


def cached_page(name: str = "page") -> str:
    """For other processes."""
    return str(Computed(page, name)())


def page_with_stop() -> str:
    """A page between whose reads another process may do something; computed with flights."""

    def slowly() -> str:
        first = names()
        stop("read once")
        return pages(first, genres())

    return str(Computed(slowly, "page").compute())


def reasons_of(using: str = "default") -> dict[str, int]:
    """How often functions were not stored, by reason."""
    found: dict[str, int] = {}
    for counters in connections[using].ormcache.observer.counters.derived():
        for reason, times in counters.rejected.items():
            found[reason] = found.get(reason, 0) + times
    return found
