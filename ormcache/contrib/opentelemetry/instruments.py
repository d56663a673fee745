"""The table of metrics as OpenTelemetry's instruments, which are asked when somebody collects."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ormcache.insight.metrics import METRICS, Kind, Metric, Of, Reading
from ormcache.insight.readings import readings_here

PREFIX = "ormcache."
#: Unit in the table → what the name ends with, and the unit in UCUM
_UNITS = {"seconds": (".time", "s"), "bytes": (".size", "By")}


class Instruments:
    """Those of one meter."""

    #: Are they to tell anything?
    active = False

    def __init__(self, meter: Meter) -> None:
        self._lock = threading.Lock()  # guards the two below
        self._readings: list[Reading] = []
        self._told: set[str] | None = None  # the metrics that the readings were told for; None: there are none
        for metric in METRICS:
            if metric.of is not Of.TOLD:
                self._make(meter, metric)

    def _make(self, meter: Meter, metric: Metric) -> None:
        suffix, unit = _UNITS.get(metric.unit, ("", f"{{{metric.counted}}}" if metric.counted else "1"))
        make: Callable[..., object] = (
            meter.create_observable_counter if metric.kind is Kind.COUNTER else meter.create_observable_gauge
        )
        make(
            PREFIX + metric.name + suffix,
            callbacks=[partial(self._observe, metric)],
            unit=unit,
            description=metric.help,
        )

    def _observe(self, metric: Metric, options: CallbackOptions) -> Iterable[Observation]:
        if not self.active:
            return []
        return [
            Observation(number, {PREFIX + "alias": reading.alias, **_attributes(metric, values)})
            for reading in self._present(metric)
            for values, number in metric.values(reading).items()
        ]

    def _present(self, metric: Metric) -> list[Reading]:
        """One collection asks for each metric once: what is asked for again is a new one."""
        with self._lock:
            if self._told is None or metric.name in self._told:
                self._readings, self._told = readings_here(), set()
            self._told.add(metric.name)
            return self._readings


def _attributes(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return {PREFIX + label: value for label, value in zip(metric.labels, values, strict=True)}
