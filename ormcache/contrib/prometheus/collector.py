"""A collector that reads the figures when it is asked. Nothing is done for it while the cache works."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence

from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from ormcache.insight import metrics
from ormcache.insight.metrics import METRICS, Kind, Of, Reading
from ormcache.insight.readings import MOST_RELATIONS, readings_here, readings_told

PREFIX = "django_ormcache_"


class OrmcacheCollector(Collector):
    """The metrics of this process, or of a whole deployment."""

    def __init__(self, *, deployment: bool = False, relations: int = MOST_RELATIONS) -> None:
        """``deployment``: of all processes, each with a label of its own, as they have told them through the store.

        ``relations`` of one process have a label of their own, all others are together.
        """
        self._deployment = deployment
        self._relations = relations

    def describe(self) -> Iterator[Metric]:
        """The names alone: nothing is asked when the collector is registered."""
        for metric in METRICS:
            if self._has(metric):
                yield self._family(metric, [])

    def collect(self) -> Iterator[Metric]:
        told = readings_told(self._relations) if self._deployment else []
        here = readings_here(self._relations)  # then: whether the store has answered is known by now
        for metric in METRICS:
            if self._has(metric):
                yield self._family(metric, here if metric.of is Of.ASKED or not self._deployment else told)

    def _has(self, metric: metrics.Metric) -> bool:
        return self._deployment or metric.of is not Of.TOLD

    def _family(self, metric: metrics.Metric, readings: Sequence[Reading]) -> Metric:
        by_process = self._deployment and metric.of is not Of.ASKED
        labels = ["alias", *(["process"] if by_process else []), *metric.labels]
        counter = metric.kind is Kind.COUNTER
        family = (CounterMetricFamily if counter else GaugeMetricFamily)(_name(metric), metric.help, labels=labels)
        for reading in readings:
            first = [reading.alias, *([reading.process] if by_process else [])]
            for values, number in metric.values(reading).items():
                family.add_metric([*first, *values], number)
        return family


def _name(metric: metrics.Metric) -> str:
    """As django-prometheus spells names, with its namespace in front."""
    namespace = getattr(settings, "PROMETHEUS_METRIC_NAMESPACE", "")
    return "_".join(filter(None, [namespace, PREFIX + metric.name, metric.unit]))


#: The collector of each registry: apps may get ready twice, and a registry takes no name twice
_registered: weakref.WeakKeyDictionary[CollectorRegistry, OrmcacheCollector] = weakref.WeakKeyDictionary()
_lock = threading.Lock()  # guards it


def register(
    registry: CollectorRegistry = REGISTRY, *, deployment: bool = False, relations: int = MOST_RELATIONS
) -> OrmcacheCollector:
    """Add the metrics to a registry; to one that has them already, in their place. See :class:`OrmcacheCollector`."""
    collector = OrmcacheCollector(deployment=deployment, relations=relations)
    with _lock:
        before = _registered.pop(registry, None)
        if before is not None:
            registry.unregister(before)
        registry.register(collector)
        _registered[registry] = collector
    return collector
