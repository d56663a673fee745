"""Knows the functions of a database: which results are repeatable, and which functions change something."""

from __future__ import annotations

from collections.abc import Iterable

from ormcache import reasons
from ormcache.catalog.facts import IMMUTABLE, STABLE, STABLE_IN_C, VOLATILE, Code, Facts, Function
from ormcache.sql import Statement, StoredCode, read_code
from ormcache.sql.vocabulary import COMMON_OPERATORS, KEYWORDS_BEFORE_PARENTHESIS_OF, REPEATABLE, UNREPEATABLE

_ORDER = IMMUTABLE + STABLE_IN_C + STABLE + VOLATILE

CHANGES_SCHEMA = frozenset({"create", "alter", "drop", "rename"})


class Functions:
    """The functions of a database by name. Overloads count as one, the worst of them. Threads share this."""

    def __init__(self, vendor: str, facts: Facts) -> None:
        self._vendor = vendor
        self._volatility: dict[str, str] = {}
        self._codes: dict[str, list[Code]] = {}
        self._by_row: set[str] = set()
        self._reads: dict[str, frozenset[str]] = {}
        self._operators = {operator.name for operator in facts.operators}
        self._common_operators = self._operators & COMMON_OPERATORS  # taken for called by every statement
        for function in (*facts.functions, *facts.operators):
            self._add(function)
        self._queries = _queries(facts)
        self._stored: dict[str, StoredCode | None] = {}  # by the text, which many triggers and tenants share

    def _add(self, function: Function) -> None:
        known = self._volatility.get(function.name, IMMUTABLE)
        self._volatility[function.name] = max(known, function.volatility, key=_ORDER.index)
        if function.code is not None:
            self._codes.setdefault(function.name, []).append(function.code)
        if (
            function.by_row or function.name in KEYWORDS_BEFORE_PARENTHESIS_OF[self._vendor]
        ):  # those count as no calls elsewhere
            self._by_row.add(function.name)
        if function.reads:
            self._reads[function.name] = self._reads.get(function.name, frozenset()) | function.reads

    def called(self, statement: Statement) -> frozenset[str]:
        """Return the functions that a statement may call. PostgreSQL also calls f(row) for ``row.f``."""
        found = statement.calls | (statement.names & self._by_row)
        if statement.operators:
            # "a @@@-1": which part of a run of operator characters is the operator depends on all that there are.
            found |= {name for name in self._operators if any(name in run for run in statement.operators)}
        found |= self._common_operators
        if statement.inlined_calls:
            found -= {name for name in statement.inlined_calls if self._is_built_in(name)}
        return found

    def _is_built_in(self, name: str) -> bool:
        """Return whether a name means a built-in function or an extension's, and none that a user has created."""
        return self._volatility.get(name) in (None, STABLE_IN_C) and name not in self._codes

    def bypass_reason(self, calls: Iterable[str]) -> str | None:
        """Return why a result of these functions cannot be cached, or None if they are repeatable."""
        for call in sorted(calls):
            volatility = self._volatility.get(call)
            known = call in REPEATABLE[self._vendor]
            if volatility == IMMUTABLE or (known and volatility in (None, STABLE_IN_C)):
                continue
            return UNREPEATABLE.get(call, reasons.FUNCTION) if volatility is None else reasons.FUNCTION
        return None

    def read_by(self, calls: Iterable[str]) -> set[str]:
        """Return the relations that these functions may look into, though their answers can be cached."""
        return set().union(*(self._reads.get(call, ()) for call in calls)) if self._reads else set()

    def codes(self, calls: Iterable[str]) -> list[Code]:
        """Return the code that calls of these run, as far as it could change something."""
        return [code for call in sorted(calls) for code in self._codes.get(call, ())]

    def _run_by(self, names: frozenset[str]) -> frozenset[str]:
        """Return the identifiers in a piece of code that stand for code: functions, views, tables with policies."""
        return frozenset(names & self._codes.keys()) | (names & self._queries.keys())

    def stored(self, code: Code) -> StoredCode | None:
        """Return the analysis of a piece of code; None if it cannot be read."""
        if code.text is None:
            return None
        if code.text not in self._stored:
            self._stored[code.text] = read_code(code.text, self._vendor)
        return self._stored[code.text]

    def all_codes(self, codes: Iterable[Code]) -> list[Code]:
        """Return these and all code that they call, at any depth."""
        found: list[Code] = []
        seen: set[str] = set()
        waiting = list(codes)
        while waiting:
            code = waiting.pop()
            found.append(code)
            stored = self.stored(code)
            if stored is not None:
                new = self._run_by(stored.names) | {one for one in self._operators if one in (code.text or "")}
                new -= seen
                seen |= new
                waiting.extend(self.codes(new))
                waiting.extend(query for name in sorted(new) for query in self._queries.get(name, ()))
        return found

    def sets_session(self, codes: Iterable[Code]) -> bool:
        """Return whether this code, or what it calls, could change settings of the session."""
        for code in self.all_codes(codes):
            stored = self.stored(code)
            if stored is None:
                if not code.believed:
                    return True
            elif stored.sets or not stored.names.isdisjoint(_SETTING) or (stored.runs and not code.believed):
                return True
        return False


def _queries(facts: Facts) -> dict[str, list[Code]]:
    """Return a mapping: folded bare name of a relation → the code that a read of it runs.

    That code changes nothing itself, but what it calls may.
    """
    bare = {relation.name: relation.bare for relation in facts.relations}
    found: dict[str, list[Code]] = {}
    for relation, text in (*facts.views.items(), *facts.policies):
        found.setdefault(bare[relation], []).append(Code(text, True, facts.path, reads=True))
    return found


#: Identifiers with which code sets something, or runs what may
_SETTING = frozenset({"set_config", "call", "pg_settings", "pg_reload_conf"})
