"""Resolves what statements mean in one resolution context."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from ormcache import reasons
from ormcache.catalog.facts import ALL_ROWS_AND_SCHEMA, EPOCH, Code, Facts
from ormcache.catalog.functions import CHANGES_SCHEMA, Functions
from ormcache.catalog.lookup import Index, Lookup
from ormcache.catalog.other_databases import OtherDatabases
from ormcache.catalog.row_keys import RowKeys
from ormcache.catalog.schemas import Schemas, StatementChanges
from ormcache.catalog.views import Views
from ormcache.sql import Name, SchemaChange, Statement, StoredCode
from ormcache.sql.vocabulary import RUN_SQL, WRITING_WORDS


class Reach:
    """What a write to a relation sets off in the database, by the catalog's facts."""

    def __init__(self) -> None:
        #: relation → others whose rows change with its own
        self.others: dict[str, set[str]] = {}
        #: relation → code that runs
        self.codes: dict[str, list[Code]] = {}
        #: relation → those that its rows may land in
        self.children: dict[str, set[str]] = {}
        #: relation → those that its rows are rows of as well
        self.parents: dict[str, set[str]] = {}
        #: relation → those with a foreign key to it, whatever that does
        self.references: dict[str, set[str]] = {}

    def below(self, relations: Iterable[str]) -> set[str]:
        """Return these, and the relations whose rows are rows of them."""
        found = set(relations)
        waiting = [relation for relation in found if relation in self.children]
        while waiting:
            new = self.children.get(waiting.pop(), set()) - found
            found |= new
            waiting.extend(new)
        return found

    def emptied_with(self, relations: Iterable[str]) -> set[str]:
        """Return these, and the relations that ``TRUNCATE … CASCADE`` empties along with them."""
        found = set(relations)
        waiting = list(found)
        while waiting:
            relation = waiting.pop()
            new = (self.references.get(relation, set()) | self.children.get(relation, set())) - found
            found |= new
            waiting.extend(new)
        return found


