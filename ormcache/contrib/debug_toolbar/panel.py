"""Shows what became of each query of a request, and why, and what the writes of the request invalidated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from debug_toolbar.forms import SignedDataForm
from debug_toolbar.panels import Panel
from debug_toolbar.panels.sql.utils import contrasting_color_generator
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path

from ormcache.contrib.debug_toolbar.events import stats_of
from ormcache.contrib.debug_toolbar.plan import plan
from ormcache.contrib.debug_toolbar.rendering import highlight, render
from ormcache.telemetry.recorder import Recorder

#: Kind of event → its colour; they differ from each other on white and on black
_COLOURS = {"hit": "#2e9e5b", "miss": "#d98a00", "bypass": "#8a8f98", "write": "#3f7fd1"}

_PLURALS = {"hit": "hits", "miss": "misses"}


class OrmcachePanel(Panel):
    """The panel of one request. Its recorder belongs to the request's thread or task, and sees no other request."""

    is_async = True
    nav_title = "ormcache"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._recorder: Recorder | None = None

    # From what is stored: the history panel has no request any more.

    @property
    def title(self) -> str:
        return f"Cached queries: {self._counts() or 'none'}"

    @property
    def nav_subtitle(self) -> str:
        return self._counts()

    def _counts(self) -> str:
        stats = self.get_stats()
        counts = [
            _number(stats.get("hits", 0), "hit", "hits"),
            _number(stats.get("misses", 0), "miss", "misses"),
            _number(stats.get("bypassed", 0), "bypass", "bypasses"),
            _number(stats.get("writes", 0), "write", "writes"),
        ]
        uses = Counter((use["kind"], use["outcome"]) for use in stats.get("uses", ()))
        for (kind, outcome), count in uses.items():
            counts.append(_number(count, f"{kind} {outcome}", f"{kind} {_PLURALS[outcome]}"))
        return ", ".join(filter(None, counts))

    @property
    def content(self) -> str:
        stats = self.get_stats()
        uses = [
            use | {"colour": _COLOURS[use["outcome"]], "statement": highlight(use["sql"])}
            for use in stats.get("uses", ())
        ]
        return render("panel.html", stats | {"uses": uses, "events": list(self._events(stats)), "colours": _COLOURS})

    def _events(self, stats: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        colours = contrasting_color_generator()
        groups: dict[Any, str] = {}
        for event in stats.get("events", ()):
            if event["kind"] == "write":
                statements = [highlight(cause) for cause in event["causes"]]
                yield event | {"colour": _COLOURS["write"], "statements": statements}
                continue
            key = (event["using"], event["sql"])
            if event["similar"] > 1 and key not in groups:
                groups[key] = next(colours)
            request = {"request_id": self.toolbar.request_id, "number": event["number"]}
            yield event | {
                "colour": _COLOURS[event["kind"]],
                "group": groups.get(key),
                "statement": highlight(event["sql"], with_toggle=True),
                "last_write": highlight(event.get("invalidated_cause", "")),
                "form": SignedDataForm(auto_id=None, initial=request),
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
