"""Why a relation is among those that a statement reads or may change, for people.

Planning asks for the relations alone, and remembers its conclusions. This walks the same way once more, one step after
the other, and notes at each relation what has led to it first. It decides nothing: what it finds is laid beside the
plan, and tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ormcache.catalog.facts import ANYTHING, EPOCH
from ormcache.catalog.scope import Scope
from ormcache.sql import Effect, Statement

#: Kinds of causes; ``by`` is the relation or the function that leads there
NAMED = "named"  # it stands in the text where a relation has to stand
WORD = "word"  # some identifier of the text is its name
VIEW = "view"  # it lies under the view ``by``
POLICY = "policy"  # a row-level policy of ``by`` names it
FOREIGN_KEY = "foreign key"  # its rows change with those of ``by``; also the parts of a virtual table
PARTITION = "partition"  # rows of ``by`` may land in it
PARENT = "parent"  # the rows of ``by`` are rows of it
CODE = "code"  # ``code`` runs when ``by`` is written
FUNCTION = "function"  # the statement calls ``by``
READ_CODE = "view code"  # a function in a view that the statement reads
STATEMENT = "statement"  # what the statement does is not known, or is all there is
UNKNOWN = "unknown"  # it writes to ``by``, of which the catalog knows nothing
ELSEWHERE = "elsewhere"  # the statement may reach another database


@dataclass(frozen=True, slots=True)
class Cause:
    kind: str
    by: str | None = None
    code: str | None = None


class _Found(dict[str, Cause]):
    def add(self, relations: Iterable[str], cause: Cause) -> list[str]:
        """Note why these are there, and return those that are new."""
        new = [relation for relation in sorted(relations) if relation not in self]
        self.update(dict.fromkeys(new, cause))
        return new


def causes_of_reading(scope: Scope, statement: Statement) -> dict[str, Cause]:
    """Relation → why a result of the statement depends on it."""
    found = _Found()
    named = scope.named(statement.names)
    sources = {relation for source in statement.sources for relation in scope.find(source)}
    waiting = found.add(named & sources, Cause(NAMED)) + found.add(named, Cause(WORD))
    for relation in waiting:  # grows on the way
        for is_query, others in scope.read_at_once(relation):
            waiting += found.add(others, Cause(VIEW if is_query else POLICY, relation))
    return found


def causes_of_writing(scope: Scope, statement: Statement) -> dict[str, Cause]:
    """Relation → why running the statement may change it."""
    found = _Found()
    named = scope.named(statement.names)
    if statement.effect in (Effect.OPAQUE, Effect.SCHEMA):
        found.add(ANYTHING, Cause(STATEMENT))
        reached = scope.neighbours(statement.names) if statement.effect is Effect.SCHEMA else scope.all_neighbours()
        found.add(reached, Cause(ELSEWHERE))
    elif statement.cascades:
        found.add({EPOCH}, Cause(STATEMENT))
    elif statement.effect is Effect.WRITE and statement.targets is None:
        found.add(named, Cause(WORD))
        found.add(set() if named else {EPOCH}, Cause(STATEMENT))
        found.add(scope.neighbours(statement.names), Cause(ELSEWHERE))
    elif statement.effect is Effect.WRITE:
        for schema, name in sorted(statement.targets or (), key=str):
            if not found.add(scope.find((schema, name)), Cause(NAMED)) and not scope.find((schema, name)):
                found.add({EPOCH}, Cause(UNKNOWN, name if schema is None else f"{schema}.{name}"))
                found.add(scope.neighbours(frozenset({schema or ""})), Cause(ELSEWHERE))
    for call in sorted(scope.called(statement)):
        found.add(scope.effects_of_calls([call]), Cause(FUNCTION, call))
    found.add(scope.effects_of_reading(named), Cause(READ_CODE))
    _follow(scope, found)
    return found


def _follow(scope: Scope, found: _Found) -> None:
    """What is set off by changes of what is found so far."""
    whole = set(found)  # and not only because a child is
    waiting = sorted(whole)
    for relation in waiting:  # grows on the way
        steps = [(scope.parents(relation), Cause(PARENT, relation))]
        if relation in whole:
            steps.insert(0, (scope.children(relation), Cause(PARTITION, relation)))
        steps[:0] = [
            (scope.bound_to(relation), Cause(FOREIGN_KEY, relation)),
            *((others, Cause(CODE, relation, origin)) for origin, others in scope.set_off(relation)),
            (scope.written_at_once(relation), Cause(VIEW if scope.is_view(relation) else CODE, relation)),
        ]
        for others, cause in steps:
            new = found.add(others, cause)
            if cause.kind != PARENT:
                again = [other for other in others if other not in whole]
                whole.update(again)
                new = sorted({*new, *again})
            waiting += new
