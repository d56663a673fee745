"""Exports metrics to Prometheus through ``prometheus_client``.

``"ormcache.contrib.prometheus"`` in ``INSTALLED_APPS`` adds them to the default registry, which django-prometheus and
``prometheus_client`` export; :func:`register` adds them to any other.
"""

from ormcache.contrib.prometheus.collector import register

__all__ = ["register"]
