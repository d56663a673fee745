"""What the functions of a database do: which answers can be kept, which of them change something."""

from __future__ import annotations

from collections.abc import Iterable

from ormcache import reasons
from ormcache.catalog.facts import IMMUTABLE, STABLE, STABLE_IN_C, VOLATILE, Code, Facts, Function
from ormcache.sql import Statement, Stored, read_stored
from ormcache.sql.vocabulary import COMMON_OPERATORS, REPEATABLE, RUN_SQL, UNREPEATABLE

_ORDER = IMMUTABLE + STABLE_IN_C + STABLE + VOLATILE

#: Words by which stored code runs SQL that it has put together
RUNS_TEXT = frozenset({"execute", "prepare"})
CHANGES_SCHEMA = frozenset({"create", "alter", "drop", "rename"})


class Functions:
    """Functions by name; overloads count as one, the worst of them. Threads share this."""

    def __init__(self, vendor: str, facts: Facts) -> None:
        self._vendor = vendor
        self._volatility: dict[str, str] = {}
        self._codes: dict[str, list[Code]] = {}
        self._operators = {operator.name for operator in facts.operators}
        self._common_operators = self._operators & COMMON_OPERATORS  # taken for called by every statement
        for function in (*facts.functions, *facts.operators):
            self._add(function)
        self._queries = _queries(facts)
        self._stored: dict[str, Stored | None] = {}  # by the text, which many triggers and tenants share

    def _add(self, function: Function) -> None:
        known = self._volatility.get(function.name, IMMUTABLE)
        self._volatility[function.name] = max(known, function.volatility, key=_ORDER.index)
        if function.code is not None:
            self._codes.setdefault(function.name, []).append(function.code)

    def called(self, statement: Statement) -> frozenset[str]:
        """The functions that a statement may call. PostgreSQL calls f(row) for ``row.f``, too."""
        found = statement.calls | (statement.names & self._volatility.keys())
        if statement.operators:
            # "a @@@-1": which part of a run of operator characters is the operator depends on all that there are.
            found |= {name for name in self._operators if any(name in run for run in statement.operators)}
        found |= self._common_operators
        return found

    def obstacle(self, calls: Iterable[str]) -> str | None:
        """Why the answers of these functions cannot be kept, or None if they are repeatable."""
        for call in sorted(calls):
            volatility = self._volatility.get(call)
            known = call in REPEATABLE[self._vendor]
            if volatility == IMMUTABLE or (known and volatility in (None, STABLE_IN_C)):
                continue
            return UNREPEATABLE.get(call, reasons.FUNCTION) if volatility is None else reasons.FUNCTION
        return None

    def codes(self, calls: Iterable[str]) -> list[Code]:
        """What calling these runs, as far as it could change something."""
        return [code for call in sorted(calls) for code in self._codes.get(call, ())]

    def _run_by(self, names: frozenset[str]) -> frozenset[str]:
        """Those of the identifiers in a piece of code that stand for code: functions, views, tables with policies."""
        return frozenset(names & self._codes.keys()) | (names & self._queries.keys())

    def stored(self, code: Code) -> Stored | None:
        """The words of a piece of code; None where it cannot be read."""
        if code.text is None:
            return None
        if code.text not in self._stored:
            self._stored[code.text] = read_stored(code.text, self._vendor)
        return self._stored[code.text]

    def all_codes(self, codes: Iterable[Code]) -> list[Code]:
        """These and all that they call, at any depth."""
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
        """Could this code, or what it calls, change settings of the session?"""
        for code in self.all_codes(codes):
            stored = self.stored(code)
            if stored is None:
                if not code.believed:
                    return True
            elif stored.sets or not stored.names.isdisjoint(_SETTING if code.believed else _SETTING_OR_RUNNING):
                return True
        return False


def _queries(facts: Facts) -> dict[str, list[Code]]:
    """Folded bare name of a relation → what reading it runs: that changes nothing, but what it calls may."""
    bare = {relation.name: relation.bare for relation in facts.relations}
    found: dict[str, list[Code]] = {}
    for relation, text in (*facts.views.items(), *facts.policies):
        found.setdefault(bare[relation], []).append(Code(text, True, facts.path, reads=True))
    return found


#: Identifiers with which code sets something, or runs what may
_SETTING = frozenset({"set_config", "call"})
_SETTING_OR_RUNNING = _SETTING | RUNS_TEXT | RUN_SQL
