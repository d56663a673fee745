"""Switching it on and off, as OpenTelemetry's other instrumentations are."""

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
    """Of the process: whichever object is asked, the same is switched."""

    _lock = threading.Lock()  # guards the two below
    _spans: ClassVar[Spans | None] = None
    #: OpenTelemetry cannot take an instrument back, so what was made once is used again
    _instruments: ClassVar[weakref.WeakKeyDictionary[metrics.MeterProvider, Instruments]] = weakref.WeakKeyDictionary()

    def instrument(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        """Begin, or begin anew with other providers; by default those that are set for the process, now or later."""
        self.uninstrument()
        provider = meter_provider or metrics.get_meter_provider()
        with self._lock:
            instruments = self._instruments.get(provider)
            if instruments is None:
                instruments = Instruments(provider.get_meter(NAME, ormcache.__version__))
                self._instruments[provider] = instruments
            instruments.active = True
            spans = Spans(trace.get_tracer(NAME, ormcache.__version__, tracer_provider))
            spans.connect()
            OrmcacheInstrumentor._spans = spans

    def uninstrument(self) -> None:
        with self._lock:
            if self._spans is not None:
                self._spans.disconnect()
                OrmcacheInstrumentor._spans = None
            for instruments in self._instruments.values():
                instruments.active = False

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """As its kind calls it."""
        return self._spans is not None
