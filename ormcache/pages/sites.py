"""Lets what is tracked read the current site from the database, which Django otherwise remembers in its memory.

``Site.objects.get_current()`` keeps each site that it has found, for as long as the process lives. What a block took
from there was read long before it: no write to the site would end what was made of it.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any, Final

from ormcache.cache.tracking import current_tracker

_MODELS: Final = "django.contrib.sites.models"

#: The site that this thread or task has read last in a block that is tracked, by its key; None: none yet
_last: ContextVar[tuple[Any, Any] | None] = ContextVar("ormcache_last_site", default=None)


class RememberedSites(dict[Any, Any]):
    """In the place of Django's dict of sites: in a block that is tracked, it has none but the one just put there."""

    def __contains__(self, key: object) -> bool:
        return current_tracker() is None and super().__contains__(key)

    def __setitem__(self, key: Any, site: Any) -> None:
        if current_tracker() is not None:
            _last.set((key, site))
        super().__setitem__(key, site)

    def __getitem__(self, key: Any) -> Any:
        last = _last.get()
        # Meanwhile another thread may have put an older one there.
        if last is not None and last[0] == key and current_tracker() is not None:
            return last[1]
        return super().__getitem__(key)


def watch_sites() -> None:
    """Let the current site be read anew in blocks that are tracked. Does nothing where there are no sites."""
    models: Any = sys.modules.get(_MODELS)
    sites = getattr(models, "SITE_CACHE", None)
    if sites is not None and type(sites) is not RememberedSites:  # clear_cache() puts another dict there
        vars(models)["SITE_CACHE"] = RememberedSites(sites)
