"""Signals, sent only while somebody listens.

All have the database alias as ``using``; ``sender`` is the connection's class.
"""

from __future__ import annotations

from django.dispatch import Signal

#: after relations were settled: ``relations``, a frozenset of names, ``"*"`` for every one of them
invalidated = Signal()
#: a result came from the cache: ``relations``
hit = Signal()
#: a result was read from the database and may now be cached: ``relations``
missed = Signal()
#: the cache was not asked: ``reason``, see ormcache.reasons
bypassed = Signal()
