"""Exports the metrics to OpenTelemetry, as asynchronous instruments: they are read when they are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ormcache.diagnostics.metrics.definitions import METRICS, Metric, MetricKind, MetricSource, Reading
from ormcache.diagnostics.metrics.readings import process_readings

PREFIX = "ormcache."
#: Unit in the table → the suffix of the name, and the unit in UCUM (https://ucum.org)
_UNITS = {"seconds": (".time", "s"), "bytes": (".size", "By")}


class Instruments:
    """The instruments of one meter."""

    #: Whether they observe anything: OpenTelemetry cannot remove an instrument
    active = False

    def __init__(self, meter: Meter) -> None:
        #: Readings, and the metrics that have used them. Replaced together, as a lock could be held during a fork
        self._latest: tuple[list[Reading], set[str]] | None = None
        for metric in METRICS:
            if metric.source is not MetricSource.DEPLOYMENT:
                self._make(meter, metric)

    def activate(self) -> None:
        """Begin to observe."""
        self.active = True

    def deactivate(self) -> None:
        """Observe nothing any more: a meter has no way to give an instrument back."""
        self.active = False

    def _make(self, meter: Meter, metric: Metric) -> None:
        unit = _UNITS[metric.unit][1] if metric.unit else f"{{{metric.counted}}}" if metric.counted else "1"
        make: Callable[..., object] = (
            meter.create_observable_counter if metric.kind is MetricKind.COUNTER else meter.create_observable_gauge
        )
        make(
            instrument_name(metric),
            callbacks=[partial(self._observe, metric)],
            unit=unit,
            description=metric.help,
        )

    def _observe(self, metric: Metric, options: CallbackOptions) -> Iterable[Observation]:
        if not self.active:
            return []
        return [
            Observation(number, {PREFIX + "alias": reading.alias, **_attributes(metric, values)})
            for reading in self._readings(metric)
            for values, number in metric.values(reading).items()
        ]

    def _readings(self, metric: Metric) -> list[Reading]:
        """Return the readings of this collection: it observes each metric once, so a second time is the next one."""
        latest = self._latest
        if latest is None or metric.name in latest[1]:
            latest = self._latest = process_readings(), set()
        latest[1].add(metric.name)
        return latest[0]


def instrument_name(metric: Metric) -> str:
    """Return the name of a metric in OpenTelemetry."""
    return PREFIX + metric.name + (_UNITS[metric.unit][0] if metric.unit else "")


def _attributes(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return {PREFIX + label: value for label, value in zip(metric.labels, values, strict=True)}
