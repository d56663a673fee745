"""Watches the code that takes part in the reads of one connection."""

from __future__ import annotations

import weakref
from operator import is_
from typing import TYPE_CHECKING, Any

from ormcache.session.interception import acting_now, unknown_in_driver, unknown_in_engine, unknown_on

if TYPE_CHECKING:
    from ormcache.connection.protocol import CachedConnection


class CodeWatch:
    """Whether unknown code could decide what the statements of one connection return.

    See :mod:`ormcache.session.interception` for what is known. The thread that owns the connection owns this.
    """

    def __init__(self, connection: CachedConnection, known: tuple[str, ...]) -> None:
        """``known``: dotted names of packages below ormcache that are known on this connection."""
        self._connection: CachedConnection = weakref.proxy(connection)
        self._known = known
        #: the name of unknown code in the engine or in the driver's connection; None: there is none
        self.unknown: str | None = None
        #: the code that this was found out of, see :func:`~ormcache.session.interception.acting_now`
        self._acting: tuple[list[Any], list[int]] | None = None

    def restart(self) -> None:
        """Have the code examined anew, because the connection is another one."""
        self._acting = None

    def has_changed(self) -> bool:
        """Return whether other code takes part in the reads of the open connection than when it was asked last."""
        acting, sizes = acting_now(self._connection, self._connection.connection)
        if self._acting is not None:
            before, sizes_before = self._acting
            if sizes == sizes_before and len(acting) == len(before) and all(map(is_, acting, before)):
                return False
        self._acting = (acting, sizes)
        return True

    def examine(self, declared: tuple[str, ...]) -> None:
        """Find out whether there is unknown code below the open connection. ``declared``: names in ``TRANSPARENT``."""
        driver_connection = self._connection.connection
        self.unknown = self.unknown_in_engine(declared) or unknown_in_driver(driver_connection, declared)

    def examine_engine(self, declared: tuple[str, ...]) -> None:
        """Do the same for a connection that is still to be made: of the driver nothing is known then."""
        self.unknown = self.unknown_in_engine(declared)

    def unknown_in_engine(self, declared: tuple[str, ...]) -> str | None:
        """Return the name of unknown code in the engine below that takes part in every read; None if there is none."""
        return unknown_in_engine(self._connection, (*declared, *self._known))

    def unknown_anywhere(self, declared: tuple[str, ...]) -> str | None:
        """Return the name of unknown code below the connection or put around its cursors; None if there is none."""
        return self.unknown or unknown_on(self._connection, declared)
