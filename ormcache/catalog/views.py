"""What lies under a view, and what keeps its rows from being cached."""

from __future__ import annotations

from collections.abc import Iterator

from ormcache import reasons
from ormcache.catalog.facts import Facts
from ormcache.catalog.functions import Functions
from ormcache.catalog.lookup import Lookup
from ormcache.sql import Effect, Statement, analyse

#: Functions that read what a session's fingerprint has anyway
FOLLOWED = frozenset({"current_setting", "current_user", "session_user", "current_role", "user"})


class Views:
    """The queries that a database puts in the place of its relations: of views, and of row-level security.

    Each is read when it is first asked for. Threads share this; two of them may read the same view at once.
    """

    def __init__(self, vendor: str, facts: Facts, lookup: Lookup, functions: Functions) -> None:
        self._vendor = vendor
        self._lookup = lookup  # as the session did that has read the queries
        self._functions = functions
        self._queries = facts.views
        self._conditions: dict[str, list[str]] = {}
        for relation, condition in facts.policies:
            self._conditions.setdefault(relation, []).append(condition)
        self._statements: dict[str, tuple[Statement | None, ...]] = {}
        self._under: dict[str, frozenset[str]] = {}

    def __contains__(self, relation: str) -> bool:
        return relation in self._queries or relation in self._conditions

    def is_view(self, relation: str) -> bool:
        return relation in self._queries

    def statements(self, relation: str) -> tuple[Statement | None, ...]:
        """What is run in the relation's place or with it; None for a query that is not understood."""
        found = self._statements.get(relation)
        if found is None:
            texts: list[str | None] = [f"SELECT {condition}" for condition in self._conditions.get(relation, ())]
            if relation in self._queries:
                texts.append(self._queries[relation])
            found = self._statements[relation] = tuple(map(self._analysed, texts))
        return found

    def under(self, relation: str) -> frozenset[str]:
        """All that reading the relation reads as well, at any depth."""
        found = self._under.get(relation)
        if found is None:
            reached: set[str] = set()
            waiting = [relation]
            while waiting:
                for statement in self.statements(waiting.pop()):
                    if statement is not None:
                        new = self._lookup.named(statement.names) - reached - {relation}
                        reached |= new
                        waiting.extend(one for one in new if one in self)
            found = self._under[relation] = frozenset(reached)
        return found

    def at_once(self, relation: str) -> Iterator[tuple[bool, set[str]]]:
        """What reading the relation reads by itself: is it the view's own query, or a policy; and what that names."""
        statements = self.statements(relation)
        for number, statement in enumerate(statements, 1):
            if statement is not None:
                # The conditions of policies come first.
                is_own = self.is_view(relation) and number == len(statements)
                yield is_own, self._lookup.named(statement.names) - {relation}

    def obstacle(self, relation: str) -> str | None:
        """Why what these queries answer cannot be kept, what lies under them left aside."""
        for statement in self.statements(relation):
            if statement is None:
                return reasons.NOT_UNDERSTOOD
            followed = FOLLOWED if relation in self._conditions else frozenset()
            forgiven = {None, reasons.FUNCTION} | ({reasons.SESSION_FUNCTION} if followed else set())
            if statement.obstacle not in forgiven:
                return statement.obstacle
            obstacle = self._functions.obstacle(self._functions.called(statement) - followed)
            if obstacle is not None:
                return obstacle
            if not all(self._lookup.find(source) for source in statement.sources):
                return reasons.UNKNOWN_RELATION
        return None

    def _analysed(self, text: str | None) -> Statement | None:
        statement = None if text is None else analyse(text, self._vendor)
        if statement is None or statement.effect not in (Effect.READ, Effect.SESSION):
            return None
        return statement  # SESSION: SELECT set_config(…)
