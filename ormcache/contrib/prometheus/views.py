"""A view for Prometheus: the metrics of the whole deployment, from whichever process answers."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ormcache.contrib.prometheus.collector import OrmcacheCollector


def deployment(request: HttpRequest) -> HttpResponse:
    """Return the metrics of ormcache, of all processes."""
    registry = CollectorRegistry()
    registry.register(OrmcacheCollector(deployment=True))
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
