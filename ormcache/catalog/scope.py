"""What statements mean from one standpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ormcache import reasons
from ormcache.catalog.facts import ANYTHING, EPOCH, Code
from ormcache.catalog.functions import CHANGES_SCHEMA, RUNS_TEXT, Functions
from ormcache.catalog.lookup import Index, Lookup
from ormcache.catalog.neighbours import Neighbours
from ormcache.catalog.views import Views
from ormcache.sql import Name, Statement, Stored
from ormcache.sql.vocabulary import RUN_SQL


class Reach:
    """What a write to a relation sets off in the database, by the facts."""

    def __init__(self) -> None:
        #: relation → others whose rows change with its own
        self.others: dict[str, set[str]] = {}
        #: relation → code that runs
        self.codes: dict[str, list[Code]] = {}
        #: relation → those that its rows may land in
        self.children: dict[str, set[str]] = {}
        #: relation → those that its rows are rows of as well
        self.parents: dict[str, set[str]] = {}

    def below(self, relations: Iterable[str]) -> set[str]:
        """These, and those whose rows are rows of them."""
        found = set(relations)
        waiting = [relation for relation in found if relation in self.children]
        while waiting:
            new = self.children.get(waiting.pop(), set()) - found
            found |= new
            waiting.extend(new)
        return found


class Scope:
    """A catalog as the sessions of one standpoint see it. It over-approximates:

    a name in the body of a view, a trigger or a function counts as a relation whenever there is one of that name.
    Threads share it; two of them may draw one conclusion at once.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        index: Index,
        views: Views,
        functions: Functions,
        reach: Reach,
        neighbours: Neighbours,
        times: Mapping[str, frozenset[str]],
        obstacle: str | None,
    ) -> None:
        self._index = index
        self._lookup = lookup
        self._views = views
        self._functions = functions
        self._reach = reach
        self._neighbours = neighbours
        self._times = times
        self._obstacle = obstacle
        self._closures: dict[str, frozenset[str]] = {}

    # Reading ------------------------------------------------------------------------

    def find(self, name: Name) -> list[str]:
        """The relations that a possibly qualified name can mean; none: it is not known here."""
        return self._lookup.find(name)

    def named(self, names: Iterable[str]) -> set[str]:
        """The relations that a text with these folded identifiers can name."""
        return self._lookup.named(names)

    def read(self, relations: Iterable[str]) -> set[str]:
        """These relations and all that lies under those of them that are views."""
        found = set(relations)
        for relation in list(found):
            if relation in self._views:
                found |= self._views.under(relation)
        return found

    def obstacle(self, relations: Iterable[str], listed: Callable[[str], bool]) -> str | None:
        """Why no result that depends on these may be kept, or None. ``relations``: an answer of :meth:`read`.

        ``listed``: is a relation let in although its rows may change unseen?
        """
        for name in sorted(self._reach.below(relations)):
            relation = self._index.relations.get(name)
            if relation is not None and relation.obstacle:
                if relation.obstacle != reasons.FOREIGN_TABLE or not listed(name):
                    return relation.obstacle
        for name in sorted(relations):
            if name in self._views:
                obstacle = self._views.obstacle(name)
                if obstacle is not None:
                    return obstacle
                if any(one is not None and self.reads_clock(one, relations) for one in self._views.statements(name)):
                    return reasons.CLOCK
        return self._obstacle

    def called(self, statement: Statement) -> frozenset[str]:
        """The functions that a statement may call by its own words."""
        return self._functions.called(statement)

    def obstacle_of_calls(self, calls: Iterable[str]) -> str | None:
        """Why the answers of these functions cannot be kept, or None if they are repeatable."""
        return self._functions.obstacle(calls)

    def reads_clock(self, statement: Statement, relations: Iterable[str]) -> bool:
        """MySQL: could a time of day in these relations be taken for one of today?"""
        if not self._times or statement.completed is None:
            return False
        return statement.completed.includes(frozenset().union(*(self._times.get(one, ()) for one in relations)))

    # Writing ------------------------------------------------------------------------

    def written(self, relations: Iterable[str]) -> frozenset[str]:
        """What a write to these relations may change: cascades, triggers, rules, partitions, to any depth."""
        return frozenset().union(*(self._closure(relation) for relation in relations))

    def effects_of_reading(self, relations: Iterable[str]) -> set[str]:
        """What the functions in the views among these relations may change, by their own statements."""
        found: set[str] = set()
        for relation in self.read(relations):
            if relation in self._views:
                for statement in self._views.statements(relation):
                    if statement is not None:
                        found |= self.effects_of_calls(self.called(statement))
        return found

    def effects_of_calls(self, calls: Iterable[str]) -> set[str]:
        """What calling these functions may change by their own statements, or anything."""
        calls = set(calls)
        elsewhere = self._called_elsewhere(calls)
        found = self._changed_by(self._functions.codes(calls)) | elsewhere
        return found | ANYTHING if elsewhere or not RUN_SQL.isdisjoint(calls) else found

    def _called_elsewhere(self, calls: Iterable[str]) -> set[str]:
        """What stands for the databases whose functions are called."""
        return self._neighbours.named({call.partition(".")[0] for call in calls if "." in call})

    def neighbours(self, names: frozenset[str]) -> set[str]:
        """What stands for the other databases among these folded identifiers."""
        return self._neighbours.named(names)

    def all_neighbours(self) -> set[str]:
        """What stands for all databases that a statement of this one can reach."""
        return self._neighbours.all_reached()

    # The session --------------------------------------------------------------------

    def calls_set_session(self, calls: Iterable[str]) -> bool:
        """Could one of these functions change settings of the session?"""
        calls = set(calls)
        if self._called_elsewhere(calls) or not RUN_SQL.isdisjoint(calls):
            return True
        return self._functions.sets_session(self._functions.codes(calls))

    def reading_sets_session(self, relations: Iterable[str]) -> bool:
        """Could a view among these relations change settings of the session?"""
        return any(
            statement is not None and (statement.session is not None or self.calls_set_session(self.called(statement)))
            for relation in self.read(relations)
            if relation in self._views
            for statement in self._views.statements(relation)
        )

    def writing_sets_session(self, relations: Iterable[str]) -> bool:
        """Could a trigger of one of these relations change settings of the session?"""
        codes = [code for relation in relations for code in self._reach.codes.get(relation, ())]
        return bool(codes) and self._functions.sets_session(codes)

    # Step by step, for people ---------------------------------------------------------

    def read_at_once(self, relation: str) -> Iterator[tuple[bool, set[str]]]:
        """What reading a relation reads by itself: by the query of the view that it is, or by a policy; and what."""
        return self._views.at_once(relation) if relation in self._views else iter(())

    def is_view(self, relation: str) -> bool:
        return self._views.is_view(relation)

    def bound_to(self, relation: str) -> set[str]:
        """Those whose rows change with the relation's: by a foreign key that cascades, as parts of a virtual table."""
        return self._reach.others.get(relation, set())

    def children(self, relation: str) -> set[str]:
        """Those that rows written to the relation may land in."""
        return self._reach.children.get(relation, set())

    def parents(self, relation: str) -> set[str]:
        """Those that the relation's rows are rows of as well."""
        return self._reach.parents.get(relation, set())

    def set_off(self, relation: str) -> Iterator[tuple[str, set[str]]]:
        """What a write to the relation runs, and what that may change."""
        for code in self._reach.codes.get(relation, ()):
            yield code.origin, self._changed_by([code])

    def written_at_once(self, relation: str) -> set[str]:
        """All that a write to the relation may change, without what that changes in turn, and without partitions."""
        return self._at_once(relation)

    # Conclusions ----------------------------------------------------------------------

    def _closure(self, relation: str) -> frozenset[str]:
        known = self._closures.get(relation)
        if known is None:
            known = self._closures[relation] = self._reached(relation)
        return known

    def _reached(self, relation: str) -> frozenset[str]:
        """All that a write to the relation may change.

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
                elsewhere = set() if statement is None else self._neighbours.named(statement.names)
                if statement is None or elsewhere:
                    found |= elsewhere | {EPOCH}
        return found | self._changed_by(self._reach.codes.get(relation, ()))

    def _changed_by(self, codes: Iterable[Code]) -> set[str]:
        """The relations that code names, itself or through the functions that it calls."""
        found: set[str] = set()
        for code in self._functions.all_codes(codes):
            stored = self._functions.stored(code)
            if _is_opaque(code, stored):
                return set(ANYTHING) | self._neighbours.all_reached()
            if stored is None:
                continue
            if not code.reads:
                found |= self._looked_up_by(code, stored.names).named(stored.names)
            elsewhere = self._neighbours.named(stored.qualifiers)
            if elsewhere:
                # What is set off there is not known, and could come back here.
                found |= elsewhere | {EPOCH}
        return found

    def _looked_up_by(self, code: Code, names: frozenset[str]) -> Lookup:
        if not names.isdisjoint(_SETS_PATH):
            return Lookup(self._index)
        return Lookup(self._index, code.path) if code.fixed else self._lookup


def _is_opaque(code: Code, stored: Stored | None) -> bool:
    """Could it change anything, for all that can be told?"""
    if code.believed:
        return False
    if stored is None:
        return True
    # SQL that is put together at run time can call anything, even from where nothing may be changed.
    return not stored.names.isdisjoint(RUNS_TEXT | RUN_SQL | (frozenset() if code.reads else CHANGES_SCHEMA))


#: Identifiers with which code can change where names are looked up
_SETS_PATH = frozenset({"search_path", "set_config", "schema"})


def reach_of(
    reaches: Iterable[tuple[str, str]], inherits: Iterable[tuple[str, str]], bodies: Iterable[tuple[str, Code]]
) -> Reach:
    """The facts of the same names, by relation."""
    reach = Reach()
    for name, other in reaches:
        reach.others.setdefault(name, set()).add(other)
    for parent, child in inherits:
        reach.children.setdefault(parent, set()).add(child)
        reach.parents.setdefault(child, set()).add(parent)
    for name, code in bodies:
        reach.codes.setdefault(name, []).append(code)
    return reach
