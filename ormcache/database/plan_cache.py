"""Remembers the plans of statements, made from the catalog that the process holds of one database."""

from __future__ import annotations

import threading
from dataclasses import replace

from ormcache.cache.adaptive import Judgement
from ormcache.catalog import ANYWHERE, EPOCH, ResolutionContext
from ormcache.database.catalog_parts import CatalogParts
from ormcache.database.plans import Plan, Planner, blind_plan, needs_catalog, only_sets, schemas_meant
from ormcache.database.slots import Slots
from ormcache.database.table_filter import TableRules
from ormcache.sql import Effect, Statement, analyse, collapse_lists
from ormcache.utils.bounded import Bounded

#: Statements that are remembered as they were analysed, and plans, of which each search path has its own. A statement
#: of more than LONGEST_STATEMENT characters is not remembered, and no more than MOST_CHARACTERS of all together
MOST_STATEMENTS = 4096
MOST_PLANS = 16_384
LONGEST_STATEMENT = 65_536
MOST_CHARACTERS = 32 * 2**20


class PlanCache:
    """The plans of one database's statements. Threads share it."""

    def __init__(self, vendor: str, slots: Slots, rules: TableRules, parts: CatalogParts) -> None:
        """``parts``: of the catalog, that plans are made from."""
        self._vendor = vendor
        self._parts = parts
        self._rows = slots.rows
        self._planner = Planner(vendor, slots.name, rules, slots.rows)
        # Guards what follows, which belongs together; never held while a plan is made. Reentrant, because a signal's
        # handler may interrupt whoever holds it, and make a query.
        self._lock = threading.RLock()
        self._statements: Bounded[str, Statement] = Bounded(MOST_STATEMENTS, MOST_CHARACTERS, len)
        self._plans = _no_plans()

    def clear(self) -> None:
        """Forget all plans."""
        with self._lock:
            self._plans = _no_plans()
            self._rows.forget_texts()

    # Plans --------------------------------------------------------------------------

    def find(self, sql: str, context: ResolutionContext = ANYWHERE) -> tuple[Plan, bytes] | None:
        """Return the plan of a statement, and what distinguishes it from other statements of the same plan.

        Those are the lengths of its lists of parameters. None: the catalog has to be read for it.
        """
        whole, (sql, lengths) = sql, collapse_lists(sql)
        plan = self._plans.get((sql, context)) or self._make_plan(sql, context)
        if plan is not None and lengths and plan.statement.session is not None:
            # Each of its parameters counts: "set_config(%s, %s, %s)", a search path of three schemas.
            plan = self._plans.get((whole, context)) or self._make_plan(whole, context)
        return None if plan is None else (plan, lengths)

    def plan(self, sql: str, context: ResolutionContext = ANYWHERE) -> tuple[Plan, bytes]:
        """Return the same, by an outdated catalog where it has to be read again, and a blind plan where there is none.

        Another thread may just have learnt of a schema change.
        """
        planned = self.find(sql, context)
        if planned is not None:
            return planned
        part = self._parts.find(context, self.schemas_named(sql, context))
        if part is None:
            return self.blind_plan(sql), b""
        sql, lengths = collapse_lists(sql)
        return self._planner.plan(self._analysed(sql), part, part.catalog.resolver_for(context)), lengths

    def _make_plan(self, sql: str, context: ResolutionContext) -> Plan | None:
        with self._lock:
            plans = self._plans
        statement = self._analysed(sql)
        if only_sets(sql, statement, self._vendor):
            plan = replace(self.blind_plan(sql), bypass_reason=statement.bypass_reason, needs_no_catalog=True)
        else:
            part = self._parts.find_current(context, self.schemas_named(sql, context))
            if part is None:
                return None
            plan = self._planner.plan(statement, part, part.catalog.resolver_for(context))
        if len(sql) <= LONGEST_STATEMENT:
            plans.put((sql, context), plan)
        return plan

    def _analysed(self, sql: str) -> Statement:
        statement = self._statements.get(sql)
        if statement is None:
            statement = analyse(sql, self._vendor)
            if len(sql) <= LONGEST_STATEMENT:
                self._statements.put(sql, statement)
        return statement

    def provisional_plan(self, sql: str, context: ResolutionContext) -> Plan | None:
        """Return the plan of a statement by a catalog that is out of date, if that is good enough."""
        part = self._parts.find(context)
        if part is None:
            return None
        statement = analyse(sql, self._vendor)
        if needs_catalog(sql, statement, self._vendor, is_divided=part.extent.is_divided):
            return None
        return self._planner.plan(statement, part, part.catalog.resolver_for(context))

    def schemas_named(self, sql: str, context: ResolutionContext) -> frozenset[str]:
        """Return the schemas, folded, that a statement names and that the catalog for its context does not cover."""
        part = self._parts.find(context)
        if part is None or part.wanted is None:
            return frozenset()
        statement = self._analysed(sql)
        if statement.effect is Effect.SESSION and not statement.sources:
            return frozenset()  # SET search_path names schemas, and reads nothing in them
        return (part.catalog.schemas_named(statement.names) | schemas_meant(statement)) - part.covered

    def schemas_of(self, relations: frozenset[str], context: ResolutionContext) -> frozenset[str]:
        """Return the schemas, folded, of these relations that the catalog for a context does not cover."""
        part = self._parts.find(context)
        if part is None or part.wanted is None:
            return frozenset()
        return frozenset(name.partition(".")[0].lower() for name in relations if "." in name) - part.covered

    def blind_plan(self, sql: str) -> Plan:
        """Return the plan of a statement while there is no catalog: whatever could write may write anything."""
        return blind_plan(sql, self._vendor)

    def closure(
        self, relations: frozenset[str], context: ResolutionContext = ANYWHERE, *, renamed: bool = False
    ) -> frozenset[str]:
        """Return what a write to these relations may change by the present catalog; anything if there is none.

        With what the settings exclude from the cache, which another deploy may cache.

        ``renamed``: their names may mean other relations by now than when they were written; those count as well.
        """
        part = self._parts.find(context, self.schemas_of(relations, context))
        if part is None and context == ANYWHERE:
            part = self._parts.find_whole()
        if part is None:
            return relations | {EPOCH}
        found = part.closures.get((relations, context, renamed))
        if found is None:
            resolver = part.catalog.resolver_for(context)
            found = frozenset(resolver.written(resolver.named_alike(relations) if renamed else relations))
            part.closures.put((relations, context, renamed), found)
        return found

    def adaptive_bypasses(self) -> list[tuple[str, Plan, Judgement]]:
        """Return the statements for which the cache is bypassed for now, because it costs more than it saves."""
        return [
            (sql, plan, plan.adaptive_bypass.judgement)
            for (sql, _), plan in self._plans.copy().items()
            if plan.adaptive_bypass is not None and plan.adaptive_bypass.judgement is not None
        ]


def _no_plans() -> Bounded[tuple[str, ResolutionContext], Plan]:
    return Bounded(MOST_PLANS, MOST_CHARACTERS, lambda key: len(key[0]))
