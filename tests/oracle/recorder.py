"""Engines that note every statement with what the database touched for it: ``tests.oracle.postgresql`` and its like.

The tests that run on them must not notice. So PostgreSQL and MariaDB are asked through a second connection, which runs
what ormcache would keep once more in a transaction of its own; for all other statements the locks of the open
transaction are looked at, before and after. What is noted goes to the file that ``ORMCACHE_ORACLE_RECORDING`` names.
"""

from __future__ import annotations

import json
import os
import weakref
from functools import cache
from typing import Any

from ormcache.catalog import EPOCH
from ormcache.connection.mixins import OperationsMixin
from ormcache.sql import Effect
from tests import shadow
from tests.oracle.authorizer import Authorizer
from tests.oracle.locks import Locked, held, prepare
from tests.oracle.planning import plan_of
from tests.oracle.recordings import normalized

#: A text is looked at this many times: what a transaction had locked before is not seen
MOST_LOOKS = 5

#: Text → how often it was looked at, in this process
_looks: dict[str, int] = {}
_noted: set[str] = set()

#: What the second connection is told, so that it waits for nobody
_IMPATIENT = {
    "postgresql": ("SET lock_timeout = '200ms'", "SET statement_timeout = '3s'"),
    "mysql": ("SET lock_wait_timeout = 1", "SET innodb_lock_wait_timeout = 1", "SET max_statement_time = 3"),
}
_NEVER_LOOKED_AT = (Effect.TRANSACTION, Effect.SESSION)

_IS_VIEW = """
    SELECT 1 FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s AND TABLE_TYPE <> 'BASE TABLE'
"""


class UncachedOperations:
    def compiler(self, compiler_name: str) -> Any:
        return super(OperationsMixin, self).compiler(compiler_name)


class UnwatchedCreation:
    """Thousands of tables are made at first. A catalog after each of them would take longer than the tests."""

    def create_test_db(self, *args: Any, **kwargs: Any) -> Any:
        connection = self.connection
        connection.oracle.plans = False
        connection.ormcache_writes.run = lambda execute, *ignored: execute()
        try:
            return super().create_test_db(*args, **kwargs)
        finally:
            connection.oracle.plans = True
            del connection.ormcache_writes.run
            if connection.ormcache.database is not None:
                connection.ormcache.database.catalog_cache.forget()


class Uncached:
    """Goes before ormcache's own mixin: whatever is asked reaches the database."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        operations, creation = cls.ops_class, cls.creation_class
        cls.ops_class = type(
            operations.__name__, (UncachedOperations, operations), {"__module__": operations.__module__}
        )
        cls.creation_class = type(creation.__name__, (UnwatchedCreation, creation), {"__module__": creation.__module__})


class RecordingCursor:
    def _execute(self, sql: Any, params: Any, *ignored: Any) -> Any:
        return self.db.oracle.around(lambda: super(RecordingCursor, self)._execute(sql, params, *ignored), sql, params)

    def _executemany(self, sql: Any, param_list: Any, *ignored: Any) -> Any:
        execute = super()._executemany
        return self.db.oracle.around(lambda: execute(sql, param_list, *ignored), sql, ())


class Recording:
    """Goes between ormcache's mixin and one of Django's own connection classes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.oracle = Recorder(self)

    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        if self.vendor == "sqlite":
            self.oracle.authorizer = Authorizer(connection)
        return connection

    def make_cursor(self, cursor: Any) -> Any:
        return recording(super().make_cursor(cursor))

    def make_debug_cursor(self, cursor: Any) -> Any:
        return recording(super().make_debug_cursor(cursor))

    def _close(self) -> Any:
        self.oracle.close()
        return super()._close()


def recording(cursor: Any) -> Any:
    cursor.__class__ = _recording(cursor.__class__)
    return cursor


@cache
def _recording(cursor: Any) -> type[Any]:
    return type(cursor.__name__, (RecordingCursor, cursor), {"__module__": cursor.__module__})