class Resolver:
    """Resolves statements by a catalog, for the sessions of one resolution context.

    It over-approximates: a name in the body of a view, a trigger or a function counts as a relation whenever there is
    one of that name. Threads share it; two of them may draw one conclusion at once.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        index: Index,
        views: Views,
        functions: Functions,
        reach: Reach,
        other_databases: OtherDatabases,
        times: Mapping[str, frozenset[str]],
        keys: Mapping[str, RowKeys],
        untexted: frozenset[str],
        bypass_reason: str | None,
        schemas: Schemas,
    ) -> None:
        self._index = index
        self._lookup = lookup
        self._views = views
        self._functions = functions
        self._reach = reach
        self._other_databases = other_databases
        self._times = times
        self._keys = keys
        self._untexted = untexted
        self._bypass_reason = bypass_reason
        self._schemas = schemas
        self._closures: dict[str, frozenset[str]] = {}

    # Reading ------------------------------------------------------------------------

    def find(self, name: Name) -> list[str]:
        """Return the relations that a possibly qualified name can mean; none if the name is unknown."""
        return self._lookup.find(name)

    def named(self, statement: Statement) -> set[str]:
        """Return the relations that a statement can name."""
        return self._lookup.named(statement.names, statement.columns)

    def named_alike(self, relations: Iterable[str]) -> set[str]:
        """Return these relations, and those that their names without a schema mean."""
        found = set(relations)
        for relation in relations:
            known = self._index.relations.get(relation)
            found.update(self._lookup.find((None, known.bare if known else relation.rpartition(".")[2].lower())))
        return found

    def read(self, relations: Iterable[str]) -> set[str]:
        """Return these relations and all that lie under those of them that are views."""
        found = set(relations)
        for relation in list(found):
            if relation in self._views:
                found |= self._views.under(relation)
        return found

    def bypass_reason(self, relations: Iterable[str], listed: Callable[[str], bool]) -> str | None:
        """Return why no result that depends on these may be cached, or None. ``relations``: as of :meth:`read`.

        ``listed``: is a relation let in although its rows may change unseen?
        """
        for name in sorted(self._reach.below(relations)):
            relation = self._index.relations.get(name)
            if relation is not None and relation.bypass_reason:
                if relation.bypass_reason != reasons.FOREIGN_TABLE or not listed(name):
                    return relation.bypass_reason
        for name in sorted(relations):
            if name in self._views:
                bypass_reason = self._views.bypass_reason(name)
                if bypass_reason is not None:
                    return bypass_reason
                if any(one is not None and self.reads_clock(one, relations) for one in self._views.statements(name)):
                    return reasons.CLOCK
        return self._bypass_reason

    def called(self, statement: Statement) -> frozenset[str]:
        """Return the functions that a statement may call by its own words."""
        return self._functions.called(statement)

    def read_by_calls(self, calls: Iterable[str]) -> set[str]:
        """Return the relations that these functions may look into, though their answers can be cached."""
        return self._functions.read_by(calls)

    def bypass_reason_of_calls(self, calls: Iterable[str]) -> str | None:
        """Return why a result of these functions cannot be cached, or None if they are repeatable."""
        return self._functions.bypass_reason(calls)

    def uncacheable_calls(self, statement: Statement) -> tuple[str, ...]:
        """Return the functions and operators that a statement calls and whose results are not repeatable, sorted."""
        return tuple(name for name in sorted(self.called(statement)) if self.bypass_reason_of_calls({name}) is not None)

    def reads_clock(self, statement: Statement, relations: Iterable[str]) -> bool:
        """Return whether a time of day in these relations could become one of today, or text be read as a date."""
        if statement.date_conversions and not statement.date_conversions <= self._untexted:
            return True
        if statement.time_conversions is None:
            return False
        if statement.time_conversions.always:
            return True
        if not self._times:
            return False
        return statement.time_conversions.includes(frozenset().union(*(self._times.get(one, ()) for one in relations)))

    # Rows ---------------------------------------------------------------------------

    def row_keys(self, relation: str) -> RowKeys | None:
        """Return the columns that identify the rows of a relation; None: it is no table, or they are not known."""
        return self._keys.get(relation)

    def writes_itself(self, relation: str) -> bool:
        """Return whether a write to a relation can set off another write to it.

        By a foreign key to itself with an action, by a trigger or a rule, by other relations that these change, or by
        code that cannot be read.
        """
        set_off = self._at_once(relation) | self._reach.children.get(relation, set())
        set_off |= self._reach.parents.get(relation, set())
        return EPOCH in set_off or not self.written(set_off).isdisjoint({relation, EPOCH})

    # Schema changes -------------------------------------------------------------------

    @property
    def schema_changes_run_code(self) -> bool:
        """Whether a schema change may change any row: also one of temporary objects."""
        return self._schemas.run_code

    def changed_by(self, change: SchemaChange) -> StatementChanges | None:
        """Return what a schema change invalidates; None: everything."""
        return self._schemas.changed_by(change, self._index)

    # Writing ------------------------------------------------------------------------

    def written(self, relations: Iterable[str]) -> frozenset[str]:
        """Return what a write to these may change by cascades, triggers, rules and partitions, at any depth."""
        return frozenset().union(*(self._closure(relation) for relation in relations))

    def effects_of_reading(self, relations: Iterable[str]) -> set[str]:
        """Return what the functions in the views among these relations may change by their own statements."""
        found: set[str] = set()
        for relation in self.read(relations):
            if relation in self._views:
                for statement in self._views.statements(relation):
                    if statement is not None:
                        found |= self.effects_of_calls(self.called(statement))
        return found

    def effects_of_calls(self, calls: Iterable[str]) -> set[str]:
        """Return what calls of these functions may change by their own statements."""
        calls = set(calls)
        elsewhere = self._called_elsewhere(calls)
        found = self._changed_by(self._functions.codes(calls)) | elsewhere
        return found | ALL_ROWS_AND_SCHEMA if elsewhere or not RUN_SQL.isdisjoint(calls) else found

    def _called_elsewhere(self, calls: Iterable[str]) -> set[str]:
        """Return what stands for the databases whose functions are called."""
        return self._other_databases.named({call.partition(".")[0] for call in calls if "." in call})

    def other_databases(self, names: frozenset[str]) -> set[str]:
        """Return what stands for the other databases among these folded identifiers."""
        return self._other_databases.named(names)

    def all_other_databases(self) -> set[str]:
        """Return what stands for all databases that a statement of this one can reach."""
        return self._other_databases.all_reached()

    # The session --------------------------------------------------------------------

    def calls_set_session(self, calls: Iterable[str]) -> bool:
        """Return whether one of these functions could change settings of the session."""
        calls = set(calls)
        if self._called_elsewhere(calls) or not RUN_SQL.isdisjoint(calls):
            return True
        return self._functions.sets_session(self._functions.codes(calls))

    def reading_sets_session(self, relations: Iterable[str]) -> bool:
        """Return whether a view among these relations could change settings of the session."""
        return any(
            statement is not None and (statement.session is not None or self.calls_set_session(self.called(statement)))
            for relation in self.read(relations)
            if relation in self._views
            for statement in self._views.statements(relation)
        )

    def writing_sets_session(self, relations: Iterable[str]) -> bool:
        """Return whether a trigger of one of these relations could change settings of the session."""
        codes = [code for relation in relations for code in self._reach.codes.get(relation, ())]
        return bool(codes) and self._functions.sets_session(codes)

    # Step by step, for people ---------------------------------------------------------

    def read_at_once(self, relation: str) -> Iterator[tuple[bool, set[str]]]:
        """Yield, for each query behind a relation, whether it is the view's own or a policy's, and what it names."""
        return self._views.at_once(relation) if relation in self._views else iter(())

    def is_view(self, relation: str) -> bool:
        return self._views.is_view(relation)

    def bound_to(self, relation: str) -> set[str]:
        """Return the relations that change with this one: by a cascading foreign key, as parts of a virtual table."""
        return self._reach.others.get(relation, set())

    def children(self, relation: str) -> set[str]:
        """Return the relations that rows written to this one may land in."""
        return self._reach.children.get(relation, set())

    def parents(self, relation: str) -> set[str]:
        """Return the relations of which this one's rows are rows as well."""
        return self._reach.parents.get(relation, set())

    def set_off(self, relation: str) -> Iterator[tuple[str, set[str]]]:
        """Yield what a write to the relation runs, and what that may change."""
        for code in self._reach.codes.get(relation, ()):
            yield code.origin, self._changed_by([code])

    def written_at_once(self, relation: str) -> set[str]:
        """Return what a write to the relation may change at once: not in turn, and without partitions."""
        return self._at_once(relation)

    # Conclusions ----------------------------------------------------------------------

    def _closure(self, relation: str) -> frozenset[str]:
        known = self._closures.get(relation)
        if known is None:
            known = self._closures[relation] = self._reached(relation)
        return known

    def _reached(self, relation: str) -> frozenset[str]:
        """Return all that a write to the relation may change.

        Rows that are put into a partition are rows of the tables above it, and not of the partitions beside it.
        """
        found, whole, waiting = {relation}, {relation}, [(relation, True)]
        while waiting:
            current, is_whole = waiting.pop()
            below = self._at_once(current)
            if is_whole:
                below = below | self._reach.children.get(current, set())
            for other in below:
                if other not in whole:
                    whole.add(other)
                    found.add(other)
                    waiting.append((other, True))
            for parent in self._reach.parents.get(current, ()):
                if parent not in found:
                    found.add(parent)
                    waiting.append((parent, False))
        return frozenset(found)

    def _at_once(self, relation: str) -> set[str]:
        found = set(self._reach.others.get(relation, ()))
        if self._views.is_view(relation):
            # A write through a view changes what is under it.
            found |= self._views.under(relation)
            for statement in self._views.statements(relation):
                elsewhere = set() if statement is None else self._other_databases.named(statement.names)
                if statement is None or elsewhere:
                    found |= elsewhere | {EPOCH}
        return found | self._changed_by(self._reach.codes.get(relation, ()))

    def _changed_by(self, codes: Iterable[Code]) -> set[str]:
        """Return the relations that code names, itself or through the functions that it calls."""
        found: set[str] = set()
        codes = self._functions.all_codes(codes)
        moves = any(map(self._sets_path, codes))
        for code in codes:
            stored = self._functions.stored(code)
            if _is_opaque(code, stored):
                return set(ALL_ROWS_AND_SCHEMA) | self._other_databases.all_reached()
            if stored is None:
                continue
            if not code.reads:
                lookup = self._looked_up_by(code, moves=moves)
                named = lookup.named(stored.names)
                if lookup.is_anywhere and self._schemas.are_partial and not stored.names.isdisjoint(_WRITES):
                    found.add(EPOCH)  # the relation may lie in a schema that was not read
                found |= self._reach.emptied_with(named) if stored.cascades else named
                if stored.cascades and self._schemas.are_partial:
                    found.add(EPOCH)  # tables of other schemas may refer to these
            elsewhere = self._other_databases.named(stored.qualifiers)
            if elsewhere:
                # What is set off there is not known, and could come back here.
                found |= elsewhere | {EPOCH}
        return found

    def _looked_up_by(self, code: Code, *, moves: bool) -> Lookup:
        """``moves``: may this code, or code that runs with it, set the search path?"""
        if code.fixed:
            return Lookup(self._index, None if self._sets_path(code) else code.path)
        return Lookup(self._index) if moves else self._lookup

    def _sets_path(self, code: Code) -> bool:
        """Return whether code may change where names are looked up."""
        stored = self._functions.stored(code)
        if stored is None or stored.names.isdisjoint(_SETS_PATH):
            return False
        if not stored.names.isdisjoint(_SETS_PATH - {"set_config"}):
            return True
        text = (code.text or "").lower()
        return text.count("set_config") != len(_SETS_CUSTOM.findall(text))


