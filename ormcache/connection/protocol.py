"""The type of a Django connection that goes through ormcache.

:class:`~ormcache.connection.mixins.ConnectionMixin` makes such connections. The layers beneath it use them and may not
import it, so this is the interface that they are written against. For type checkers alone: nothing imports this module
when a program runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import tzinfo

    from django.db.backends.base.introspection import BaseDatabaseIntrospection
    from django.db.backends.base.operations import BaseDatabaseOperations
    from django.db.backends.utils import CursorWrapper
    from django.db.utils import DatabaseErrorWrapper

    from ormcache.session.state import ConnectionState
    from ormcache.write_path.statements import Writes


class CachedConnection(Protocol):
    """A connection of Django's with ormcache's state on it: what ormcache uses of it, and no more."""

    # What ormcache adds

    ormcache: ConnectionState
    ormcache_writes: Writes

    def check_read(self) -> None:
        """Raise what would keep a query from running, for a read that the cache answers."""

    # Django's own, see django.db.backends.base.base.BaseDatabaseWrapper

    #: the driver's connection (DB-API 2.0, PEP 249), or a pool's or an agent's proxy of it; None while there is none
    connection: Any
    alias: str
    vendor: str
    #: the alias's item of ``DATABASES``
    settings_dict: dict[str, Any]
    autocommit: bool
    in_atomic_block: bool
    needs_rollback: bool
    #: as ``connection.execute_wrapper()`` takes them
    execute_wrappers: list[Any]

    @property
    def Database(self) -> Any:  # noqa: N802  # Django's name for the driver's module
        """The driver's module, whose ``Error`` its connection raises."""

    @property
    def introspection(self) -> BaseDatabaseIntrospection: ...

    @property
    def ops(self) -> BaseDatabaseOperations: ...

    @property
    def allow_thread_sharing(self) -> bool: ...

    @property
    def timezone(self) -> tzinfo | None: ...

    @property
    def timezone_name(self) -> str: ...

    @property
    def wrap_database_errors(self) -> DatabaseErrorWrapper: ...

    def ensure_connection(self) -> None: ...

    def close(self) -> None: ...

    def cursor(self) -> CursorWrapper: ...

    def create_cursor(self, name: str | None = None) -> Any: ...

    def get_database_version(self) -> tuple[int, ...]: ...
