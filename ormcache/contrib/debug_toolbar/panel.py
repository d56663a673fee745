"""What became of each query of a request: hit, miss or bypass, why, and what the request's writes have retired."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from debug_toolbar.forms import SignedDataForm
from debug_toolbar.panels import Panel
from debug_toolbar.panels.sql.utils import contrasting_color_generator, reformat_sql
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.safestring import mark_safe

from ormcache.contrib.debug_toolbar.plan import plan
from ormcache.contrib.debug_toolbar.rendering import rendered
from ormcache.contrib.debug_toolbar.telling import stats_of
from ormcache.recording import Recorder

#: Kind of event → its colour, one that can be told from the others on white and on black
_COLOURS = {"hit": "#2e9e5b", "miss": "#d98a00", "bypass": "#8a8f98", "write": "#3f7fd1"}


class OrmcachePanel(Panel):
    """One request. The recorder belongs to the request's thread or task, so that others are not seen."""

    is_async = True
    nav_title = "ormcache"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder: Recorder | None = None

    # Told from what is stored: the history panel has no request any more.

    @property
    def title(self) -> str:
        return f"Cached queries: {self._counts() or 'none'}"

    @property
    def nav_subtitle(self) -> str:
        return self._counts()

    def _counts(self) -> str:
        stats = self.get_stats()
        told = [
            _number(stats.get("hits", 0), "hit", "hits"),
            _number(stats.get("misses", 0), "miss", "misses"),
            _number(stats.get("bypassed", 0), "bypassed", "bypassed"),
            _number(stats.get("writes", 0), "write", "writes"),
        ]
        return ", ".join(filter(None, told))

    @property
    def content(self) -> str:
        stats = self.get_stats()
        return rendered("panel.html", stats | {"events": list(self._shown(stats)), "colours": _COLOURS})

    def _shown(self, stats: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        colours = contrasting_color_generator()
        alike: dict[Any, str] = {}
        for event in stats.get("events", ()):
            if event["kind"] == "write":
                statements = [mark_safe(reformat_sql(cause)) for cause in event["causes"]]  # noqa: S308  # it escapes
                yield event | {"colour": _COLOURS["write"], "statements": statements}
                continue
            key = (event["using"], event["sql"])
            if event["similar"] > 1 and key not in alike:
                alike[key] = next(colours)
            asked = {"request_id": self.toolbar.request_id, "number": event["number"]}
            yield event | {
                "colour": _COLOURS[event["kind"]],
                "alike": alike.get(key),
                "statement": mark_safe(reformat_sql(event["sql"], with_toggle=True)),  # noqa: S308  # it escapes
                "form": SignedDataForm(auto_id=None, initial=asked),
            }

    @classmethod
    def get_urls(cls) -> list[URLPattern]:
        return [path("ormcache_plan/", plan, name="ormcache_plan")]

    # A request ----------------------------------------------------------------------------

    def enable_instrumentation(self) -> None:
        if self._recorder is None:
            self._recorder = Recorder()
            self._recorder.__enter__()

    def disable_instrumentation(self) -> None:
        if self._recorder is not None:
            self._recorder.__exit__()

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        if self._recorder is not None:
            self.record_stats(stats_of(self._recorder))

    def generate_server_timing(self, request: HttpRequest, response: HttpResponse) -> None:
        stats = self.get_stats()
        self.record_server_timing("cache", f"ormcache {self._counts()}", stats.get("cache_ms") or 0)


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}" if count else ""
