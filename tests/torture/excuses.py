"""Says which stale reads are documented, by what was done to the site: the judge counts no others as excused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from tests.torture.history import Outage

#: Seconds before an outage in which a write can have begun that is under way when it begins
UNDER_WAY = 0.5
#: Seconds until a process has noticed that its store is there again
NOTICED = 0.3
#: Seconds after which what a process has written of an excluded table is marked once more, on a busy machine
MARKED_AGAIN = 4.0


class Excuses:
    """The outages of one run, as its setting for outages lets them excuse anything."""

    def __init__(self, on_outage: str) -> None:
        """``on_outage``: ``ON_OUTAGE`` of all processes, ``"refuse"`` or ``"proceed"``."""
        self._excuses_all = on_outage != "refuse"  # else nothing is committed of which the store is not told
        self._outages: list[Outage] = []
        #: in which stale reads are documented, whatever is set for outages
        self._limits: list[Outage] = []

    def record(self, workers: Collection[str], began: float, ended: float, excluding: Collection[str]) -> None:
        """Record an outage of the store, for these workers, that is over; with a write that was under way before it.

        ``began``, ``ended``: by time.monotonic. ``excluding``: the workers that wrote authors as an excluded table when
        it began or when it ended. These write without the store, and their marks, lost or late, follow within seconds.
        """
        self._outages += [Outage(worker, began - UNDER_WAY, ended + NOTICED) for worker in workers]
        late = [worker for worker in workers if worker in excluding]
        self._limits += [Outage(worker, began - UNDER_WAY, ended + MARKED_AGAIN) for worker in late]

    def outages(self) -> list[Outage]:
        """Return what the judge has to excuse."""
        return self._outages + self._limits if self._excuses_all else list(self._limits)


def excluding(deployed: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Return the workers that write authors as an excluded table. ``deployed``: worker → its settings."""
    return frozenset(worker for worker, settings in deployed.items() if "shop.Author" in settings.get("BLACKLIST", ()))
