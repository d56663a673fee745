"""Switches metrics and spans on and off, as other instrumentations of OpenTelemetry do."""

from __future__ import annotations

import threading
import weakref
from typing import ClassVar

from opentelemetry import metrics, trace

import ormcache
from ormcache.contrib.opentelemetry.instruments import Instruments
from ormcache.contrib.opentelemetry.spans import Spans

NAME = "ormcache"


class OrmcacheInstrumentor:
    """The instrumentation of this process. All instances share one state."""

    _lock = threading.RLock()  # guards the two below
    _spans: ClassVar[Spans | None] = None
    #: OpenTelemetry cannot remove an instrument, so each is made once and reused
    _instruments: ClassVar[weakref.WeakKeyDictionary[metrics.MeterProvider, Instruments]] = weakref.WeakKeyDictionary()

    def instrument(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Start, or restart with other providers; by default those that are set for the process, now or later."""
        self.uninstrument()
        provider = meter_provider or metrics.get_meter_provider()
        with self._lock:
            instruments = self._instruments.get(provider)
            if instruments is None:
                instruments = Instruments(provider.get_meter(NAME, ormcache.__version__))
                self._instruments[provider] = instruments
            instruments.activate()
            spans = Spans(trace.get_tracer(NAME, ormcache.__version__, tracer_provider))
            spans.connect()
            OrmcacheInstrumentor._spans = spans

    def uninstrument(self) -> None:
        """Stop."""
        with self._lock:
            if self._spans is not None:
                self._spans.disconnect()
                OrmcacheInstrumentor._spans = None
            for instruments in self._instruments.values():
                instruments.deactivate()

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether it is switched on; the name is that of OpenTelemetry's BaseInstrumentor."""
        return self._spans is not None
