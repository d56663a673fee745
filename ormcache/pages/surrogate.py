"""Headers by which a CDN or reverse proxy may hold a page until it is purged of it: tags, and how long at most.

The setting ``PURGE`` names who holds pages. Without it, nothing is changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from django.conf import settings
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from ormcache import conf
from ormcache.cache.tracking import Tracker
from ormcache.database.tags import tags_of_page
from ormcache.purge_settings import PurgerSettings
from ormcache.purging.purgers import purger_class
from ormcache.session.connections import cached_connection

#: Directives of Cache-Control with which nobody but the visitor's browser may hold a response
_UNSHARED = frozenset({"private", "no-store", "no-cache"})

#: The number of changes of settings, and whether these then named anybody who holds pages
_held: tuple[int, bool] = (-1, False)


def are_pages_held() -> bool:
    """Return whether the settings of any database name somebody who holds pages."""
    global _held
    changes, held = conf.changes, _held
    if held[0] != changes:
        held = _held = changes, any(map(_purgers, settings.DATABASES))
    return held[1]


def add_surrogate_headers(
    response: HttpResponseBase,
    tracker: Tracker | None,
    *,
    s_maxage: int | None = None,
    stale_while_revalidate: int | None = None,
) -> None:
    """Add the headers by which CDNs and reverse proxies may hold this response until it is purged.

    ``tracker``: of the block that has computed the response, after :meth:`~Tracker.validate`. None: it may not be held,
    as it is for one visitor or outdated. ``s_maxage`` and ``stale_while_revalidate``: seconds; None: what the response
    says already, or else the setting. Both together end when what was read may not be served any more. A response that
    may not be held says so, unless the view itself has set ``s-maxage``.
    """
    directives = _directives(response)
    if not are_pages_held() or not _UNSHARED.isdisjoint(directives):
        return
    purgers = None if tracker is None or tracker.rejection is not None else _purgers_of(tracker.sessions)
    if tracker is None or not purgers:
        if "s-maxage" not in directives:
            patch_cache_control(response, s_maxage=0)
        return
    if s_maxage is None and "s-maxage" not in directives:
        s_maxage = _shortest(one.s_maxage for one in purgers)
    if stale_while_revalidate is None and "stale-while-revalidate" not in directives:
        stale_while_revalidate = _shortest(one.stale_while_revalidate for one in purgers)
    remaining = None if tracker.expires is None else max(tracker.expires - time.time(), 0.0)
    tags = tags_of_page(slot for stamps in tracker.stores.values() for slot in stamps)
    classes = list(dict.fromkeys(map(purger_class, purgers)))
    for cls in classes:
        response.headers[cls.header] = cls.separator.join(tags)
    patch_vary_headers(response, ("Cookie",))  # visitors with a session have pages of their own
    if s_maxage is not None:
        s_maxage = _shortest((s_maxage, remaining)) or 0
        patch_cache_control(response, s_maxage=s_maxage)
        if "max-age" not in directives:
            patch_cache_control(response, max_age=0)  # nobody can purge a browser
        if stale_while_revalidate is not None:
            more = None if remaining is None else remaining - s_maxage
            stale_while_revalidate = _shortest((stale_while_revalidate, more))
            # Browsers understand the first of these, and are not to use it, which the second says.
            patch_cache_control(response, stale_while_revalidate=stale_while_revalidate, must_revalidate=True)
            for name in filter(None, (getattr(cls, "control", None) for cls in classes)):
                response.headers[name] = f"max-age={s_maxage}, stale-while-revalidate={stale_while_revalidate}"


def _purgers_of(aliases: Iterable[str]) -> tuple[PurgerSettings, ...]:
    """Return who is purged of writes to all of these databases; none if one of them purges nobody else's pages."""
    found = [_purgers(alias) for alias in aliases]
    return tuple(one for one in found[0] if all(one in others for others in found)) if found else ()


def _purgers(alias: str) -> Sequence[PurgerSettings]:
    connection = cached_connection(alias)
    return () if connection is None else connection.ormcache.config.purge


def _shortest(given: Iterable[float | None]) -> int | None:
    return min((int(one) for one in given if one is not None), default=None)


def _directives(response: HttpResponseBase) -> frozenset[str]:
    given = response.headers.get("Cache-Control", "").split(",")
    return frozenset(directive.partition("=")[0].strip().lower() for directive in given)
