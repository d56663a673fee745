"""SpatiaLite in a Python whose ``sqlite3`` was built without extensions, as pyenv's and macOS' are.

Django's backend calls ``enable_load_extension()``, which such a Python does not have. The SQLite library itself can
load extensions all the same.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sqlite3
from typing import Any

CAN_LOAD = hasattr(sqlite3.Connection, "enable_load_extension")


def load(connection: sqlite3.Connection, extension: str) -> None:
    """Load an extension into an open connection, past the module ``sqlite3``. Raises OSError, OperationalError."""
    library = ctypes.CDLL(ctypes.util.find_library("sqlite3"))
    # CPython's object begins with what every object has, and the handle follows.
    handle = ctypes.c_void_p.from_address(id(connection) + object.__basicsize__)
    error = ctypes.c_char_p()
    library.sqlite3_enable_load_extension(handle, 1)
    if library.sqlite3_load_extension(handle, extension.encode(), None, ctypes.byref(error)):
        raise sqlite3.OperationalError((error.value or b"").decode())


def patch_backend() -> None:
    """Have Django's SpatiaLite backend load its library in that way, where there is no other one."""
    from django.contrib.gis.db.backends.spatialite import base
    from django.db.backends.sqlite3.base import DatabaseWrapper

    def get_new_connection(self: Any, conn_params: Any) -> Any:
        connection = DatabaseWrapper.get_new_connection(self, conn_params)
        load(connection, "mod_spatialite")
        return connection

    if not CAN_LOAD:
        base.DatabaseWrapper.get_new_connection = get_new_connection
