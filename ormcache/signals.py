"""Signals for hits, misses, bypasses and invalidations, and for functions, fragments and pages that are cached.

They are sent in the thread of the query, and only while they have receivers. A receiver that raises is logged, and
changes nothing. ``sender`` is the class of the connection. All times are in seconds. All signals have the argument
``using``, the database alias; ``relations`` is a frozenset of names.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal

from ormcache.utils.interruptions import let_through

logger = logging.getLogger("ormcache")

#: Sent after a write or ``ormcache.invalidate()``: results that depend on ``relations`` are invalidated, or will be as
#: soon as the store answers; ``"*"`` among them stands for everything. ``causes``: a tuple of the statements that did
#: it, the first one for each set of relations. ``took``: the time that marking and settling took.
invalidated = Signal()

#: Sent when a result came from the cache. ``relations``: those that it depends on. ``sql`` and ``params``: the query as
#: Django has compiled it. ``took``: the time that the cache took. ``saved``: an estimate of how much longer the
#: database would have taken, which can be negative; None if this process has not run the query yet. ``by_row``: whether
#: the result depends on single rows, not on its tables as a whole. ``served``: False if the program gets what the
#: database answers, because of ``ENABLED = "observe"`` or ``VERIFY``.
hit = Signal()

#: Sent when a result was looked up in vain and read from the database. ``relations``, ``sql``, ``params``: as above.
#: ``took``: the time that the cache took; ``query``: the time that the database took. ``cause``: why there was nothing
#: to serve, one of ``ormcache.reasons.Miss``; ``invalidated_by``: the relation whose write invalidated the result,
#: ``"*"`` for everything, None if that was not the cause or is not known. ``rejected``: why the result was not stored,
#: None if it was. ``by_row``: whether there was a result that depended on single rows, and could not be served.
missed = Signal()

#: Sent when a read bypassed the cache. ``reason``: why, one of ``ormcache.reasons``. ``relations``: empty if the query
#: was bypassed before it was analysed. ``sql`` and ``params``: None for a query that Django knows to be empty, and does
#: not run. ``query``: the time that the database took until it began to answer.
bypassed = Signal()


#: Sent when a function, a fragment or a page was served from the cache. ``kind``: "function", "fragment" or "page";
#: ``label``: its name, for people. ``took``: the time that the cache took. ``saved``: an estimate of how much longer
#: computing it would have taken, which can be negative; None if this process has not computed it yet. ``outdated``:
#: whether it is one that is being computed anew, and was served under its ``grace``.
derived_hit = Signal()

#: Sent when a function, a fragment or a page was computed. ``kind``, ``label``: as above. ``took``: the time that
#: computing it took. ``cause``: why there was nothing to serve, one of ``ormcache.reasons.Miss``, None if it was not
#: looked up; ``invalidated_by``: the relation whose write invalidated it, ``"*"`` for everything, None if that was not
#: the cause or is not known. ``rejected``: why it was not stored, None if it was; ``sql``, ``relations`` and
#: ``caller``: the statement that is the reason, its relations, and ``"path:line"`` of the project that ran it; None
#: and an empty set where the reason is no statement. ``subject``: what the reason is about then, in words, or None.
derived_missed = Signal()


def notify(signal: Signal, sender: type, **arguments: Any) -> None:
    """Send a signal, and let no receiver's exception out: the query or the COMMIT that it is about has succeeded.

    Django's ``send_robust`` raises all the same where a failing receiver has no name to be logged, as a
    ``functools.partial``, and where a receiver is asynchronous and this thread runs an event loop.
    """
    try:
        answers = signal.send_robust(sender=sender, **arguments)
    except Exception as error:  # receivers raise anything
        let_through(error)
        logger.exception("a signal could not be sent to all of its receivers")
        return
    for _, answer in answers:
        if isinstance(answer, Exception):
            let_through(answer)
