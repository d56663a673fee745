"""The exceptions that programs may catch.

::

    OrmcacheError
    ├── NotCached           (LookupError)           the alias does not lead through ormcache
    ├── UnknownTable        (LookupError)           a name is no model, no app and no table
    ├── StoreUnavailable                            the store did not do what it was asked to do
    │   ├── StoreBusy                               … because others kept changing the same slot
    │   └── StoreFull                               … because it takes no new values
    ├── InexactArgument     (TypeError)             a cached function was called with an argument that cannot be named
    ├── UncacheableValue    (TypeError)             a cached function returned what cannot be stored
    ├── SnapshotUnavailable                         the reads of a function cannot be shown to be of one moment
    ├── WriteInSnapshot                             a function whose reads are to be of one moment writes
    ├── WriteRefused        (OperationalError)      nothing was committed, as ON_OUTAGE = "refuse" demands
    └── StaleRead           (AssertionError)        in shadow mode, the cache had other rows than the database

Queries and commits raise none of them but WriteRefused and StaleRead, and those only where a setting asks for it: a
cache that fails costs time, not answers. InexactArgument and UncacheableValue are errors of the program: whether they
are raised depends on the argument or the value alone, not on the state of the cache. Wrong settings are Django's
``ImproperlyConfigured``.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db.utils import OperationalError


class OrmcacheError(Exception):
    """The base class of all exceptions of ormcache."""


class NotCached(OrmcacheError, LookupError):
    """Raised for a database alias that is not in ``DATABASES`` or whose ``ENGINE`` is none of ormcache's."""


class UnknownTable(OrmcacheError, LookupError):
    """Raised for a name that is neither a model, nor an app, nor a relation of the database.

    Likely a misspelt label or table. ``names``: the unknown names of the call, sorted.
    """

    def __init__(self, message: str, names: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.names = names


class InexactArgument(OrmcacheError, TypeError):
    """Raised by the call of a cached function with an argument that has no exact form.

    The result could not be named by it: two calls that mean different things could be taken for the same. The message
    says which argument it is, of which type, and what to pass instead.
    """


class UncacheableValue(OrmcacheError, TypeError):
    """Raised by the call of a cached function that has returned what cannot be stored and read back as it is.

    The message says what was returned, where in the value it is, and what to return instead.
    """


class StoreUnavailable(OrmcacheError):
    """Raised when the store did not do what it was asked to do: no answer, too slow, full, refused, or damaged.

    Likely a server that is down or an address that is wrong; the log of ``ormcache`` has the cause. After a failed
    ``mark``, ``settle`` or ``put_entry`` the change may or may not have happened.
    """


class StoreBusy(StoreUnavailable):
    """Raised when the store answers, but others changed the same slot again and again. Does not open the breaker."""


class StoreFull(StoreUnavailable):
    """Raised when the store has no room for a new value. It answers, and it deletes. Does not open the breaker.

    ``names``: those that nothing was stored under; empty: all of the call. ``watched``: what ``mark`` would have
    returned.
    """

    def __init__(self, message: str, names: Sequence[bytes] = (), watched: bytes | None = None) -> None:
        super().__init__(message)
        self.names = names
        self.watched = watched


class SnapshotUnavailable(OrmcacheError):
    """Raised by a function decorated with ``ormcache.snapshot`` whose reads cannot be shown to be of one moment.

    What it reads is written all the time, or is not cached, and there can be no transaction for it. The message says
    why.
    """


class WriteInSnapshot(OrmcacheError):
    """Raised for a statement that writes in a function decorated with ``ormcache.snapshot``, before it is run."""


class WriteRefused(OrmcacheError, OperationalError):
    """Raised when a write cannot be published to the store and ``ON_OUTAGE`` is ``"refuse"``: nothing was committed."""


class StaleRead(OrmcacheError, AssertionError):
    """Raised in shadow mode when the cache would have served other rows than the database returned."""