def _is_opaque(code: Code, stored: StoredCode | None) -> bool:
    """Return whether code may change anything, as far as is known."""
    if code.believed:
        return False
    if stored is None:
        return True
    # SQL that is put together at run time can call anything, even from where nothing may be changed.
    return stored.runs or not (code.reads or stored.names.isdisjoint(CHANGES_SCHEMA))


#: Identifiers with which code can change where names are looked up
_SETS_PATH = frozenset({"search_path", "set_config", "schema"})
#: A call that sets something of the application's own
_SETS_CUSTOM = re.compile(r"\bset_config\s*\(\s*'\w+\.\w+'\s*,")
#: Words without which code changes no rows by its own statements
_WRITES = WRITING_WORDS | {"copy", "truncate", "refresh", "replace"}


def reach_of(facts: Facts) -> Reach:
    """Return what the facts say of writes, by relation."""
    reach = Reach()
    for name, other in facts.reaches:
        reach.others.setdefault(name, set()).add(other)
    for name, other in facts.references:
        reach.references.setdefault(name, set()).add(other)
    for parent, child in facts.inherits:
        reach.children.setdefault(parent, set()).add(child)
        reach.parents.setdefault(child, set()).add(parent)
    for name, code in facts.bodies:
        reach.codes.setdefault(name, []).append(code)
    return reach
