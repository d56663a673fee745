"""What a database adds to the text of a statement: which names are relations, and what each of them reaches.

A :class:`Catalog` is read in one go, never changed, and replaced when anybody changes the schema. It over-approximates:
a name in the body of a view, a trigger or a function counts as a relation whenever there is one of that name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ormcache import reasons
from ormcache.sql import Effect, Name, Statement, analyse, names_in
from ormcache.sql.vocabulary import REPEATABLE, RUN_SQL, UNREPEATABLE

#: The pseudo relation that every result depends on: a write that could be anything changes it.
EPOCH = "*"
EVERYTHING = frozenset({EPOCH})
#: The pseudo relation that every schema change changes, so that other processes read their catalogs anew.
SCHEMA = "*schema"

#: Volatility of a function: its answer depends on its arguments alone, on tables and settings too, or on anything.
#: A stable one that is written in C is an extension's, and asks no tables if it is on the list of repeatable ones.
IMMUTABLE, STABLE_IN_C, STABLE, VOLATILE = "i", "c", "s", "v"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, a view or the like."""

    name: str  # as people write it: qualified unless it is in the default schema
    schema: str | None  # folded
    bare: str  # folded, without the schema
    obstacle: str | None = None  # why no result that depends on it may be kept


@dataclass(frozen=True, slots=True)
class Server:
    """What a fresh connection tells of the server behind it."""

    identity: str  # differs for databases that do not share their rows, and after a database was born again
    local: bool | None  # is it on this host? None: it does not tell
    replica: bool
    settings: tuple[object, ...]  # what decides results in this session, before anything else is set
    isolation: str  # of transactions, in lower case: "read committed"
    shared: bool = True  # False: no other connection ever reaches this database
    understood: bool = True  # False: under these settings SQL does not read as the lexer thinks


@dataclass(frozen=True)
class Facts:
    """What a vendor's reader found; a :class:`Catalog` draws the conclusions."""

    relations: Collection[Relation]
    #: view → its query, None where the database does not show it
    views: Mapping[str, str | None] = field(default_factory=dict)
    #: (relation, other): a write to the first one may change the second one
    reaches: Iterable[tuple[str, str]] = ()
    #: (relation, body): a write to the relation runs this code; None: code that cannot be read
    bodies: Iterable[tuple[str, str | None]] = ()
    #: (relation, condition): row-level security; what the condition names decides which rows are seen
    policies: Iterable[tuple[str, str]] = ()
    #: function, folded → its volatility, the worst one of its overloads
    functions: Mapping[str, str] = field(default_factory=dict)
    #: function, folded → the code of its overloads
    sources: Mapping[str, list[str | None]] = field(default_factory=dict)
    #: schemas that names may be qualified with, folded
    schemas: frozenset[str] = frozenset()


