"""Which slots the results of rows hang on, and which ones writes mark: random answers and writes, without time.

Three relations: t refers to o, o to p, and t to itself. ``t#5`` is the slot of the row with that primary key, ``t.b=1``
that of arrivals: rows that come to have this value in a key column. A query is answered, statements of one transaction
run, and the query is answered again: an answer that has changed must depend on a slot that the statements mark.
:func:`explore` returns the first one that does not. The rules are those of ``docs/how-it-works.md``, "Rows".
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

Row = dict[str, Any]
Database = dict[str, dict[int, Row]]  # relation, primary key → row
Slots = frozenset[str]
Answer = list[tuple["Row | None", ...]]  # rows of t, each with those that it is joined with

#: Relation, column → the relation that it refers to, and whether the column can be NULL
REFERENCES = {
    "t": {"w": ("o", False), "n": ("o", True), "m": ("t", True)},
    "o": {"p": ("p", False), "q": ("p", True)},
    "p": {},
}
#: Key columns but the primary key, and the other ones. "u" is unique, and "A" equals "a" in it; "a", "u", "n", "m" and
#: "q" can be NULL, and are where an INSERT leaves them out; "b" has a default
KEYS = {"t": ("a", "b", "u", "w", "n", "m"), "o": ("p", "q"), "p": ()}
PLAIN = {"t": "s", "o": "v", "p": "z"}
IDS = {"t": range(1, 6), "o": range(1, 4), "p": range(1, 3)}
DEFAULT_OF_B = 0
TRANSACTIONS = 8  # that are tried with one database and query


class Rules(NamedTuple):
    """Which rules hold. Each of them switched off must lead to an answer that has changed and was not marked."""

    # Writes
    arrivals: bool = True  # INSERT and SET mark the values that come into key columns
    departures: bool = True  # UPDATE and DELETE mark that rows lose values which are not known
    bulk: bool = True  # a write by anything but primary keys is marked as one to rows that are not known
    expressions: bool = True  # ... and so does a key column that is SET to something which is not a plain value
    defaults: bool = True  # ... an INSERT that leaves a key column to a default
    cascades: bool = True  # ... and whatever a foreign key changes along with it
    # Answers by a unique key
    found: bool = True  # every value that was asked for was found
    # Complete answers
    whole: bool = True  # without other conditions, LIMIT reached, OFFSET or COUNT
    every_column: bool = True  # each compared column and value counts
    returned: bool = True  # and each row that was returned
    # Partial answers
    lost_values: bool = True  # depend on rows that lose values which are not known
    # Joins
    joined: bool = True  # each joined row that was returned counts
    whole_joins: bool = True  # a partial answer joins nothing
    nullable: bool = True  # no answer is complete with an INNER JOIN along a foreign key that can be NULL
    enforced: bool = True  # ... or along one that the database does not enforce
    alone: bool = True  # a row whose foreign key leads nowhere, though it could, is in no answer of rows
    # Values
    folded: bool = True  # values that are equal in the database have one slot
    # Transactions
    clean: bool = True  # what is read beside uncommitted writes of the same transaction is never stored


class Join(NamedTuple):
    left: int  # number of the relation that refers: 0 is t, 1 the first joined one
    column: str
    relation: str
    is_outer: bool


class Query(NamedTuple):
    """SELECT … FROM t."""

    keys: Mapping[str, frozenset[Any]]  # column → values, ANDed
    joins: tuple[Join, ...]
    condition: tuple[int, int] | None  # the plain column of the relation of this number is greater than that
    order: int | None  # by the plain column of the relation of this number
    is_count: bool
    limit: int | None
    offset: int


class Write(NamedTuple):
    relation: str
    kind: str  # INSERT, UPDATE or DELETE
    ids: frozenset[int] | None  # WHERE id IN …; None: all rows, but for ``beyond``
    values: Row  # of an INSERT, or that are SET
    beyond: int = -1  # AND the plain column is greater than this
    expression: str | None = None  # a key column that is SET to the plain column


class World(NamedTuple):
    """What differs between rounds besides queries and rows."""

    follows: bool  # whether foreign keys have ON DELETE SET NULL ("n", "q") and CASCADE ("m")
    is_enforced: bool  # does the database see to it that foreign keys lead to a row?
    names: int  # how many names there are for the values of a column: two values may have one


class Fault(NamedTuple):
    happens: str
    round: int
    before: Database
    query: Query
    writes: list[Write]
    after: Database


class Survivals(NamedTuple):
    fault: Fault | None
    by_rows: int  # answers that depend on rows
    survived: int  # of these, those that the writes have left alone


def explore(seed: int, rounds: int, rules: Rules) -> Survivals:
    """Try so many random databases and queries, each with some transactions, under these rules."""
    rng, by_rows, survived = random.Random(seed), 0, 0
    for number in range(rounds):
        world = World(rng.random() < 0.5, rng.random() < 0.7, _pick(rng, (2, 1000, 1000)))
        before, query = _some_database(rng, world), _some_query(rng)
        answer = _answer(before, query)
        depends = _depends(query, answer, rules, world)
        for _ in range(TRANSACTIONS):
            writes = [_some_write(rng) for _ in range(_pick(rng, (1, 1, 1, 2)))]
            after: Database | None = before
            for write in writes:
                after = None if after is None else _applied(after, write, world)
            if after is None:
                continue
            marks = frozenset().union(*(_marks(write, rules, world) for write in writes))
            happens = _fault(query, answer, after, depends, marks, rules, world)
            if happens is not None:
                return Survivals(Fault(happens, number, before, query, writes, after), by_rows, survived)
            if "t" not in depends:
                by_rows += 1
                survived += depends.isdisjoint(marks)
    return Survivals(None, by_rows, survived)


def _fault(
    query: Query, before: Answer, database: Database, depends: Slots, marks: Slots, rules: Rules, world: World
) -> str | None:
    """Return what is wrong if an answer has changed by statements that mark these slots."""
    after = _answer(database, query)
    if _shown(before, query) == _shown(after, query):
        return None
    if depends.isdisjoint(marks):
        can_be_committed = _is_valid(database) or not world.is_enforced
        return f"an answer from before the transaction is served {'after it' if can_be_committed else 'in it'}"
    if not rules.clean and _depends(query, after, rules, world).isdisjoint(marks):
        return "an answer that was read in the transaction is served after it was rolled back"
    return None


# What the database does ---------------------------------------------------------------------------


def _fold(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _rows(database: Database, query: Query) -> Iterator[tuple[Row | None, ...]]:
    for row in database["t"].values():
        if not all(
            row[column] is not None and _fold(row[column]) in {_fold(value) for value in values}
            for column, values in query.keys.items()
        ):
            continue
        found: list[Row | None] = [row]
        for join in query.joins:
            left = found[join.left]
            right = None if left is None else database[join.relation].get(left[join.column])
            if right is None and not join.is_outer:
                break
            found.append(right)
        else:
            if query.condition is None:
                yield tuple(found)
                continue
            at, least = query.condition
            conditional = found[at]
            if conditional is not None and conditional[PLAIN[_relation(query, at)]] > least:
                yield tuple(found)


def _relation(query: Query, at: int) -> str:
    return query.joins[at - 1].relation if at else "t"


def _answer(database: Database, query: Query) -> Answer:
    """Return the rows that are returned, or counted."""
    found = sorted(_rows(database, query), key=lambda rows: rows[0]["id"])  # type: ignore[index]
    if query.order is not None:
        at, column = query.order, PLAIN[_relation(query, query.order)]
        found.sort(key=lambda rows: -1 if (row := rows[at]) is None else row[column])
    if query.is_count:
        return found
    return found[query.offset : None if query.limit is None else query.offset + query.limit]


def _shown(answer: Answer, query: Query) -> Any:
    return len(answer) if query.is_count else answer


def _applied(database: Database, write: Write, world: World) -> Database | None:
    """Return the database after a statement; None if it fails."""
    after = {relation: {key: dict(row) for key, row in rows.items()} for relation, rows in database.items()}
    rows = after[write.relation]
    if write.kind == "INSERT":
        if write.values["id"] in rows:
            return None
        empty: Row = dict.fromkeys(KEYS[write.relation])
        rows[write.values["id"]] = empty | ({"b": DEFAULT_OF_B} if write.relation == "t" else {}) | write.values
    else:
        plain = PLAIN[write.relation]
        hit = [
            key for key, row in rows.items() if (write.ids is None or key in write.ids) and row[plain] > write.beyond
        ]
        for key in hit:
            if write.kind == "DELETE":
                _delete(after, write.relation, key, world)
                continue
            row = rows.pop(key)
            if write.expression is not None:
                row[write.expression] = row[plain]
            row.update(write.values)
            if row["id"] in rows:
                return None
            rows[row["id"]] = row
    unique = [_fold(row["u"]) for row in after["t"].values() if row["u"] is not None]
    return after if len(set(unique)) == len(unique) else None


def _delete(database: Database, relation: str, key: int, world: World) -> None:
    database[relation].pop(key, None)
    if not world.follows:
        return
    if relation == "t":
        for other in [other for other, row in database["t"].items() if row["m"] == key]:
            _delete(database, "t", other, world)
        return
    referring, column = ("t", "n") if relation == "o" else ("o", "q")
    for row in database[referring].values():
        if row[column] == key:
            row[column] = None


def _is_valid(database: Database) -> bool:
    """Return whether all foreign keys lead somewhere, which is checked at COMMIT."""
    return all(
        row[column] is None or row[column] in database[target]
        for relation, columns in REFERENCES.items()
        for column, (target, _) in columns.items()
        for row in database[relation].values()
    )


# The rules ----------------------------------------------------------------------------------------


def _slot_of_row(relation: str, key: int) -> str:
    return f"{relation}#{key}"


def _slot_of_value(relation: str, column: str, value: Any, rules: Rules, world: World) -> str:
    value = _fold(value) if rules.folded else value
    number = sum(map(ord, value)) if isinstance(value, str) else value or 0
    return f"{relation}.{column}={number % world.names}"


def _marks(write: Write, rules: Rules, world: World) -> Slots:
    relation = write.relation
    marks = {relation}
    keys = {column: value for column, value in write.values.items() if column in KEYS[relation]}
    is_known = True
    if write.kind == "INSERT":
        is_known = relation != "t" or "b" in keys or not rules.defaults
    elif write.ids is None:
        is_known = not rules.bulk
    else:
        marks |= {_slot_of_row(relation, key) for key in write.ids}
        if rules.departures:
            marks.add(f"{relation} departures")
        if (write.expression is not None and rules.expressions) or "id" in write.values:
            is_known = False
    if rules.arrivals:
        marks |= {
            _slot_of_value(relation, column, value, rules, world) for column, value in keys.items() if value is not None
        }
    if not is_known:
        marks.add(f"{relation} bulk")
    if write.kind == "DELETE" and world.follows and rules.cascades:
        reached = {"t": "t", "o": "t", "p": "o"}[relation]
        marks |= {reached, f"{reached} bulk"}
    return frozenset(marks)


def _depends(query: Query, answer: Answer, rules: Rules, world: World) -> Slots:
    table_answer = frozenset({"t", *(join.relation for join in query.joins)})
    rows = [] if query.is_count else answer
    if not query.keys or (rules.alone and not world.is_enforced and any(_leads_nowhere(row, query) for row in rows)):
        return table_answer
    slots = {"t bulk", *(f"{join.relation} bulk" for join in query.joins)}
    returned = {_slot_of_row("t", row["id"]) for row, *_ in rows if row is not None}
    if rules.joined:
        slots |= {
            _slot_of_row(join.relation, row["id"])
            for found in rows
            for join, row in zip(query.joins, found[1:], strict=True)
            if row is not None
        }

    # By a unique key
    unique = next((column for column in ("id", "u") if column in query.keys), None)
    if unique is not None and not query.is_count and not query.offset:
        wanted = {value if value is None else _fold(value) for value in query.keys[unique]}
        if wanted == {_fold(row[unique]) for row, *_ in rows if row is not None} or not rules.found:
            return frozenset(slots | returned)
    columns = [column for column in query.keys if column != "id"]
    if not columns:
        return table_answer

    # Complete, or partial
    is_complete = "id" not in query.keys and not any(_may_lose_rows(query, join, rules, world) for join in query.joins)
    if rules.whole:
        is_reached = query.limit is not None and len(rows) >= query.limit
        is_complete &= not (query.is_count or query.condition is not None or query.offset or is_reached)
    if is_complete:
        columns = columns if rules.every_column else columns[:1]
        slots |= returned if rules.returned else set()
    elif query.joins and rules.whole_joins:
        return table_answer
    else:
        columns = columns[:1]
        slots |= {"t departures"} if rules.lost_values else set()
    slots |= {_slot_of_value("t", column, value, rules, world) for column in columns for value in query.keys[column]}
    return frozenset(slots)


def _leads_nowhere(found: tuple[Row | None, ...], query: Query) -> bool:
    """Return whether a foreign key of these rows has a value, and no row that it refers to."""
    for join, row in zip(query.joins, found[1:], strict=True):
        left = found[join.left]
        if row is None and left is not None and left[join.column] is not None:
            return True
    return False


def _may_lose_rows(query: Query, join: Join, rules: Rules, world: World) -> bool:
    """Return whether rows can be missing because the join finds nothing to join them with."""
    if join.is_outer:
        return False
    if not world.is_enforced and rules.enforced:
        return True
    is_nullable = REFERENCES[_relation(query, join.left)][join.column][1]
    left = join.left
    while left:  # behind an outer join a column can be NULL whatever its relation says
        is_nullable |= query.joins[left - 1].is_outer
        left = query.joins[left - 1].left
    return is_nullable and rules.nullable


# Chance -------------------------------------------------------------------------------------------


def _pick(rng: random.Random, values: Sequence[T]) -> T:
    """Return one of the values, three times as fast as ``rng.choice``."""
    return values[int(rng.random() * len(values))]


def _some_value(rng: random.Random, relation: str, column: str) -> Any:
    if column == "u":
        return _pick(rng, (None, *"aAbBcCdDeEfF"))
    target, is_nullable = REFERENCES[relation].get(column, (None, column == "a"))
    values = range(3) if target is None else IDS[target]
    return None if is_nullable and rng.random() < 0.3 else _pick(rng, values)


def _some_row(rng: random.Random, relation: str, key: int) -> Row:
    row = {column: _some_value(rng, relation, column) for column in KEYS[relation]}
    return {"id": key, **row, PLAIN[relation]: rng.randrange(3)}


def _some_database(rng: random.Random, world: World) -> Database:
    database = {
        relation: {key: _some_row(rng, relation, key) for key in rng.sample(ids, rng.randint(len(ids) // 2, len(ids)))}
        for relation, ids in IDS.items()
    }
    taken = set()
    for row in database["t"].values():
        row["u"] = None if _fold(row["u"]) in taken else row["u"]
        taken.add(_fold(row["u"]))
    if not world.is_enforced:
        return database
    for relation in ("p", "o", "t"):  # what refers to nothing is put right
        for row in database[relation].values():
            for column, (target, is_nullable) in REFERENCES[relation].items():
                if row[column] not in database[target]:
                    row[column] = None if is_nullable else next(iter(database[target]))
    return database


def _some_query(rng: random.Random) -> Query:
    keys: dict[str, frozenset[Any]] = {}
    for column in rng.sample(("id", *KEYS["t"]), _pick(rng, (0, 1, 1, 1, 1, 2, 2))):
        values = [_pick(rng, IDS["t"]) if column == "id" else _some_value(rng, "t", column) for _ in range(2)]
        keys[column] = frozenset(values[: _pick(rng, (1, 1, 2))])
    relations, joins = ["t"], []
    for _ in range(_pick(rng, (0, 0, 1, 1, 2, 3))):
        left = rng.randrange(len(relations))
        columns = REFERENCES[relations[left]]
        if columns:
            column = _pick(rng, sorted(columns))
            relations.append(columns[column][0])
            joins.append(Join(left, column, relations[-1], rng.random() < 0.5))

    def some_relation() -> int:
        return rng.randrange(len(relations))

    return Query(
        keys,
        tuple(joins),
        (some_relation(), rng.randrange(2)) if rng.random() < 0.25 else None,
        some_relation() if rng.random() < 0.3 else None,
        rng.random() < 0.15,
        _pick(rng, (None, None, 1, 2)),
        _pick(rng, (0, 0, 1)),
    )


def _some_write(rng: random.Random) -> Write:
    relation = _pick(rng, ("t", "t", "t", "o", "o", "p"))
    kind = _pick(rng, ("INSERT", "UPDATE", "UPDATE", "UPDATE", "DELETE"))
    if kind == "INSERT":
        values = _some_row(rng, relation, _pick(rng, IDS[relation]))
        values.pop(_pick(rng, ("none", "a", "b", "b", "u", "n", "m", "q")), None)
        return Write(relation, kind, None, values)
    ids = None if rng.random() < 0.2 else frozenset(rng.choices(IDS[relation], k=_pick(rng, (1, 1, 2))))
    beyond = rng.randrange(2) if rng.random() < 0.3 else -1
    if kind == "DELETE":
        return Write(relation, kind, ids, {}, beyond)
    columns = (*KEYS[relation], PLAIN[relation])
    values = {
        column: rng.randrange(3) if column == PLAIN[relation] else _some_value(rng, relation, column)
        for column in rng.sample(columns, rng.randint(1, min(3, len(columns))))
    }
    expression = None
    if rng.random() < 0.1:
        values["id"] = _pick(rng, IDS[relation])
    elif relation == "t" and rng.random() < 0.1:
        expression = _pick(rng, ("a", "b"))
        values.pop(expression, None)
    return Write(relation, kind, ids, values, beyond, expression)
