"""The table of metrics as OpenTelemetry's instruments, which are asked when somebody collects."""

from __future__ import annotations

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
        #: Readings, and the metrics that they were told for. Replaced as one, as a lock could be held during a fork
        self._present: tuple[list[Reading], set[str]] | None = None
        for metric in METRICS:
            if metric.of is not Of.TOLD:
                self._make(meter, metric)

    def _make(self, meter: Meter, metric: Metric) -> None:
        unit = _UNITS[metric.unit][1] if metric.unit else f"{{{metric.counted}}}" if metric.counted else "1"
        make: Callable[..., object] = (
            meter.create_observable_counter if metric.kind is Kind.COUNTER else meter.create_observable_gauge
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
        """One collection asks for each metric once: what is asked for again is a new one."""
        present = self._present
        if present is None or metric.name in present[1]:
            present = self._present = readings_here(), set()
        present[1].add(metric.name)
        return present[0]


def instrument_name(metric: Metric) -> str:
    return PREFIX + metric.name + (_UNITS[metric.unit][0] if metric.unit else "")


def _attributes(metric: Metric, values: tuple[str, ...]) -> dict[str, str]:
    return {PREFIX + label: value for label, value in zip(metric.labels, values, strict=True)}
