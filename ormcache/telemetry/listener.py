"""Receives the signals of reads and writes, for what looks at each of them: the recorder, and spans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ormcache import signals

#: What becomes of a read
HIT, MISS, BYPASS = "hit", "miss", "bypass"


class SignalListener(ABC):
    """Receives signals between :meth:`connect` and :meth:`disconnect`, in the threads of the queries.

    Django refers to receivers weakly: a listener that is not kept receives nothing.
    """

    def connect(self) -> None:
        """Begin to receive signals."""
        signals.hit.connect(self._hit)
        signals.missed.connect(self._missed)
        signals.bypassed.connect(self._bypassed)
        signals.invalidated.connect(self._invalidated)
        signals.derived_hit.connect(self._derived_hit)
        signals.derived_missed.connect(self._derived_missed)

    def disconnect(self) -> None:
        """Receive no more signals."""
        signals.hit.disconnect(self._hit)
        signals.missed.disconnect(self._missed)
        signals.bypassed.disconnect(self._bypassed)
        signals.invalidated.disconnect(self._invalidated)
        signals.derived_hit.disconnect(self._derived_hit)
        signals.derived_missed.disconnect(self._derived_missed)

    @abstractmethod
    def read(self, outcome: str, arguments: Mapping[str, Any]) -> None:
        """Handle a read. ``outcome``: HIT, MISS or BYPASS. ``arguments``: those of its signal."""

    @abstractmethod
    def invalidation(self, arguments: Mapping[str, Any]) -> None:
        """Handle an invalidation. ``arguments``: those of its signal."""

    def use(self, outcome: str, arguments: Mapping[str, Any]) -> None:  # noqa: B027  # not of interest to all
        """Handle a use of a function, a fragment or a page. ``outcome``: HIT or MISS. ``arguments``: of its signal."""

    def _derived_hit(self, **arguments: Any) -> None:
        self.use(HIT, arguments)

    def _derived_missed(self, **arguments: Any) -> None:
        self.use(MISS, arguments)

    def _hit(self, **arguments: Any) -> None:
        self.read(HIT, arguments)

    def _missed(self, **arguments: Any) -> None:
        self.read(MISS, arguments)

    def _bypassed(self, **arguments: Any) -> None:
        # Without SQL there was no query: Django knew that it has no rows.
        if arguments["sql"] is not None:
            self.read(BYPASS, arguments)

    def _invalidated(self, **arguments: Any) -> None:
        self.invalidation(arguments)
