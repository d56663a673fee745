"""Explains to people why a relation is among those that a statement reads or may change.

Planning asks for the relations alone, and remembers its conclusions. This walks the same way once more, one step after
the other, and notes at each relation what has led to it first. It decides nothing: what it finds is laid beside the
plan, and tests hold the two against each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ormcache.catalog.facts import ALL_ROWS_AND_SCHEMA, EPOCH
from ormcache.catalog.resolver import Resolver
from ormcache.sql import Effect, Statement
from ormcache.sql.vocabulary import OWN_OF_SQLITE

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
        """Record why these are there, and return those that are new."""
        new = [relation for relation in sorted(relations) if relation not in self]
        self.update(dict.fromkeys(new, cause))
        return new


def causes_of_reading(resolver: Resolver, statement: Statement) -> dict[str, Cause]:
    """Return a mapping: relation → why a result of the statement depends on it."""
    found = _Found()
    named = resolver.named(statement)
    sources = {relation for source in statement.sources for relation in resolver.find(source)}
    waiting = found.add(named & sources, Cause(NAMED)) + found.add(named, Cause(WORD))
    for call in sorted(resolver.called(statement)):
        waiting += found.add(resolver.read_by_calls([call]), Cause(FUNCTION, call))
    for relation in waiting:  # grows on the way
        for is_query, others in resolver.read_at_once(relation):
            waiting += found.add(others, Cause(VIEW if is_query else POLICY, relation))
    return found


def causes_of_writing(resolver: Resolver, statement: Statement) -> dict[str, Cause]:
    """Return a mapping: relation → why running the statement may change it."""
    found = _Found()
    named = resolver.named(statement)
    changes = None if statement.change is None else resolver.changed_by(statement.change)
    if statement.effect is Effect.SCHEMA and changes is not None:
        found.add(changes.certain | changes.by_name, Cause(STATEMENT))
    elif statement.effect in (Effect.OPAQUE, Effect.SCHEMA):
        found.add(ALL_ROWS_AND_SCHEMA, Cause(STATEMENT))
        reached = (
            resolver.other_databases(statement.names)
            if statement.effect is Effect.SCHEMA
            else resolver.all_other_databases()
        )
        found.add(reached, Cause(ELSEWHERE))
    elif statement.cascades:
        found.add({EPOCH}, Cause(STATEMENT))
    elif statement.effect is Effect.WRITE and statement.targets is None:
        found.add(named, Cause(WORD))
        found.add(set() if named else {EPOCH}, Cause(STATEMENT))
        found.add(resolver.other_databases(statement.names), Cause(ELSEWHERE))
    elif statement.effect is Effect.WRITE:
        for schema, name in sorted(statement.targets or (), key=str):
            if name in OWN_OF_SQLITE and not resolver.find((schema, name)):
                continue
            if not found.add(resolver.find((schema, name)), Cause(NAMED)) and not resolver.find((schema, name)):
                found.add({EPOCH}, Cause(UNKNOWN, name if schema is None else f"{schema}.{name}"))
                found.add(resolver.other_databases(frozenset({schema or ""})), Cause(ELSEWHERE))
    for call in sorted(resolver.called(statement)):
        found.add(resolver.effects_of_calls([call]), Cause(FUNCTION, call))
    found.add(resolver.effects_of_reading(named), Cause(READ_CODE))
    _follow(resolver, found)
    return found


def _follow(resolver: Resolver, found: _Found) -> None:
    """Add what the relations found so far change in turn."""
    whole = set(found)  # and not only because a child is
    waiting = sorted(whole)
    for relation in waiting:  # grows on the way
        steps = [(resolver.parents(relation), Cause(PARENT, relation))]
        if relation in whole:
            steps.insert(0, (resolver.children(relation), Cause(PARTITION, relation)))
        steps[:0] = [
            (resolver.bound_to(relation), Cause(FOREIGN_KEY, relation)),
            *((others, Cause(CODE, relation, origin)) for origin, others in resolver.set_off(relation)),
            (resolver.written_at_once(relation), Cause(VIEW if resolver.is_view(relation) else CODE, relation)),
        ]
        for others, cause in steps:
            new = found.add(others, cause)
            if cause.kind != PARENT:
                again = [other for other in others if other not in whole]
                whole.update(again)
                new = sorted({*new, *again})
            waiting += new
