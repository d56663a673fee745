from django.apps import AppConfig

from ormcache.contrib.prometheus.collector import register


class PrometheusConfig(AppConfig):
    name = "ormcache.contrib.prometheus"
    label = "ormcache_prometheus"
    verbose_name = "ormcache for Prometheus"

    def ready(self) -> None:
        register()
