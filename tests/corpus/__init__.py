"""The table of statements beside this file, and the database that they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ormcache import reasons
from ormcache.catalog import EPOCH
from ormcache.catalog.facts import IMMUTABLE, STABLE, VOLATILE, Code, Facts, Function, Relation
from ormcache.database.plans import Plan, Planner
from ormcache.database.row_plans import RowCatalog
from ormcache.database.table_filter import TableRules
from ormcache.sql import Effect

TABLE = Path(__file__).with_name("statements.txt")

#: What settings without a word on any table come to
RULES = TableRules(adaptive=False)

_VENDORS = {"P": "postgresql", "M": "mysql", "S": "sqlite"}
_ROW = re.compile(
    r"(?P<letters>[PMS]+) *\| (?P<kind>\w+) \| (?P<reads>.*?) \| (?P<writes>.*?) \| (?P<verdict>.*?) \| (?P<sql>.*)"
)
_ERRORS = re.compile(r"! (?P<letters>[PMS]+): ?(?P<part>.*?)(?: -- .*)?")


@dataclass(frozen=True)
class Row:
    """One statement as one vendor sees it."""

    line: int
    vendor: str
    kind: str
    reads: frozenset[str]
    writes: frozenset[str]
    verdict: str
    sql: str
    #: parts of the errors with which a real server may answer
    errors: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{TABLE.name}:{self.line}: {self.vendor}: {self.sql}"


def planner(vendor: str) -> Planner:
    """One whose slots have the names of their relations."""
    return Planner(vendor, str.encode, RULES, RowCatalog(str.encode, "auto"))


def rows() -> list[Row]:
    return list(_rows())


def _rows() -> Iterator[Row]:
    lines = TABLE.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if not line or line.startswith(("#", "!")):
            continue
        match = _ROW.fullmatch(line)
        assert match, f"{TABLE.name}:{number}: {line}"
        errors: dict[str, list[str]] = {}
        for following in lines[number:]:
            if not following.startswith("!"):
                break
            error = _ERRORS.fullmatch(following)
            assert error, f"{TABLE.name}: {following}"
            for letter in error["letters"]:
                errors.setdefault(letter, []).append(error["part"])
        for letter in match["letters"]:
            yield Row(
                number,
                _VENDORS[letter],
                match["kind"],
                _names(match["reads"]),
                _names(match["writes"]),
                match["verdict"],
                match["sql"].replace("⏎", "\n"),
                tuple(errors.get(letter, ())),
            )


def _names(column: str) -> frozenset[str]:
    return frozenset(column.split()) - {"-"}


# The database -----------------------------------------------------------------------------------

_ALIKE = "a b c d par armed fired account role data events session user order low_priority Mixed".split()
_VIEWS = {"v": "SELECT x, y FROM a", "w": "SELECT v.x FROM v JOIN c ON v.x = c.x"}
_COLUMNS = {
    "postgresql": "x integer PRIMARY KEY, y integer, t text, dt timestamp, j jsonb",
    "mysql": "x integer PRIMARY KEY, y integer, t varchar(100), dt datetime, j json",
    "sqlite": "x integer PRIMARY KEY, y integer, t text, dt text, j text",
}
#: The body of armed's trigger
_TRIGGER = "UPDATE fired SET y = 1"
_WRITES_B = "UPDATE b SET y = 1"


def facts(vendor: str) -> Facts:
    """What the catalog says, as it would be read from such a database."""
    own = {"postgresql": "public", "mysql": "main", "sqlite": "main"}[vendor]
    names = [*_ALIKE, "chi", "lot", *_VIEWS]
    relations = [Relation(name, own, name.lower()) for name in names]
    functions = []
    if vendor == "sqlite":
        relations += [Relation(name, own, name) for name in ("one", "two")]
    else:
        relations += [Relation(name, own, name) for name in ("pt", "pt0")[: 1 if vendor == "mysql" else 2]]
        kinds = {"pure": IMMUTABLE, "stable": STABLE, "wild": VOLATILE}
        if vendor == "mysql":
            kinds["pure"] = STABLE  # what it says of itself is not enforced
            relations.append(Relation("counter", own, "counter", reasons.SEQUENCE))
        functions = [
            Function(name, kind, Code(_WRITES_B if name == "wild" else "SELECT 1", reads=name != "wild"))
            for name, kind in kinds.items()
        ]
    views = dict(_VIEWS)
    inherits = []
    if vendor == "postgresql":
        relations += [Relation("m", own, "m"), Relation("s.e", "s", "e")]
        inherits = [("pt", "pt0")]
    return Facts(
        relations=relations,
        views=views,
        reaches=[("par", "chi")],
        inherits=inherits,
        bodies=[("armed", Code(_TRIGGER))],
        functions=functions,
        usable=frozenset({"public", "s"} if vendor == "postgresql" else ()),
        user="somebody",
        other_databases={"s": ["s"]} if vendor == "mysql" else {},
        untexted=frozenset({"x", "y", "dt"} if vendor == "postgresql" else ()),
    )


def schema(vendor: str) -> list[str]:
    """The statements that make such a database. MySQL's is called main, PostgreSQL's corpus."""
    quote = "`" if vendor == "mysql" else '"'
    tables = [f"CREATE TABLE {quote}{name}{quote} ({_COLUMNS[vendor]})" for name in _ALIKE]
    return [
        *tables,
        f"CREATE TABLE s.e ({_COLUMNS[vendor]})",
        "CREATE TABLE chi (x integer REFERENCES par (x) ON DELETE CASCADE)"
        if vendor != "mysql"
        else "CREATE TABLE chi (x integer, FOREIGN KEY (x) REFERENCES par (x) ON DELETE CASCADE)",
        *(f"CREATE VIEW {name} AS {query}" for name, query in _VIEWS.items()),
        "CREATE INDEX a_y ON a (y)",
        "CREATE TABLE lot (x integer PRIMARY KEY, b integer, e integer, one integer)",
        *_OWN[vendor],
        *(f"INSERT INTO {name} (x, y) VALUES ({x}, 6)" for x, name in enumerate(("a", "b", "c"), 5)),
    ]


_OWN = {
    "postgresql": [
        "CREATE MATERIALIZED VIEW m AS SELECT x FROM b",
        "CREATE TABLE pt (x integer) PARTITION BY RANGE (x)",
        "CREATE TABLE pt0 PARTITION OF pt FOR VALUES FROM (0) TO (10)",
        "CREATE SEQUENCE counter",
        f"CREATE FUNCTION written() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {_TRIGGER}; RETURN NULL; END'",
        "CREATE TRIGGER tr AFTER INSERT ON armed EXECUTE FUNCTION written()",
        "CREATE FUNCTION pure(p integer) RETURNS integer IMMUTABLE LANGUAGE sql AS 'SELECT p'",
        "CREATE FUNCTION stable(p integer) RETURNS integer STABLE LANGUAGE sql AS 'SELECT max(x) FROM a'",
        f"CREATE FUNCTION wild(p integer) RETURNS integer LANGUAGE sql AS '{_WRITES_B}; SELECT p'",
        "CREATE PROCEDURE proc() LANGUAGE sql AS 'DELETE FROM a'",
    ],
    "mysql": [
        """CREATE TABLE pt (x integer) PARTITION BY RANGE (x)
        (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)""",
        "CREATE SEQUENCE counter",
        f"CREATE TRIGGER tr AFTER INSERT ON armed FOR EACH ROW {_TRIGGER}",
        "CREATE FUNCTION pure(p integer) RETURNS integer DETERMINISTIC NO SQL RETURN p",
        "CREATE FUNCTION stable(p integer) RETURNS integer READS SQL DATA RETURN (SELECT max(x) FROM a)",
        f"""CREATE FUNCTION wild(p integer) RETURNS integer MODIFIES SQL DATA
        BEGIN {_WRITES_B}; RETURN p; END""",
        "CREATE PROCEDURE proc() DELETE FROM a",
    ],
    "sqlite": [
        f"CREATE TRIGGER tr AFTER INSERT ON armed BEGIN {_TRIGGER}; END",
        "CREATE TABLE one (x integer)",
        "CREATE TABLE two (x integer)",
    ],
}


# What is held against each other --------------------------------------------------------------------


def expected(row: Row) -> tuple[str, str, frozenset[str], frozenset[str]]:
    return row.kind, row.verdict, row.reads, row.writes


def told(plan: Plan, row: Row) -> tuple[str, str, frozenset[str], frozenset[str]]:
    """By a plan of the row's statement. What a statement reads that is no read is of no interest."""
    return (
        plan.effect.name.lower(),
        plan.bypass_reason or "kept",
        plan.relations if plan.effect is Effect.READ else frozenset(),
        frozenset({EPOCH}) if EPOCH in plan.written else plan.written,
    )