class Catalog:
    """The relations of one database and what reading or writing each of them means."""

    def __init__(self, vendor: str, facts: Facts) -> None:
        self.vendor = vendor
        self.relations = {relation.name: relation for relation in facts.relations}
        self.functions = dict(facts.functions)
        self.schemas = facts.schemas
        # Folded bare name → the relations of that name, in whatever schema
        self._by_name: dict[str, list[str]] = {}
        for relation in facts.relations:
            self._by_name.setdefault(relation.bare, []).append(relation.name)
        self._sources = facts.sources
        self._obstacles = {relation.name: relation.obstacle for relation in facts.relations if relation.obstacle}
        # Relation → what a write to it reaches at once
        self._reaches: dict[str, set[str]] = {}
        for name, other in facts.reaches:
            self._reaches.setdefault(name, set()).add(other)
        for name, body in facts.bodies:
            self._reaches.setdefault(name, set()).update(self._named_in(body, set()))
        # View → the relations under it, at any depth
        self._views: dict[str, frozenset[str]] = {}
        views = {view: self._analysed(text) for view, text in facts.views.items()}
        for view in views:
            self._views[view] = self._under(view, views)
        for relation_name, condition in facts.policies:
            self._add_policy(relation_name, condition)
        for view, statement in views.items():
            # A write through a view changes what is under it.
            self._reaches.setdefault(view, set()).update(self._views[view] if statement else {EPOCH})
        # View → what reading it may change, because of the functions in it and in the views under it
        own = {view: self.effects_of_calls(self.called(query)) for view, query in views.items() if query is not None}
        self._effects = {
            view: effects
            for view, under in self._views.items()
            if (effects := set().union(*(own.get(one, ()) for one in {view, *under})))
        }
        setting = {
            view
            for view, query in views.items()
            if query is not None and (query.session is not None or self.sets_session(self.called(query)))
        }
        self._setting = {view for view, under in self._views.items() if not setting.isdisjoint({view, *under})}
        self._closures: dict[str, frozenset[str]] = {}

    # Questions ------------------------------------------------------------------

    def named(self, names: Iterable[str]) -> set[str]:
        """The relations that have one of these folded names, in any schema."""
        found: set[str] = set()
        for name in names:
            found.update(self._by_name.get(name, ()))
        return found

    def find(self, name: Name) -> list[str]:
        """The relations that a possibly qualified name can mean; none: it is not known here."""
        schema, bare = name
        found = self._by_name.get(bare, [])
        if schema is None or not found:
            return found
        return [relation for relation in found if self.relations[relation].schema in (schema, None)]

    def read(self, relations: Iterable[str]) -> set[str]:
        """These relations and all that lies under those of them that are views."""
        found = set(relations)
        for relation in list(found):
            found |= self._views.get(relation, frozenset())
        return found

    def written(self, relations: Iterable[str]) -> frozenset[str]:
        """What a write to these relations may change: cascades, triggers, rules, partitions, to any depth."""
        return frozenset().union(*(self._closure(relation) for relation in relations))

    def obstacle(self, relations: Iterable[str]) -> str | None:
        """Why no result that depends on these may be kept, or None."""
        for relation in sorted(relations):
            if relation in self._obstacles:
                return self._obstacles[relation]
        return None

    def obstacle_of_calls(self, calls: Iterable[str]) -> str | None:
        """Why the answers of these functions cannot be kept, or None if they are repeatable."""
        for call in sorted(calls):
            volatility = self.functions.get(call)
            known = call in REPEATABLE[self.vendor]
            if volatility == IMMUTABLE or (known and volatility in (None, STABLE_IN_C)):
                continue
            return UNREPEATABLE.get(call, reasons.FUNCTION) if volatility is None else reasons.FUNCTION
        return None

    def called(self, statement: Statement) -> frozenset[str]:
        """The functions that a statement may call. PostgreSQL calls f(row) for ``row.f``, too."""
        return statement.calls | (statement.names & self.functions.keys())

    def effects_of_reading(self, relations: Iterable[str]) -> set[str]:
        """What the functions in the views among these relations may change."""
        found: set[str] = set()
        for relation in relations:
            found |= self._effects.get(relation, set())
        return found

    def effects_of_calls(self, calls: Iterable[str]) -> set[str]:
        """What calling these functions may change: what the volatile ones of them name, or the epoch."""
        found: set[str] = set()
        for call in calls:
            if self.functions.get(call) == VOLATILE:
                found |= self._body_of(call, set())
            elif call in RUN_SQL:
                found |= {EPOCH, SCHEMA}
        return found

    def reading_sets_session(self, relations: Iterable[str]) -> bool:
        """Could a view among these relations change settings of the session?"""
        return any(relation in self._setting for relation in relations)

    def sets_session(self, calls: Iterable[str]) -> bool:
        """Could one of these functions change settings of the session?"""
        for call in calls:
            if call in RUN_SQL:
                return True
            if self.functions.get(call) == VOLATILE:
                for body in self._sources.get(call, [None]):
                    names = None if body is None else names_in(body, self.vendor)
                    # "set" alone is most often the one of an UPDATE
                    if names is None or not names.isdisjoint(RUNS_TEXT | {"set_config", "perform", "call"}):
                        return True
                    if "set" in names and "update" not in names:
                        return True
        return False

    # Conclusions ------------------------------------------------------------------

    def _closure(self, relation: str) -> frozenset[str]:
        known = self._closures.get(relation)
        if known is None:
            found, waiting = {relation}, [relation]
            while waiting:
                for other in self._reaches.get(waiting.pop(), ()):
                    if other not in found:
                        found.add(other)
                        waiting.append(other)
            known = self._closures[relation] = frozenset(found)
        return known

    def _analysed(self, text: str | None) -> Statement | None:
        statement = None if text is None else analyse(text, self.vendor)
        if statement is None or statement.effect not in (Effect.READ, Effect.SESSION):
            return None
        return statement  # SESSION: SELECT set_config(…)

    def _under(self, view: str, views: Mapping[str, Statement | None]) -> frozenset[str]:
        """All relations under a view; notes on the way what keeps its rows from being cached."""
        found: set[str] = set()
        waiting = [view]
        while waiting:
            current = waiting.pop()
            if current not in views:
                continue
            statement = views[current]
            if statement is None:
                self._obstacles.setdefault(view, reasons.NOT_UNDERSTOOD)
                continue
            obstacle = self.obstacle_of_calls(self.called(statement))
            if statement.obstacle not in (None, reasons.FUNCTION):
                obstacle = statement.obstacle
            if obstacle is None and not all(self.find(source) for source in statement.sources):
                obstacle = reasons.UNKNOWN_RELATION
            if obstacle is not None:
                self._obstacles.setdefault(view, obstacle)
            under = self.named(statement.names) - found - {view}
            found |= under
            waiting.extend(under)
        return frozenset(found)

    def _add_policy(self, relation: str, condition: str) -> None:
        """What a policy names is read with its table; what it asks of the session is in the session's fingerprint."""
        statement = self._analysed(f"SELECT {condition}")
        if statement is None:
            self._obstacles.setdefault(relation, reasons.NOT_UNDERSTOOD)
            return
        under = self.read(self.named(statement.names)) - {relation}
        self._views[relation] = self._views.get(relation, frozenset()) | under
        obstacle = self.obstacle_of_calls(self.called(statement) - FOLLOWED)
        if statement.obstacle not in (None, reasons.FUNCTION, reasons.SESSION_FUNCTION):
            obstacle = statement.obstacle
        if obstacle is not None:
            self._obstacles.setdefault(relation, obstacle)

    def _body_of(self, function: str, seen: set[str]) -> set[str]:
        found: set[str] = set()
        for body in self._sources.get(function, [None]):
            found |= self._named_in(body, seen)
        return found

    def _named_in(self, body: str | None, seen: set[str]) -> set[str]:
        """The relations that a piece of code names, itself or through the functions that it calls."""
        names = None if body is None else names_in(body, self.vendor)
        if names is None or not names.isdisjoint(RUNS_TEXT | RUN_SQL | CHANGES_SCHEMA):
            # Code that cannot be read, that runs SQL put together at run time, or that changes the schema.
            return {EPOCH, SCHEMA}
        found = self.named(names)
        for function in names & self.functions.keys():
            if function not in seen and self.functions[function] == VOLATILE:
                seen.add(function)
                found |= self._body_of(function, seen)
        return found


#: Functions that read what a session's fingerprint has anyway
FOLLOWED = frozenset({"current_setting", "current_user", "session_user", "current_role", "user"})
#: Words by which stored code runs SQL that it has put together
RUNS_TEXT = frozenset({"execute", "prepare"})
CHANGES_SCHEMA = frozenset({"create", "alter", "drop", "rename"})
