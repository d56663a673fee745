from django.apps import AppConfig

from ormcache.contrib.opentelemetry.instrumentor import OrmcacheInstrumentor


class OpenTelemetryConfig(AppConfig):
    name = "ormcache.contrib.opentelemetry"
    label = "ormcache_opentelemetry"
    verbose_name = "ormcache for OpenTelemetry"

    def ready(self) -> None:
        OrmcacheInstrumentor().instrument()
