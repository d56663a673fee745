"""A span for every read of the ORM, made when it is over, and an event for every write that retires results.

Both belong to whatever span is the current one in the thread or task of the query. The span of a miss lies beside the
one that an instrumentation of the driver makes, not around it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from django.db import connections
from opentelemetry.trace import SpanKind, Tracer, get_current_span

from ormcache import signals
from ormcache.sql import collapsed, masked

#: Texts whose description is remembered, characters of one that are told, relations in the name of a span
MOST_TEXTS, LONGEST_TEXT, MOST_NAMED = 1024, 4096, 3

#: Django's names of databases → OpenTelemetry's, where they differ
_SYSTEMS = {"oracle": "oracle.db", "microsoft": "microsoft.sql_server"}


class Spans:
    """Of one tracer. Any thread may call."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._texts: dict[tuple[str, str], str] = {}  # (text, vendor) → the text as it may be shown

    def connect(self) -> None:
        """Its owner has to keep it: signals do not."""
        signals.hit.connect(self.hit)
        signals.missed.connect(self.missed)
        signals.bypassed.connect(self.bypassed)
        signals.invalidated.connect(self.invalidated)

    def disconnect(self) -> None:
        signals.hit.disconnect(self.hit)
        signals.missed.disconnect(self.missed)
        signals.bypassed.disconnect(self.bypassed)
        signals.invalidated.disconnect(self.invalidated)

    def hit(self, *, using: str, relations: frozenset[str], sql: str, params: Any, took: float, **kwargs: Any) -> None:
        self._span("hit", using, relations, sql, params, took, {"ormcache.saved": kwargs.get("saved")})

    def missed(
        self,
        *,
        using: str,
        relations: frozenset[str],
        sql: str,
        params: Any,
        took: float,
        query: float,
        **kwargs: Any,
    ) -> None:
        more = {f"ormcache.{key}": kwargs.get(key) for key in ("cause", "retired_by", "refused")}
        self._span("miss", using, relations, sql, params, took + query, {"ormcache.query": query, **more})

    def bypassed(
        self,
        *,
        using: str,
        reason: str,
        relations: frozenset[str],
        sql: str | None,
        params: Any,
        query: float,
        **kwargs: Any,
    ) -> None:
        if sql is None:
            return  # nothing ran: it was known to be empty
        self._span("bypass", using, relations, sql, params, query, {"ormcache.reason": reason})

    def invalidated(
        self, *, using: str, relations: frozenset[str], causes: Sequence[str], took: float, **kwargs: Any
    ) -> None:
        # No span: one part of the time is before the COMMIT, the other one after it.
        span = get_current_span()
        if span.is_recording():
            connection = connections[using]
            span.add_event(
                "ormcache.invalidated",
                {
                    "ormcache.alias": using,
                    "ormcache.relations": sorted(relations),
                    "ormcache.statements": [self._shown(sql, connection) for sql in causes],
                    "ormcache.took": took,
                },
            )

    def _span(
        self,
        result: str,
        using: str,
        relations: frozenset[str],
        sql: str,
        params: Any,
        seconds: float,
        more: dict[str, Any],
    ) -> None:
        now = time.time_ns()
        name = " ".join(["SELECT", *sorted(relations)[:MOST_NAMED]])
        begun = {"ormcache.result": result, "ormcache.alias": using}  # what a sampler may ask for
        span = self._tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=begun, start_time=now - int(seconds * 1e9)
        )
        if span.is_recording():
            more = more | {"ormcache.relations": sorted(relations), "db.query.summary": name}
            more |= self._of_database(using, sql, params)
            span.set_attributes({key: value for key, value in more.items() if value is not None})
        span.end(now)

    def _of_database(self, using: str, sql: str, params: Any) -> dict[str, Any]:
        connection: Any = connections[using]
        given = connection.settings_dict
        shows = connection.ormcache.config.show_parameters
        found = {
            "db.system.name": _SYSTEMS.get(connection.vendor, connection.vendor),
            "db.namespace": str(given["NAME"]),
            "db.operation.name": "SELECT",
            "db.query.text": sql[:LONGEST_TEXT] if shows else self._shown(sql, connection),
            "server.address": given["HOST"] or None,
            "server.port": int(given["PORT"]) if str(given["PORT"]).isdigit() else None,
        }
        if shows:
            found |= {f"db.query.parameter.{number}": str(param) for number, param in enumerate(params or ())}
        return found

    def _shown(self, sql: str, connection: Any) -> str:
        key = collapsed(sql)[0], connection.vendor
        shown = self._texts.get(key)
        if shown is None:
            shown = masked(*key)[:LONGEST_TEXT]
            if len(self._texts) >= MOST_TEXTS:
                self._texts = {}
            if len(key[0]) <= LONGEST_TEXT:
                self._texts[key] = shown
        return shown
