"""Adds up what the processes of a deployment published."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ormcache.database.database import Database
from ormcache.telemetry.exchange import Exchange
from ormcache.telemetry.payload import Payload
from ormcache.telemetry.publisher import publisher
from ormcache.telemetry.report import Report, ReportBuilder


def collect_reports(database: Database) -> dict[str, Report]:
    """Return database alias → the statistics of all processes that use this database under that alias.

    Raises StoreUnavailable.
    """
    exchange = Exchange(database)
    own = publisher.payloads(database.identity)
    own_processes = {payload["process"]["id"] for payload in own}
    unreadable = 0

    def all_payloads() -> Iterator[Payload]:
        nonlocal unreadable
        yield from own
        for process in exchange.processes():
            if process not in own_processes:
                payload = exchange.payload(process)
                if payload is None:
                    unreadable += 1
                else:
                    yield payload

    reports = _add_up(all_payloads())
    return {alias: replace(report, unreadable=unreadable) for alias, report in reports.items()}


def own_reports(database: Database) -> dict[str, Report]:
    """Return the same for this process alone, which needs no store."""
    return _add_up(publisher.payloads(database.identity))


def _add_up(payloads: Iterable[Payload]) -> dict[str, Report]:
    """Return database alias → the sum of its payloads. One after the other: those of a large process are megabytes."""
    now = time.time()
    builders: dict[str, ReportBuilder] = {}
    for payload in payloads:
        alias = payload["alias"]
        builder = builders.get(alias)
        if builder is None:
            builder = builders[alias] = ReportBuilder(alias, now)
        builder.add(payload)
    return {alias: builders[alias].report() for alias in sorted(builders)}
