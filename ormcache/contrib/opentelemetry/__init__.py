"""Metrics and spans for OpenTelemetry, through ``opentelemetry-api`` alone.

``"ormcache.contrib.opentelemetry"`` in ``INSTALLED_APPS``, or ``OrmcacheInstrumentor().instrument()``.
"""

from ormcache.contrib.opentelemetry.instrumentor import OrmcacheInstrumentor

__all__ = ["OrmcacheInstrumentor"]
