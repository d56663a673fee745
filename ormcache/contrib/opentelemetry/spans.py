"""Makes a span for every read of the ORM when it is over, and an event for every write that invalidates results.

Uses of pages, fragments and functions are events, too. All of them belong to the current span of the thread or task.
The span of a miss lies beside the one that an instrumentation of the driver makes, not around it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django.db import connections
from opentelemetry.trace import SpanKind, Tracer, get_current_span

from ormcache.sql import collapse_lists, mask_literals
from ormcache.telemetry.listener import SignalListener

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection

#: Statements whose masked form is remembered, characters of one that are exported, relations in the name of a span
MOST_STATEMENTS, LONGEST_SQL, MOST_NAMED = 1024, 4096, 3

#: Django's names of databases → OpenTelemetry's, where they differ:
#: https://opentelemetry.io/docs/specs/semconv/registry/attributes/db/#db-system-name
_SYSTEMS = {"oracle": "oracle.db", "microsoft": "microsoft.sql_server"}

#: Argument of a signal → the attribute that it becomes
_ATTRIBUTES = {
    "saved": "ormcache.saved.duration",
    "query": "ormcache.query.duration",
    "cause": "ormcache.cause",
    "invalidated_by": "ormcache.invalidated_by",
    "rejected": "ormcache.rejected",
    "by_row": "ormcache.by_row",
    "reason": "ormcache.reason",
}
#: The same of a use of a page, a fragment or a function
_ATTRIBUTES_OF_USES = {
    "kind": "ormcache.kind",
    "label": "ormcache.label",
    "took": "ormcache.duration",
    "saved": "ormcache.saved.duration",
    "outdated": "ormcache.outdated",
    "cause": "ormcache.cause",
    "invalidated_by": "ormcache.invalidated_by",
    "rejected": "ormcache.rejected",
    "caller": "ormcache.caller",
}


class Spans(SignalListener):
    """The spans and events of one tracer."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._masked: dict[tuple[str, str], str] = {}  # (SQL, vendor) → the SQL without its values

    def read(self, outcome: str, arguments: Mapping[str, Any]) -> None:
        """Make the span of a read, which ends now."""
        using, relations = arguments["using"], sorted(arguments["relations"])
        seconds = (arguments.get("took") or 0.0) + (arguments.get("query") or 0.0)
        now = time.time_ns()
        name = " ".join(["SELECT", *relations[:MOST_NAMED]])
        initial = {"ormcache.result": outcome, "ormcache.alias": using}  # what a sampler may ask for
        span = self._tracer.start_span(
            name, kind=SpanKind.INTERNAL, attributes=initial, start_time=now - int(seconds * 1e9)
        )
        if span.is_recording():
            attributes = {
                "ormcache.relations": relations,
                "db.query.summary": name,
                **{attribute: arguments.get(argument) for argument, attribute in _ATTRIBUTES.items()},
                **self._database_attributes(using, arguments["sql"], arguments["params"]),
            }
            span.set_attributes({key: value for key, value in attributes.items() if value is not None})
        span.end(now)

    def invalidation(self, arguments: Mapping[str, Any]) -> None:
        """Add an event to the current span. Not a span: part of the time is before the COMMIT, part after it."""
        span = get_current_span()
        if span.is_recording():
            vendor = connections[arguments["using"]].vendor
            span.add_event(
                "ormcache.invalidated",
                {
                    "ormcache.alias": arguments["using"],
                    "ormcache.relations": sorted(arguments["relations"]),
                    "ormcache.statements": [self._mask(sql, vendor) for sql in arguments["causes"]],
                    "ormcache.duration": arguments["took"],
                },
            )

    def use(self, outcome: str, arguments: Mapping[str, Any]) -> None:
        """Add an event to the current span. Not a span: what computing it took has spans of its own inside."""
        span = get_current_span()
        if span.is_recording():
            given = {name: arguments.get(argument) for argument, name in _ATTRIBUTES_OF_USES.items()}
            attributes = {"ormcache.alias": arguments["using"], "ormcache.result": outcome} | given
            if arguments.get("sql"):
                vendor = connections[arguments["using"]].vendor
                attributes |= {
                    "ormcache.statement": self._mask(arguments["sql"], vendor),
                    "ormcache.relations": sorted(arguments["relations"]),
                }
            span.add_event("ormcache.used", {name: value for name, value in attributes.items() if value is not None})

    def _database_attributes(self, using: str, sql: str, params: Any) -> dict[str, Any]:
        """Return the attributes of https://opentelemetry.io/docs/specs/semconv/db/database-spans/."""
        connection = cast("CachedConnection", connections[using])
        given = connection.settings_dict
        shows_parameters = connection.ormcache.config.show_parameters
        attributes = {
            "db.system.name": _SYSTEMS.get(connection.vendor, connection.vendor),
            "db.namespace": str(given["NAME"]),
            "db.operation.name": "SELECT",
            "db.query.text": sql[:LONGEST_SQL] if shows_parameters else self._mask(sql, connection.vendor),
            "server.address": given["HOST"] or None,
            "server.port": int(given["PORT"]) if str(given["PORT"]).isdigit() else None,
        }
        if shows_parameters:
            attributes |= {f"db.query.parameter.{number}": str(param) for number, param in enumerate(params or ())}
        return attributes

    def _mask(self, sql: str, vendor: str) -> str:
        key = collapse_lists(sql)[0], vendor
        shown = self._masked.get(key)
        if shown is None:
            shown = mask_literals(*key)[:LONGEST_SQL]
            if len(self._masked) >= MOST_STATEMENTS:
                self._masked = {}
            if len(key[0]) <= LONGEST_SQL:
                self._masked[key] = shown
        return shown
