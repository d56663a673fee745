"""Signals, sent only while somebody listens. A receiver that raises is logged and disturbs nobody.

All have the database alias as ``using``; ``sender`` is the connection's class.
"""

from __future__ import annotations

from django.dispatch import Signal

#: after a write or ``invalidate()``: ``relations``, a frozenset of names, ``"*"`` for every one of them.
#: Their results are retired, or will be as soon as the store answers
invalidated = Signal()
#: a result came from the cache: ``relations``
hit = Signal()
#: a result was read from the database and may now be cached: ``relations``
missed = Signal()
#: the cache was not asked: ``reason``, see ormcache.reasons
bypassed = Signal()
