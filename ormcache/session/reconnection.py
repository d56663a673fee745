"""Notices that a driver has reconnected by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ormcache.utils import drivers


class ReconnectionDetector:
    """Compares what the server calls the session of one connection. The thread that owns the connection owns this.

    MySQL's drivers can reconnect under the same connection object. What was set in the session is gone then, Django's
    own set-up included, and so is what was open.
    """

    def __init__(self) -> None:
        #: returns the server's name of the session; None where the driver never reconnects
        self._session_name: Callable[[], Any] | None = None
        self._known_name: Any = None
        #: whether the driver is one that reconnects
        self.is_watching = False

    def watch(self, driver_connection: Any) -> None:
        """Begin with this DB-API connection. :meth:`remember` is to follow."""
        self._session_name = drivers.session_id_reader(driver_connection)
        self._known_name = None
        self.is_watching = self._session_name is not None

    def remember(self) -> None:
        """Remember the session of now. Raises the driver's ``Error`` if the connection is closed."""
        if self._session_name is not None:
            self._known_name = self._session_name()

    def stop(self) -> None:
        """Stop to watch: there is no connection."""
        self._session_name, self.is_watching = None, False

    def has_reconnected(self, driver_error: type[Exception]) -> bool:
        """Return whether the driver has reconnected since. ``driver_error``: the driver's ``Error``."""
        name = self._session_name
        try:
            return name is not None and name() != self._known_name
        except driver_error:
            return False  # closed
