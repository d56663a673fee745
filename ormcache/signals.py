"""Signals, sent only while somebody listens, in the thread of the query. A receiver that raises disturbs nobody.

``sender`` is the class of the connection. All times are in seconds. Arguments that all of them have: ``using``, the
database's alias; ``relations``, a frozenset of names.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

logger = logging.getLogger("ormcache")

#: A write, or ``ormcache.invalidate()``: results that depend on ``relations`` are retired, or will be as soon as the
#: store answers; ``"*"`` among them stands for everything. ``causes``: a tuple of the statements that did it, the first
#: for each set of relations. ``took``: to tell the store.
invalidated = Signal()

#: A result came from the cache. ``relations``: that it depends on. ``sql`` and ``params``: of the query, as Django has
#: compiled it. ``took``: to find it. ``saved``: an estimate of what the query would have taken longer, which can be
#: less than nothing; None if this process has not run it yet.
hit = Signal()

#: A result was read from the database and may now be cached. ``relations``, ``sql``, ``params``: as above. ``took``:
#: the cache, in vain; ``query``: the database. ``cause``: why there was nothing to serve, a name of
#: ``ormcache.figures.Miss``; ``retired_by``: the relation whose write has retired what was there, ``"*"`` for
#: everything, None if it is not that or not known. ``refused``: why the result was not kept, None if it was.
missed = Signal()

#: The cache was not asked. ``reason``: why, see ``ormcache.reasons``. ``relations``: empty if that was known before
#: the query was looked at. ``sql`` and ``params``: None for a query that Django knows to be empty, which does not run.
#: ``query``: that the database took, until it began to answer.
bypassed = Signal()


def tell(signal: Signal, sender: type, **arguments: Any) -> None:
    """Send one of these. Whatever its receivers do, the query or the COMMIT that it is about is over and stands.

    Django's ``send_robust`` raises all the same where a receiver that fails has no name to be logged, as
    ``functools.partial`` has not, and where one is asynchronous and this thread runs an event loop.
    """
    try:
        signal.send_robust(sender=sender, **arguments)
    except Exception:
        logger.exception("a signal could not be sent to all of its receivers")
