"""What one process knows of one database: its identity, its catalog, its plans, its slots in the store.

There is one :class:`Database` for each identity and configuration that this process has met; connections of any
thread share it. What belongs to a connection (session, transaction) is in :mod:`ormcache.session` and
:mod:`ormcache.writes`.
"""

from __future__ import annotations

import logging
import re
import threading
from dataclasses import dataclass
from typing import Any

from django.utils.crypto import salted_hmac

from ormcache import keys, reasons
from ormcache.catalog import EPOCH, READERS, SCHEMA, Catalog, Server
from ormcache.conf import Config
from ormcache.local import Local
from ormcache.pending import Pending
from ormcache.selection import Selection
from ormcache.sql import Effect, Statement, analyse
from ormcache.sql.vocabulary import REPEATABLE
from ormcache.stamps import FORMAT, Stamps
from ormcache.stores.base import Store, StoreUnavailable

logger = logging.getLogger("ormcache")

#: Plans are kept for this many texts, and for none that is longer than this many characters
MOST_PLANS = 4096
LONGEST_TEXT = 65_536

# Lists of parameters, and rows of them, share one plan whatever their length. The lengths of ALL runs go into the
# key: were short ones left out, "a IN (%s, %s) AND b IN (%s, %s, %s)" and its mirror image would be one.
_LIST, _ROW = "%s, %s, %s", "), (%s"
_LISTS = re.compile(r"%s(?:, %s)+")
_ROWS = re.compile(r"(\((?:%s|, |DEFAULT|NULL)*\))(?:, \1)+")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known of one SQL text against one catalog."""

    statement: Statement
    obstacle: str | None  # why its result is not cached; None: it may be
    relations: frozenset[str]  # that its result depends on
    slots: tuple[bytes, ...]  # of those, the epoch's first
    written: frozenset[str]  # that running it may change, EPOCH for any; without blacklisted ones
    unknown: frozenset[str]  # written names that the catalog does not know, folded
    unfollowed: bool  # running it may set anything in the session
    quiet: bool  # running it changes neither rows nor the session nor the transaction
    catalog: Catalog | None  # that it was made from

    @property
    def effect(self) -> Effect:
        return self.statement.effect


class Database:
    """One database as this process knows it. Threads share it."""

    def __init__(self, vendor: str, server: Server, config: Config, store: Store, runtime: str) -> None:
        """``runtime``: what makes rows of the one process be of other types than those of another, the driver."""
        self.vendor = vendor
        self.server = server
        self.config = config
        self.local = Local(config.local_size)
        #: what tells it from other databases; replicas take their primary's
        self.identity = config.name or server.identity
        identity = self.identity.encode()
        self.stamps = Stamps(
            store,
            identity,
            lease=config.lease,
            signing_key=salted_hmac("ormcache", "entries").digest() if config.sign else None,
        )
        #: what the names of entries have in common
        self.namespace = keys.digest(b"entry", FORMAT, identity, config.scope, runtime.encode())
        self.epoch = self.stamps.slot(EPOCH)
        self.schema = self.stamps.slot(SCHEMA)
        #: relations that this process has written while the store was away
        self.pending = Pending(self._renew)
        self._blacklist = Selection(config.blacklist)
        self._only = Selection(config.only)
        self._lock = threading.Lock()  # guards what follows; never held while the database or the store is asked
        self._plans: dict[str, Plan] = {}
        self._closures: dict[frozenset[str], frozenset[str]] = {}  # of the catalog
        self._slots: dict[str, bytes] = {}
        self._catalog: Catalog | None = None
        self._outdated = False  # the schema has changed since the catalog was read
        self._catalog_version: bytes | None = None  # the schema slot's value before the catalog was read
        self._catalog_epoch: bytes | None = None  # an epoch at which the schema slot still held that value

    # The catalog ------------------------------------------------------------------

    @property
    def has_catalog(self) -> bool:
        return self._catalog is not None and not self._outdated

    def load_catalog(self, connection: Any) -> None:
        """Read the catalog through a DB-API connection that is in no older snapshot."""
        version = epoch = None
        try:
            # Read before the catalog is, for the same reason that vectors are.
            found = self.stamps.look_up(None, (self.epoch, self.schema))
            if found.vector is not None:
                half = len(found.vector) // 2
                epoch, version = found.vector[:half], found.vector[half:]
        except StoreUnavailable:
            pass  # it will be read again once the store answers
        catalog = Catalog(self.vendor, READERS[self.vendor].load(connection))
        with self._lock:
            self._plans = {}
            self._closures = {}
            self._catalog = catalog
            self._outdated = False
            self._catalog_version = version
            self._catalog_epoch = epoch

    def has_loaded(self, connection: Any) -> bool:
        """Is there a catalog, or can it be read now? A failure is logged: the query that asked goes on without it."""
        if not self.has_catalog:
            try:
                self.load_catalog(connection)
            except Exception:
                logger.exception("the catalog could not be read")
                return False
        return True

    def forget_catalog(self, catalog: Catalog | None = None) -> None:
        """The schema has changed since this catalog was read; None: since any was.

        Threads that are about to make a plan still get one: it does not outlive the schema's change in the store,
        which both reads and writes look at after they have planned.
        """
        with self._lock:
            if catalog is None or catalog is self._catalog:
                self._outdated = True
                self._plans = {}

    def is_current(self, plan: Plan, epoch: bytes | None) -> bool | None:
        """Is a plan's catalog still right at this value of the epoch's slot? None: it cannot be told just now.

        Schema changes stamp the epoch too, so that an unchanged epoch needs no further question. Raises
        StoreUnavailable.
        """
        if plan.catalog is not self._catalog:
            return False
        if epoch is not None and epoch == self._catalog_epoch:
            return True
        found = self.stamps.look_up(None, (self.epoch, self.schema))
        if found.vector is None:
            return None  # somebody is changing the schema
        half = len(found.vector) // 2
        if not self.is_version(found.vector[half:]):
            return False
        with self._lock:
            self._catalog_epoch = found.vector[:half]
        return True

    def is_version(self, version: bytes | None) -> bool:
        """Is the catalog the one of this value of the schema's slot?"""
        return version is not None and version == self._catalog_version

    # Plans ------------------------------------------------------------------------

    def plan(self, sql: str) -> tuple[Plan, bytes]:
        """The plan of a text, and what distinguishes it from other texts of the same plan."""
        lengths = b""
        if _LIST in sql or _ROW in sql:
            sql, lengths = _collapsed(sql)
        plan = self._plans.get(sql)
        return (plan or self._make_plan(sql)), lengths

    def _make_plan(self, sql: str) -> Plan:
        with self._lock:
            catalog, plans = self._catalog, self._plans
        if catalog is None:
            return self.blind_plan(sql)  # another thread has just seen a schema change
        plan = self._planned(analyse(sql, self.vendor), catalog)
        if len(sql) <= LONGEST_TEXT:
            with self._lock:
                while len(plans) >= MOST_PLANS:
                    del plans[next(iter(plans))]
                plans[sql] = plan
        return plan

    def _planned(self, statement: Statement, catalog: Catalog) -> Plan:
        named = catalog.named(statement.names)
        relations = frozenset(catalog.read(named))
        written, unknown = self._written(statement, named, catalog)
        obstacle = self._obstacle(statement, relations, catalog)
        slots = () if obstacle else (self.epoch, *map(self.slot, sorted(relations)))
        kept = frozenset(name for name in written if name in (EPOCH, SCHEMA) or not self.excludes(name))
        unfollowed = (
            statement.effect is Effect.OPAQUE
            or catalog.sets_session(catalog.called(statement))
            or catalog.reading_sets_session(named)
        )
        return Plan(
            statement,
            obstacle,
            relations,
            slots,
            kept,
            unknown,
            unfollowed,
            quiet=statement.effect in _QUIET and not kept and not unfollowed and statement.session is None,
            catalog=catalog,
        )

    def blind_plan(self, sql: str) -> Plan:
        """The plan of a text while there is no catalog: whatever could write, writes anything."""
        statement = analyse(sql, self.vendor)
        safe = statement.effect in (Effect.READ, Effect.HARMLESS, Effect.SESSION, Effect.TRANSACTION)
        safe = safe and statement.calls <= REPEATABLE[self.vendor]
        written = frozenset() if safe else frozenset({EPOCH, SCHEMA})
        return Plan(
            statement, reasons.UNIDENTIFIED, frozenset(), (), written, frozenset(), not safe, quiet=False, catalog=None
        )

    def _obstacle(self, statement: Statement, relations: frozenset[str], catalog: Catalog) -> str | None:
        if statement.effect is not Effect.READ:
            return statement.obstacle or reasons.NOT_A_READ
        if statement.obstacle not in (None, reasons.FUNCTION):
            return statement.obstacle
        for source in sorted(statement.sources, key=str):
            if not catalog.find(source):
                schema, name = source
                system = schema in _SYSTEM_SCHEMAS or name.startswith(_SYSTEM_PREFIXES)
                return reasons.SYSTEM_CATALOG if system else reasons.UNKNOWN_RELATION
        unrepeatable = catalog.obstacle_of_calls(catalog.called(statement))
        if unrepeatable:
            return unrepeatable
        if any(self.excludes(relation) for relation in relations):
            return reasons.BLACKLISTED
        return catalog.obstacle(relations)

    def _written(self, statement: Statement, named: set[str], catalog: Catalog) -> tuple[set[str], frozenset[str]]:
        """What running a statement may change, and the names among its targets that are not known."""
        effect = statement.effect
        changed = catalog.effects_of_calls(catalog.called(statement)) | catalog.effects_of_reading(named)
        unknown: set[str] = set()
        if effect in (Effect.OPAQUE, Effect.SCHEMA):
            changed |= {EPOCH, SCHEMA}
        elif statement.cascades:
            changed.add(EPOCH)
        elif effect is Effect.WRITE:
            if statement.targets is None:
                changed |= named or {EPOCH}
            else:
                for target in statement.targets:
                    found = catalog.find(target)
                    changed.update(found)
                    if not found and not target[1].startswith("sqlite_"):
                        unknown.add(target[1])
                        changed.add(EPOCH)
        return set(catalog.written(changed)), frozenset(unknown)

    def excludes(self, relation: str) -> bool:
        """Do the settings keep this relation out of the cache?"""
        return relation in self._blacklist or (bool(self._only) and relation not in self._only)

    def find(self, table: str) -> list[str]:
        """The relations that a table name, possibly qualified, means; none: it is not known. Needs the catalog."""
        if self._catalog is None:
            raise RuntimeError("a name needs the catalog to be loaded first")
        schema, _, bare = table.lower().rpartition(".")
        return self._catalog.find((schema or None, bare))

    def closure(self, relations: frozenset[str]) -> frozenset[str]:
        """What a write to these relations may change by the present catalog, anything if there is none."""
        with self._lock:
            catalog, closures = self._catalog, self._closures
        if catalog is None:
            return relations | {EPOCH}
        found = closures.get(relations)
        if found is None:
            found = frozenset(
                name for name in catalog.written(relations) if name in (EPOCH, SCHEMA) or not self.excludes(name)
            )
            if len(closures) < MOST_PLANS:
                closures[relations] = found
        return found

    # Slots --------------------------------------------------------------------------

    def slot(self, relation: str) -> bytes:
        name = self._slots.get(relation)
        if name is None:
            name = self._slots[relation] = self.stamps.slot(relation)
        return name

    def renew(self, relations: frozenset[str]) -> None:
        """Retire what depends on these, now or as soon as the store answers."""
        try:
            self._renew(relations)
        except StoreUnavailable:
            self.pending.add(relations)

    def _renew(self, relations: frozenset[str]) -> None:
        self.stamps.renew([self.slot(relation) for relation in sorted(relations)])


def _collapsed(sql: str) -> tuple[str, bytes]:
    """The text with every list of parameters and every list of rows cut to two, and how long each one was."""
    lists = [len(match.group()) for match in _LISTS.finditer(sql)]
    sql = _LISTS.sub("%s, %s", sql)
    rows = [len(match.group()) for match in _ROWS.finditer(sql)]
    return _ROWS.sub(r"\1, \1", sql), repr((lists, rows)).encode()


_QUIET = frozenset({Effect.READ, Effect.HARMLESS, Effect.WRITE})
_SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "mysql", "performance_schema", "sys"})
_SYSTEM_PREFIXES = ("pg_", "sqlite_", "pragma_")
