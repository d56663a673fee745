"""Resolves views and policies: which relations they read, and why their rows may not be cached."""

from __future__ import annotations

from collections.abc import Iterator

from ormcache import reasons
from ormcache.catalog.facts import Facts
from ormcache.catalog.functions import Functions
from ormcache.catalog.lookup import Lookup
from ormcache.catalog.settings_read import ASKED, is_custom, settings_read
from ormcache.sql import Effect, Statement, analyse

#: Functions that read what a session's fingerprint has anyway
FOLLOWED = frozenset({"current_setting", "current_user", "session_user", "current_role", "user"})


class Views:
    """The queries that a database runs in place of its relations: those of views, and of row-level security.

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
        """Return what is run in place of a relation, or along with it; None for a query that cannot be parsed."""
        found = self._statements.get(relation)
        if found is None:
            texts: list[str | None] = [f"SELECT {condition}" for condition in self._conditions.get(relation, ())]
            if relation in self._queries:
                texts.append(self._queries[relation])
            found = self._statements[relation] = tuple(map(self._analysed, texts))
        return found

    def under(self, relation: str) -> frozenset[str]:
        """Return all relations that a read of this one reads as well, at any depth."""
        found = self._under.get(relation)
        if found is None:
            reached: set[str] = set()
            waiting = [relation]
            while waiting:
                for statement in self.statements(waiting.pop()):
                    if statement is not None:
                        new = self._read_by(statement) - reached - {relation}
                        reached |= new
                        waiting.extend(one for one in new if one in self)
            found = self._under[relation] = frozenset(reached)
        return found

    def at_once(self, relation: str) -> Iterator[tuple[bool, set[str]]]:
        """Yield, for each query of a relation, whether it is the view's own or a policy's, and what it names."""
        statements = self.statements(relation)
        for number, statement in enumerate(statements, 1):
            if statement is not None:
                # The conditions of policies come first.
                is_own = self.is_view(relation) and number == len(statements)
                yield is_own, self._read_by(statement) - {relation}

    def _read_by(self, statement: Statement) -> set[str]:
        """Return the relations that a query names, and those that the functions in it look into."""
        named = self._lookup.named(statement.names, statement.columns)
        return named | self._functions.read_by(self._functions.called(statement))

    def bypass_reason(self, relation: str) -> str | None:
        """Return why results of these queries cannot be cached, apart from what lies under them; or None."""
        for statement in self.statements(relation):
            if statement is None:
                return reasons.NOT_UNDERSTOOD
            followed = FOLLOWED if relation in self._conditions else frozenset()
            read = settings_read(self._conditions.get(relation, ()))
            if not all(is_custom(name) or name in ASKED for name in read):
                return reasons.SESSION_FUNCTION
            forgiven = {None, reasons.FUNCTION} | ({reasons.SESSION_FUNCTION} if followed else set())
            if statement.bypass_reason not in forgiven:
                return statement.bypass_reason
            bypass_reason = self._functions.bypass_reason(self._functions.called(statement) - followed)
            if bypass_reason is not None:
                return bypass_reason
            if not all(self._lookup.find(source) for source in statement.sources):
                return reasons.UNKNOWN_RELATION
        return None

    def _analysed(self, text: str | None) -> Statement | None:
        statement = None if text is None else analyse(text, self._vendor)
        if statement is None or statement.effect not in (Effect.READ, Effect.SESSION):
            return None
        return statement  # SESSION: SELECT set_config(…)