class Recorder:
    def __init__(self, wrapper: Any) -> None:
        self._wrapper = weakref.proxy(wrapper)
        self.authorizer: Authorizer | None = None
        self._probe: Any = None
        self._busy = False
        self.plans = True
        self._views: dict[str, bool] = {}

    def around(self, execute: Any, sql: Any, params: Any) -> Any:
        wrapper = self._wrapper
        if self._busy:
            return execute()
        text = wrapper.ormcache_writes._planner.to_str(sql)
        key = normalized(text)
        plan = plan_of(wrapper, text) if self.plans else None
        if plan is None or _looks.get(key, 0) >= MOST_LOOKS:
            answer = execute()
            if plan is None:
                self._note(key, params is None, None, None, None)
            return answer
        if wrapper.vendor == "sqlite":
            self.authorizer.forget()
            answer = execute()
            read, written = self.authorizer.told("read"), self.authorizer.told("written")
            # What a foreign key changes is told as if the text named it.
            direct = None if written else self.authorizer.told("read", direct=True)
            seen = Locked(read, written)
        else:
            direct = None
            kept = plan.effect is Effect.READ and plan.bypass_reason is None
            looks = not kept and EPOCH not in plan.written and plan.effect not in _NEVER_LOOKED_AT
            before = self._held() if looks else None
            answer = execute()
            if kept:
                seen = self._probed(text, params)
                # On PostgreSQL its parser tells what the text names, on MariaDB the locks where no view is among them.
                if wrapper.vendor == "mysql" and seen is not None and not any(map(self._is_view, seen.touched)):
                    direct = seen.touched
            else:
                after = None if before is None else self._held()
                seen = None if after is None else after - before
        if seen is not None:
            _looks[key] = _looks.get(key, 0) + 1
        self._note(key, params is None, plan, seen, direct)
        return answer

    def _held(self) -> Locked | None:
        """What the open transaction has locked; None where none is open, or a broken one."""
        driver = self._wrapper.connection
        if self._wrapper.vendor == "postgresql":
            if driver.info.transaction_status != _IN_TRANSACTION:
                return None
        elif not self._wrapper.in_atomic_block:
            return None
        try:
            if self._wrapper.vendor == "mysql":
                self._connect()  # for the plugin
            return held(driver, self._wrapper.vendor)
        except Exception:
            return None

    def _connect(self) -> Any:
        if self._probe is None:
            wrapper = self._wrapper
            self._probe = wrapper.get_new_connection(wrapper.get_connection_params())
            if wrapper.vendor == "postgresql":
                self._probe.autocommit = False
            else:
                self._probe.autocommit(False)
            prepare(self._probe, wrapper.vendor)
            cursor = self._probe.cursor()
            for setting in _IMPATIENT[wrapper.vendor]:
                cursor.execute(setting)
            cursor.close()
            self._probe.commit()
        return self._probe

    def _probed(self, text: str, params: Any) -> Locked | None:
        """What a read touches, run once more where nothing was touched before."""
        self._busy = True
        try:
            probe = self._connect()
            cursor = probe.cursor()
            try:
                cursor.execute(text, params)
                cursor.fetchall()
                return held(probe, self._wrapper.vendor)
            finally:
                cursor.close()
                probe.rollback()
        except Exception:
            # A table that the open transaction has made, a lock that it holds.
            return None
        finally:
            self._busy = False

    def _retires(self, relation: str, plan: Any) -> bool:
        """Does a write to this relation invalidate what the plan reads? One to a partition invalidates its parent's."""
        closure = self._wrapper.ormcache.database.plans.closure(frozenset({relation}))
        return not plan.relations.isdisjoint(closure)

    def _is_view(self, relation: str) -> bool:
        known = self._views.get(relation)
        if known is None:
            cursor = self._connect().cursor()
            cursor.execute(_IS_VIEW, [relation])
            known = self._views[relation] = cursor.fetchone() is not None
            cursor.close()
            self._probe.rollback()
        return known

    def _note(self, key: str, plain: bool, plan: Any, seen: Locked | None, direct: Any) -> None:
        found: dict[str, Any] = {"vendor": self._wrapper.vendor, "sql": key, "plain": plain}
        if plan is not None:
            found["plan"] = {
                "effect": plan.effect.name,
                "bypass_reason": plan.bypass_reason,
                "relations": sorted(plan.relations),
                "written": sorted(plan.written),
                "temporary": sorted(self._wrapper.ormcache.session.temporary),
            }
        if seen is not None:
            found["touched"], found["written"] = sorted(seen.touched), sorted(seen.written)
            found["invalidating"] = sorted(relation for relation in seen.touched if self._retires(relation, plan))
        if direct is not None:
            found["direct"] = sorted(direct)
        line = json.dumps(found)
        if line not in _noted:
            _noted.add(line)
            with open(os.environ["ORMCACHE_ORACLE_RECORDING"], "a") as file:
                file.write(json.dumps(found | {"test": shadow.current}) + "\n")

    def close(self) -> None:
        if self._probe is not None:
            probe, self._probe = self._probe, None
            probe.close()


_IN_TRANSACTION = 2  # libpq's PQTRANS_INTRANS
