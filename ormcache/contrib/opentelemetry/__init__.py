"""Exports metrics and spans through OpenTelemetry. Needs ``opentelemetry-api`` only.

``"ormcache.contrib.opentelemetry"`` in ``INSTALLED_APPS``, or ``OrmcacheInstrumentor().instrument()``.
"""

from ormcache.contrib.opentelemetry.instrumentor import OrmcacheInstrumentor

__all__ = ["OrmcacheInstrumentor"]
