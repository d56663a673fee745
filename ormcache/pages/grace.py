"""Serves what is outdated while one caller computes: the one place where old content is served, by the caller's choice.

How long something has been outdated is not in the store: a slot holds the stamp of the last write to it, not of the
first. So each process remembers when it has last found something to be as it should, and serves exactly that, and
nothing else, for so many seconds from that moment. It was not outdated any earlier.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ormcache import reasons
from ormcache.cache.keys import name_beside
from ormcache.cache.serializer import Unreadable
from ormcache.cache.single_flight import OWNER_LENGTH
from ormcache.cache.tracking import current_tracker
from ormcache.exceptions import StoreUnavailable
from ormcache.utils.bounded import Bounded

if TYPE_CHECKING:
    from ormcache.pages.derivation import Derivation

T = TypeVar("T")

#: Seconds for which one caller may compute while others are served what is outdated
GRACE_LEASE = 30.0
#: Entries of which a process remembers when they were last found to be current
MOST_REMEMBERED = 4096


class LastCurrent(NamedTuple):
    """When an entry was last found to be current, or was stored."""

    vector: bytes  # under which
    moment: float  # by time.monotonic


_last_current: Bounded[bytes, LastCurrent] = Bounded(MOST_REMEMBERED)


def record_current(entry: bytes, vector: bytes, moment: float) -> None:
    """Record that an entry under this vector was current at a moment, or after it, by ``time.monotonic``."""
    _last_current.put(entry, LastCurrent(vector, moment))


def was_current(entry: bytes, vector: bytes, seconds: float) -> bool:
    """Return whether an entry under this vector is known to have been current within the last so many seconds."""
    last = _last_current.get(entry)
    return last is not None and last.vector == vector and time.monotonic() - last.moment <= seconds


class Grace:
    """Decides for one use whether it computes, or is served what is outdated because another caller computes."""

    def __init__(self, derivation: Derivation) -> None:
        self._derivation = derivation
        self._claim: bytes | None = None

    def look_up(self, load: Callable[[Any], T] | None) -> tuple[bool, Any]:
        """Return whether something outdated may be served, because another caller is computing it; and what.

        Then nothing that is computed of it may be stored. ``load``: makes it of a payload; raises Unreadable if it
        cannot.
        """
        derivation = self._derivation
        store = derivation.store_of_entries
        if store is None or not derivation.is_outdated or not derivation.use.grace:
            return False, None
        claim, owner = name_beside(derivation.entry, b"grace", derivation.entry), os.urandom(OWNER_LENGTH)
        try:
            self._claim = claim
            if store.claim(claim, owner, GRACE_LEASE) in (owner, b""):  # empty: the last one has just ended
                return False, None
            self._claim = None
            payload = derivation.outdated()
            if payload is None:
                return False, None
            value = payload[0] if load is None else load(payload[0])
        except (StoreUnavailable, Unreadable):
            return False, None
        around = current_tracker()
        if around is not None:
            around.reject(reasons.WRITTEN_MEANWHILE)
        derivation.record_grace()
        return True, value

    def end(self) -> None:
        """Let the next caller compute."""
        store, claim = self._derivation.store_of_entries, self._claim
        if claim is not None and store is not None:
            try:
                store.release(claim, b"", 0.001)
            except StoreUnavailable:
                pass  # it expires
