"""What ormcache makes of a statement, and why: the plan, the entry's name, what the store has.

Nothing is run and nothing is changed, in the database or in the store; the catalog is read if it has to be.
"""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db.models import Manager, Model, QuerySet
from django.db.models.sql.constants import MULTI

from ormcache import keys, reasons
from ormcache.catalog import EPOCH, is_pseudo
from ormcache.catalog.causes import STATEMENT, Cause, causes_of_reading, causes_of_writing
from ormcache.database import Database
from ormcache.hindrances import hindrance, read_clock
from ormcache.insight.aliases import connection_to
from ormcache.insight.explanation import (
    ABSENT,
    AWAY,
    DAMAGED,
    EMPTY,
    EXPIRED,
    MARKED,
    NO_QUERY,
    PROCESS,
    RETIRED,
    SERVED,
    STAMP,
    STORE,
    Entry,
    Explanation,
    Key,
    Reason,
    Relation,
    Slot,
    Table,
    Unknown,
    Worth,
)
from ormcache.insight.meanings import MEANINGS
from ormcache.insight.wording import cause_told, epoch_told
from ormcache.planning import Plan
from ormcache.reads import shape_of
from ormcache.selection import table_of
from ormcache.sql import Effect, analyse
from ormcache.stamps import Inspected, time_of
from ormcache.state import State
from ormcache.stores.base import StoreUnavailable, is_stamp, marks_of


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is to be explained."""

    name: str
    sql: str
    params: Any = None
    shape: tuple[Any, ...] | None = None  # None: of a text
    obstacle: str | None = None
    model: type[Model] | None = None


def explain(subject: QuerySet[Any] | Manager[Any] | type[Model] | str, using: str) -> Explanation:
    """Explain a queryset, a manager's or a model's ``all()``, or a text of SQL, on one database.

    Raises NotCached for an alias that does not go through ormcache, TypeError for something else than these, and what
    the database raises if it cannot be reached.
    """
    connection = connection_to(using)
    connection.ensure_connection()
    try:
        asked = _subject_of(subject, using)
    except EmptyResultSet:
        return Explanation(using, _name_of(subject), "", NO_QUERY)
    explanation, plan = _explained(connection, asked)
    database = connection.ormcache.known()
    if database is not None and plan is not None and not _is_current(database, plan):
        explanation, _ = _explained(connection, asked)
    return explanation


def reason_of(name: str | None) -> Reason | None:
    """A reason by its name, with its words."""
    return None if name is None else Reason(name, *MEANINGS[name])


def _name_of(subject: Any) -> str:
    if isinstance(subject, str):
        return "SQL"
    if isinstance(subject, Manager):
        return f"{subject.model._meta.label}.{subject.name}"
    if isinstance(subject, type) and issubclass(subject, Model):
        return subject._meta.label
    return "QuerySet"


def _subject_of(subject: Any, using: str) -> _Subject:
    """Raises EmptyResultSet for a queryset of which Django knows that it is empty, and TypeError."""
    if isinstance(subject, str):
        return _Subject(_name_of(subject), subject)
    model = None
    if isinstance(subject, type) and issubclass(subject, Model):
        model, query = subject, subject._default_manager.all().query
    elif isinstance(subject, Manager):
        model, query = subject.model, subject.all().query
    elif isinstance(subject, QuerySet):
        query = subject.query
    else:
        raise TypeError(f"a queryset, a manager, a model or a text of SQL is expected, not {subject!r}")
    compiler: Any = query.get_compiler(using=using)
    sql, params = compiler.as_sql()
    obstacle = None
    if query.select_for_update:
        obstacle = reasons.LOCKING
    elif query.explain_info:
        obstacle = reasons.EXPLAIN
    return _Subject(_name_of(subject), sql, params, shape_of(compiler, MULTI), obstacle, model)


def _is_current(database: Database, plan: Plan) -> bool:
    """False, and the catalog will be read again, if somebody has changed the schema since it was."""
    try:
        current = database.is_current(plan, None)
    except StoreUnavailable:
        return True
    if current is False:
        database.forget_catalog(plan.catalog)
    return current is not False


def _explained(connection: Any, asked: _Subject) -> tuple[Explanation, Plan | None]:
    state: State = connection.ormcache
    transaction = connection.ormcache_writes.transaction
    database = state.known()
    kind = analyse(asked.sql, state.vendor).effect.value
    explanation = Explanation(state.alias, asked.name, asked.sql, kind)
    if database is None:
        return replace(explanation, reason=reason_of(state.obstacle or reasons.NO_STORE)), None
    hindered = _whatever_the_query(connection, state)
    if not database.has_catalog and (transaction.in_old_snapshot or not database.has_loaded(connection)):
        return replace(explanation, hindrance=reason_of(hindered or reasons.SNAPSHOT)), None
    plan, lengths = database.plan(asked.sql, state.standpoint())
    reason, name = _named(database, state, plan, lengths, asked)
    if reason is None and hindered is None:
        hindered = hindrance(connection, state, transaction, database, plan)
    told = _Told(database, state, plan, name)
    return (
        replace(
            explanation,
            cached=reason is None,
            reason=reason_of(reason),
            hindrance=reason_of(hindered),
            reads=told.reads(),
            writes=told.writes(),
            unknown=told.unknown(),
            key=_key(database, state, plan, lengths, asked, name, str(connection.timezone_name)),
            entry=told.entry(),
            worth=None if reason is not None else _worth(plan),
            table=None if asked.model is None else _table(database, asked.model),
        ),
        plan,
    )


def _whatever_the_query(connection: Any, state: State) -> str | None:
    """What keeps all reads of this connection out of the cache."""
    if state.disabled:
        return reasons.DISABLED
    return reasons.BROKEN_TRANSACTION if connection.needs_rollback else None


def _named(
    database: Database, state: State, plan: Plan, lengths: bytes, asked: _Subject
) -> tuple[str | None, bytes | None]:
    """Why its result may not be cached, and if it may, the name of its entry, as far as that can be told."""
    obstacle = asked.obstacle or plan.obstacle
    if obstacle is not None or asked.shape is None:
        return obstacle, None
    try:
        name = keys.entry_name(state.prefix(database), plan.statement.digest + lengths, asked.params, asked.shape)
    except keys.Unkeyable:
        return reasons.PARAMETER, None
    if state.vendor == "postgresql" and asked.params and read_clock(asked.params):
        return reasons.CLOCK, None
    return None, name


def _key(
    database: Database,
    state: State,
    plan: Plan,
    lengths: bytes,
    asked: _Subject,
    name: bytes | None,
    time_zone: str,
) -> Key:
    state.prefix(database)  # asks the server for what is not known any more
    session, params = state.session, asked.params
    return Key(
        name=None if name is None else name.hex(),
        statement=(plan.statement.digest + lengths).hex(),
        parameters=None if asked.shape is None else tuple(type(value).__name__ for value in params or ()),
        namespace=database.namespace.hex(),
        version=database.config.version,
        session=session.fingerprint.hex(),
        search_path=state.standpoint().path,
        user=session.user,
        time_zone=time_zone,
        tenant=state.tenant,
        settings=session.names_set,
    )


def _worth(plan: Plan) -> Worth:
    if plan.worth is None:
        return Worth(True, None, None)
    judgement = plan.worth.judgement
    if judgement is None:
        return Worth(False, None, None)
    return Worth(False, _moment(judgement.until) if plan.worth.rests else None, str(judgement))


def _table(database: Database, model: type[Model]) -> Table:
    name = table_of(model)
    found = database.find(name)
    return Table(
        model._meta.label, found[0] if found else name, bool(found), database.listed(found[0] if found else name)
    )


class _Told:
    """What the catalog, the settings and the store say of one plan."""

    def __init__(self, database: Database, state: State, plan: Plan, name: bytes | None) -> None:
        self._database = database
        self._plan = plan
        self._name = name
        self._reading: dict[str, Cause] = {}
        self._writing: dict[str, Cause] = {}
        self._scope = None if plan.catalog is None else plan.catalog.seen_from(state.standpoint())
        if self._scope is not None:
            self._reading = causes_of_reading(self._scope, plan.statement)
            self._writing = causes_of_writing(self._scope, plan.statement)
        # The store is not told of what the settings keep out.
        self._untold = {one for one in self._writing if not is_pseudo(one) and database.excludes(one)}
        # In the order of the vector that a result is kept under.
        self._read = [EPOCH, *sorted(plan.relations)] if plan.effect is Effect.READ else []
        written = sorted({*plan.written, *self._untold} - set(self._read))
        asked = [*self._read, *written]
        self._held: dict[str, bytes | None] | None = None
        self._inspected: Inspected | None = None
        try:
            self._inspected = database.stamps.inspect(name, [database.slot(relation) for relation in asked])
        except StoreUnavailable:
            return
        self._held = dict(zip(asked, self._inspected.held, strict=True))

    def reads(self) -> tuple[Relation, ...]:
        found = []
        for relation in self._read:
            cause = Cause(STATEMENT) if relation == EPOCH else self._reading.get(relation)
            why = epoch_told() if relation == EPOCH else cause_told(cause)
            found.append(self._relation(relation, cause, why))
        return tuple(found)

    def writes(self) -> tuple[Relation, ...]:
        return tuple(
            self._relation(relation, self._writing.get(relation), cause_told(self._writing.get(relation)))
            for relation in sorted({*self._plan.written, *self._untold})
        )

    def _relation(self, relation: str, cause: Cause | None, why: str) -> Relation:
        return Relation(
            relation,
            None if cause is None else cause.kind,
            None if cause is None else cause.by,
            why,
            {} if is_pseudo(relation) else self._database.listed(relation),
            relation not in self._untold,
            self._slot(relation),
        )

    def _slot(self, relation: str) -> Slot:
        name = self._database.slot(relation).hex()
        if self._held is None:
            return Slot(name, AWAY, None, 0)
        value = self._held[relation]
        if value is None or not is_stamp(value):
            marks = len(marks_of(value))
            return Slot(name, MARKED if marks else EMPTY, None, marks)
        return Slot(name, STAMP, _moment(time_of(value)), 0)

    def entry(self) -> Entry | None:
        """The entry as a read would find it."""
        if self._name is None:
            return None
        if self._inspected is None:
            return Entry(AWAY, None)
        held, kept = self._inspected.held[: len(self._read)], self._inspected.kept
        here = self._database.local.get(self._name)
        if here is not None and here.vector == b"".join(one or b"" for one in held):
            state = EXPIRED if here.expired() else SERVED
            return Entry(state, PROCESS, (), self._inspected.size, _moment(here.expires))
        if self._inspected.size is None:
            return Entry(ABSENT, None) if here is None else Entry(RETIRED, PROCESS)
        expires = _moment(self._inspected.expires)
        if kept is None:
            return Entry(DAMAGED, STORE, (), self._inspected.size)
        if any(value is not None and marks_of(value) for value in held):
            state = MARKED
        elif kept != held:
            state = RETIRED
        elif expires is not None and expires <= _now():
            state = EXPIRED
        else:
            state = SERVED
        # Of another length it was kept by another catalog.
        same = len(kept) == len(held)
        changed = [one for one, was, now in zip(self._read, kept, held, strict=False) if was != now] if same else []
        return Entry(state, STORE, tuple(changed), self._inspected.size, expires)

    def unknown(self) -> tuple[Unknown, ...]:
        """Names for which the catalog has no relation."""
        if self._scope is None:
            return ()
        statement = self._plan.statement
        names = sorted(statement.sources | (statement.targets or frozenset()), key=str)
        missing = [name for name in names if not self._scope.find(name)]
        known = self._database.relations
        return tuple(
            Unknown(".".join(filter(None, name)), near(".".join(filter(None, name)), known)) for name in missing
        )


def near(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to three of the known names that look like this one, the nearest first."""
    return tuple(difflib.get_close_matches(name, sorted(known), n=3))


def _moment(seconds: float | None) -> datetime.datetime | None:
    return None if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
