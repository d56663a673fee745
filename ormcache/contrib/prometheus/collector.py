"""Exports the metrics to Prometheus. They are read when they are collected, and cost nothing before."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ormcache.diagnostics.metrics import definitions
from ormcache.diagnostics.metrics.definitions import METRICS, MetricKind, MetricSource, Reading
from ormcache.diagnostics.metrics.readings import MOST_LABELS, MOST_RELATIONS, deployment_readings, process_readings

PREFIX = "django_ormcache_"


class OrmcacheCollector(Collector):
    """Collects the metrics of this process, or of a whole deployment."""

    def __init__(self, *, deployment: bool = False, relations: int = MOST_RELATIONS, labels: int = MOST_LABELS) -> None:
        """``deployment``: of all processes, each with a label value of its own, as they published them in the store.

        ``relations``, ``labels``: so many relations of a process, and so many functions, fragments and pages, have a
        label value of their own; all others are together.
        """
        self._deployment = deployment
        self._bounds = relations, labels

    def describe(self) -> Iterator[Metric]:
        """Yield the names alone: nothing is read when the collector is registered."""
        for metric in METRICS:
            if self._has(metric):
                yield self._family(metric, [])

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics with their values."""
        published = deployment_readings(*self._bounds) if self._deployment else []
        own = process_readings(*self._bounds)  # afterwards: by then it is known whether the store answers
        for metric in METRICS:
            if self._has(metric):
                yield self._family(metric, published if self._is_by_process(metric) else own)

    def _has(self, metric: definitions.Metric) -> bool:
        return self._deployment or metric.source is not MetricSource.DEPLOYMENT

    def _is_by_process(self, metric: definitions.Metric) -> bool:
        return self._deployment and metric.source is not MetricSource.ANSWERING_PROCESS

    def _family(self, metric: definitions.Metric, readings: Sequence[Reading]) -> Metric:
        by_process = self._is_by_process(metric)
        labels = ["alias", *(["process"] if by_process else []), *metric.labels]
        counter = metric.kind is MetricKind.COUNTER
        family = (CounterMetricFamily if counter else GaugeMetricFamily)(_name(metric), metric.help, labels=labels)
        for reading in readings:
            first = [reading.alias, *([reading.process] if by_process else [])]
            for values, number in metric.values(reading).items():
                family.add_metric([*first, *values], number)
        return family


def _name(metric: definitions.Metric) -> str:
    """Return the name as django-prometheus spells names, with its namespace in front."""
    namespace = getattr(settings, "PROMETHEUS_METRIC_NAMESPACE", "")
    return "_".join(filter(None, [namespace, PREFIX + metric.name, metric.unit]))


#: Registry → its collector: apps may be made ready twice, and a registry takes no name twice
_registered: weakref.WeakKeyDictionary[CollectorRegistry, OrmcacheCollector] = weakref.WeakKeyDictionary()
_lock = threading.RLock()  # guards it


def register(
    registry: CollectorRegistry = REGISTRY,
    *,
    deployment: bool = False,
    relations: int = MOST_RELATIONS,
    labels: int = MOST_LABELS,
) -> OrmcacheCollector:
    """Add the metrics to a registry, in place of those that it has already. See :class:`OrmcacheCollector`."""
    collector = OrmcacheCollector(deployment=deployment, relations=relations, labels=labels)
    with _lock:
        before = _registered.pop(registry, None)
        if before is not None:
            registry.unregister(before)
        registry.register(collector)
        _registered[registry] = collector
    return collector
