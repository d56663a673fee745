"""SELECTs by chance: subqueries at any depth in any clause, names that mislead, every way of writing them.

All tables have the columns ``a`` and ``b``, and so has every subquery, so that most of the texts are statements that
the database takes. Tables have columns that are called like keywords besides. One number makes one text.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

#: Tables that there are: names as they are, some of which need quotes. PostgreSQL folds what is not quoted.
TABLES = ["t1", "t2", "t3", "plain_name", "from", "select", "a b", "x,y", "p(q", "semi;colon", "--dashes", "as"]
#: Names that a text gives to CTEs and subqueries, tables among them
_OWN_NAMES = ["t1", "t2", "c1", "c2", "from", "x,y", "q"]

#: Further columns of tables, written without quotes behind a dot, where the database knows what is meant
_WORD_COLUMNS = {
    "postgresql": ["from", "where", "order", "set", "limit", "on", "union", "select", "table", "join"],
    "mysql": ["from", "where", "order", "set", "limit", "on", "union", "select", "table", "join"],
    "sqlite": ["offset", "window", "key", "with"],
}
#: An alias that needs neither quotes nor AS
_WORD_ALIASES = {"postgresql": ["set", "share", "rows"], "mysql": ["offset", "next"], "sqlite": ["offset", "key"]}
_INDEX_HINTS = {
    "postgresql": [],
    "mysql": ["USE INDEX (i)", "FORCE INDEX (i)", "USE INDEX FOR JOIN (i)", "IGNORE INDEX FOR ORDER BY (i)"],
    "sqlite": ["NOT INDEXED"],
}

_QUOTES = {"postgresql": ['"{}"'], "sqlite": ['"{}"', "`{}`", "[{}]", "'{}'"], "mysql": ["`{}`"]}
_SCHEMAS = {"postgresql": "public", "sqlite": "main", "mysql": None}
_COMMENTS = {
    "postgresql": ["/* FROM t3 */", "/* a /* FROM */ b */", "-- , t3\n", "--\n", "/* ' */", '/* " */'],
    "sqlite": ["/* FROM t3 */", "-- , t3\n", "--\n", "/* ' */", "/* ` [ */"],
    "mysql": ["/* FROM t3 */", "-- , t3\n", "# FROM t3\n", "/* ' */", "-- '\n"],
}
_LITERALS = {
    "postgresql": ["'FROM t3'", "''''", "'/*'", "'--'", "$$ FROM t3 $$", "$x$ '$$ $x$", "'\\'"],
    "sqlite": ["'FROM t3'", "''''", "'/*'", "'--'", "'\\'", "x'00'"],
    "mysql": ["'FROM t3'", "''''", "'/*'", "'--'", r"'\' FROM t3'", '"FROM t3"', '"\'"'],
}


@dataclass
class _Scope:
    """What a place in the text can refer to."""

    ctes: list[str] = field(default_factory=list)
    aliases: list[str] = field(default_factory=list)
    #: CTEs that are still to be made: their names would be taken for them
    coming: list[str] = field(default_factory=list)

    def inner(self) -> _Scope:
        return _Scope(list(self.ctes), list(self.aliases), list(self.coming))

    def alone(self) -> _Scope:
        """For a query that sees no columns of those around it."""
        return _Scope(list(self.ctes), [], list(self.coming))


class Generator:
    def __init__(self, vendor: str, seed: int, depth: int = 3) -> None:
        self.vendor = vendor
        self._random = random.Random(f"{vendor} {seed}")
        self._depth = depth
        self._aliases = 0
        #: aliases of tables, which have more columns than queries have
        self._tables: set[str] = set()
        self._words = list(_WORD_ALIASES[vendor])

    def text(self) -> str:
        return self._joined(self._query(self._depth, _Scope(), 2))

    # Writing it down -----------------------------------------------------------------

    def _joined(self, tokens: list[str]) -> str:
        found = ""
        for token in tokens:
            spaced = found and not (found[-1] in "(,." or token[0] in "(),.;")
            # A dot, and a parenthesis after a name, keep their sense with white space around them.
            if spaced or self._chance(0.1):
                found += self._space()
            found += self._cased(token)
        return found

    def _space(self) -> str:
        roll = self._random.random()
        if roll < 0.85:
            return " "
        if roll < 0.95:
            return self._random.choice(["\n", "\t", "  ", " \r\n "])
        return f" {self._random.choice(_COMMENTS[self.vendor])} "

    def _cased(self, token: str) -> str:
        if token.isupper() and token.isalpha() and self._chance(0.2):
            return "".join(self._random.choice([letter, letter.lower()]) for letter in token)
        return token

    def _name(self, name: str) -> str:
        safe = name.replace("_", "").isalnum() and name not in ("from", "select", "as")
        if safe and self._chance(0.5):
            if self.vendor != "mysql" and self._chance(0.3):  # MySQL's tables differ by case
                return "".join(self._random.choice([letter, letter.upper()]) for letter in name)
            return name
        return self._random.choice(_QUOTES[self.vendor]).format(name)

    # Choosing ------------------------------------------------------------------------------

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _one(self, *choices: Callable[[], list[str]]) -> list[str]:
        return self._random.choice(choices)()

    # Queries ---------------------------------------------------------------------------------

    def _query(self, depth: int, scope: _Scope, columns: int) -> list[str]:
        scope = scope.inner()
        found: list[str] = []
        if depth > 0 and self._chance(0.25):
            found += self._with(depth, scope)
        operands = 1 if depth <= 0 or self._chance(0.75) else self._random.randint(2, 3)
        alone = operands == 1
        for number in range(operands):
            if number:
                found += [self._random.choice(["UNION", "UNION ALL", "INTERSECT", "EXCEPT"])]
            parenthesised = self.vendor != "sqlite" and not alone and self._chance(0.3)
            core = self._core(depth - (not alone), scope, columns, alone)
            found += ["(", *core, ")"] if parenthesised else core
        if alone:
            return found
        if self._chance(0.3):
            found += ["ORDER BY", "1"]
        if self._chance(0.3):
            found += ["LIMIT", "5"]
        return found

    def _with(self, depth: int, scope: _Scope) -> list[str]:
        recursive = self._chance(0.4)
        found = ["WITH RECURSIVE" if recursive else "WITH"]
        # SQLite lets the queries of one WITH see each other, the others do so with RECURSIVE alone.
        together = recursive or self.vendor == "sqlite"
        names = self._random.sample(_OWN_NAMES, self._random.randint(1, 2))
        scope.ctes = [one for one in scope.ctes if not together or one not in names]
        for number, name in enumerate(names):
            found += [","] if number else []
            scope.coming = [*scope.coming, *names[number:]] if together else scope.coming
            if recursive and self._chance(0.6):
                found += self._recursive(name, depth, scope)
            else:
                listed = ["(", "a", ",", "b", ")"] if self._chance(0.3) else []
                hint = []
                if self.vendor != "mysql" and self._chance(0.2):
                    hint = [self._random.choice(["MATERIALIZED", "NOT MATERIALIZED"])]
                found += [self._name(name), *listed, "AS", *hint, "("]
                found += [*self._query(depth - 1, scope, 2), ")"]
            scope.ctes = [*scope.ctes, name]
            scope.coming = [one for one in scope.coming if one != name]
        return found

    def _recursive(self, name: str, depth: int, scope: _Scope) -> list[str]:
        shown = self._name(name)
        start = ["SELECT", "1", "AS", "a", ",", *self._expression(depth - 1, scope.alone()), "AS", "b"]
        step = ["SELECT", "r", ".", "a", "+", "1", ",", "r", ".", "b", "FROM", shown, "r"]
        if self._chance(0.5):
            table = self._table(_Scope(coming=scope.coming))
            step += ["JOIN", *table, "AS", "s", "ON", "s", ".", "a", "=", "r", ".", "a"]
        step += ["WHERE", "r", ".", "a", "<", "3"]
        return [shown, "(", "a", ",", "b", ")", "AS", "(", *start, "UNION ALL", *step, ")"]

    def _core(self, depth: int, scope: _Scope, columns: int, alone: bool) -> list[str]:
        if columns == 2 and self._chance(0.05):
            return self._values(depth, scope)
        if columns == 2 and self.vendor == "postgresql" and not self._chance(0.97):
            return ["TABLE", *self._table(scope)]
        scope = scope.inner()
        source, aliases = ([], []) if self._chance(0.08) else self._from(depth, scope)
        scope.aliases = [*scope.aliases, *aliases]
        found = ["SELECT"]
        grouped = bool(aliases) and self._chance(0.2)
        if not grouped and self._chance(0.1):
            found += ["DISTINCT"]
        distinct = found[-1] == "DISTINCT"
        windowed = bool(aliases) and not grouped and self._chance(0.1)
        window = self._name(self._random.choice(["w", "t1", "t2"]))  # SQLite compares them with their quotes
        key = self._column(aliases) if grouped else []
        for number in range(columns):
            found += [","] if number else []
            if grouped:
                found += self._one(
                    lambda: key, lambda: ["count", "(", "*", ")"], lambda: ["max", "(", *self._column(aliases), ")"]
                )
            elif windowed:
                found += ["row_number", "(", ")", "OVER"]
                found += self._one(lambda: [window], lambda: self._window(depth, scope))
            else:
                found += self._expression(depth, scope)
            found += ["AS", "ab"[number]]
        found += source
        if self._chance(0.5):
            found += ["WHERE", *self._condition(depth, scope)]
        if grouped:
            found += ["GROUP BY", *key]
            if self._chance(0.6):
                found += ["HAVING", "count", "(", "*", ")", ">", *self._scalar(depth, scope.alone())]
        if windowed:
            found += ["WINDOW", window, "AS", *self._window(depth, scope)]
        if alone and not distinct and not grouped and self._chance(0.3):
            own = _Scope(list(scope.ctes), aliases, list(scope.coming))  # SQLite sees no more there
            found += ["ORDER BY", *self._one(lambda: ["abs", "(", *self._expression(depth, own), ")"], lambda: ["1"])]
            found += [self._random.choice(["ASC", "DESC"])] if self._chance(0.5) else []
        if alone and self._chance(0.25):
            limit = ["5"]
            if self.vendor != "mysql":
                limit = self._one(lambda: ["5"], lambda: self._scalar(depth, scope.alone()))
            found += ["LIMIT", *limit]
            found += ["OFFSET", "1"] if self._chance(0.3) else []
        return found

    def _window(self, depth: int, scope: _Scope) -> list[str]:
        key = self._expression(depth - 1, scope)
        return ["(", "PARTITION BY", "abs", "(", *key, ")", "ORDER BY", *self._column(scope.aliases), ")"]

    def _values(self, depth: int, scope: _Scope) -> list[str]:
        rows = ["(", *self._expression(depth, scope), ",", *self._expression(depth, scope), ")"]
        if self.vendor == "mysql":
            return ["SELECT", "1", "AS", "a", ",", "2", "AS", "b"]
        if self.vendor == "sqlite":
            clause = ["WITH", "v", "(", "a", ",", "b", ")", "AS", "(", "VALUES", *rows, ")"]
            return ["SELECT", "*", "FROM", "(", *clause, "SELECT", "a", ",", "b", "FROM", "v", ")", "AS", "v"]
        inner = ["(", "VALUES", *rows, ")"]
        return ["SELECT", "v", ".", "a", ",", "v", ".", "b", "FROM", *inner, "AS", "v", "(", "a", ",", "b", ")"]

    # FROM ------------------------------------------------------------------------------------

    def _from(self, depth: int, scope: _Scope) -> tuple[list[str], list[str]]:
        found, aliases = self._joined_items(depth, scope, [])
        found = ["FROM", *found]
        while self._chance(0.25):
            more, others = self._joined_items(depth, scope, aliases)
            found += [",", *more]
            aliases = [*aliases, *others]
        return found, aliases

    def _joined_items(self, depth: int, scope: _Scope, before: list[str]) -> tuple[list[str], list[str]]:
        found, aliases = self._item(depth, scope, before)
        while self._chance(0.3):
            parenthesised = depth > 0 and self._chance(0.2)
            if parenthesised:
                more, others = self._joined_items(depth - 1, scope, [])
                more = ["(", *more, ")"] if len(others) > 1 else more
            else:
                more, others = self._item(depth, scope, [])
            kind = self._random.choice(["JOIN", "INNER JOIN", "LEFT JOIN", "LEFT OUTER JOIN", "CROSS JOIN"])
            if self.vendor == "mysql" and self._chance(0.2):
                kind = "STRAIGHT_JOIN"
            found = [*found, kind, *more]
            aliases = [*aliases, *others]
            if kind != "CROSS JOIN" and len(aliases) == 2 and self._chance(0.1):
                found += ["USING", "(", "a", ")"]
            elif kind != "CROSS JOIN":
                inner = scope.inner()
                # PostgreSQL and MySQL let ON see what the join joins alone.
                inner.aliases = [*scope.aliases, *aliases]
                found += ["ON", *self._condition(depth - 1, inner)]
        if len(aliases) > 1 and self._chance(0.3):
            found = ["(", *found, ")"]
        elif self.vendor != "postgresql" and self._chance(0.05):
            more, others = self._item(depth, scope, [])
            found, aliases = ["(", *found, ",", *more, ")"], [*aliases, *others]
        return found, aliases

    def _item(self, depth: int, scope: _Scope, before: list[str]) -> tuple[list[str], list[str]]:
        self._aliases += 1
        alias = f"x{self._aliases}"
        shown = self._name(alias)
        named = ["AS", shown] if self._chance(0.7) else [shown]
        if self._words and self._chance(0.03):
            shown = alias = self._words.pop()
            named = [shown]
        if self.vendor == "postgresql" and depth > 0 and self._chance(0.04):
            rows = ["generate_series", "(", "1", ",", *self._scalar(depth, scope.alone()), ")"]
            return ["ROWS", "FROM", "(", *rows, ",", *rows, ")", *named, "(", "a", ",", "b", ")"], [alias]
        if depth > 0 and self._chance(0.3):
            lateral = self.vendor == "postgresql" and self._chance(0.2)
            inner = scope.inner()
            if self.vendor != "mysql" and not lateral:
                inner.aliases = list(scope.aliases)
            if self.vendor == "mysql":
                inner.aliases = []
            if lateral:
                inner.aliases = [*scope.aliases, *before]
            query = ["(", *self._query(depth - 1, inner, 2), ")"]
            if self.vendor != "sqlite" and self._chance(0.05):
                query = ["(", *query, ")"]
            return [*(["LATERAL"] if lateral else []), *query, *named], [alias]
        table = self._table(scope)
        hint: list[str] = []
        if "." in table or not any(table[-1].strip("\"`[]'").lower() == cte for cte in scope.ctes):
            self._tables.add(alias)
            if _INDEX_HINTS[self.vendor] and self._chance(0.08):
                hint = self._random.choice(_INDEX_HINTS[self.vendor]).split(" ")
        return [*table, *named, *hint], [alias]

    def _table(self, scope: _Scope) -> list[str]:
        name = self._random.choice([table for table in TABLES if table not in scope.coming])
        if scope.ctes and self._chance(0.5):
            return [self._name(self._random.choice(scope.ctes))]
        schema = _SCHEMAS[self.vendor]
        if schema is not None and self._chance(0.1):
            return [self._name(schema), ".", self._name(name)]
        only = ["ONLY"] if self.vendor == "postgresql" and name not in scope.ctes and self._chance(0.05) else []
        return [*only, self._name(name)]

    # Expressions -------------------------------------------------------------------------------

    def _column(self, aliases: list[str]) -> list[str]:
        if not aliases:
            return ["1"]
        alias = self._random.choice(aliases)
        column = self._random.choice("ab")
        if alias in self._tables and self._chance(0.08):
            column = self._random.choice(_WORD_COLUMNS[self.vendor])
        return [self._name(alias), ".", column]

    def _scalar(self, depth: int, scope: _Scope) -> list[str]:
        if depth <= 0:
            return ["1"]
        inner = self._query(depth - 1, scope.alone() if self.vendor == "mysql" else scope, 2)
        return ["(", "SELECT", "max", "(", "y", ".", "a", ")", "FROM", "(", *inner, ")", "AS", "y", ")"]

    def _expression(self, depth: int, scope: _Scope) -> list[str]:
        """An integer."""
        if depth <= 0 or self._chance(0.4):
            return self._one(
                lambda: self._column(scope.aliases),
                lambda: self._column(scope.aliases),
                lambda: [str(self._random.randint(0, 9))],
                lambda: ["length", "(", self._random.choice(_LITERALS[self.vendor]), ")"],
            )

        def inner() -> list[str]:
            return self._expression(depth - 1, scope)

        def condition() -> list[str]:
            return self._condition(depth - 1, scope)

        choices = [
            lambda: self._scalar(depth, scope),
            lambda: self._scalar(depth, scope),
            lambda: ["CASE", "WHEN", *condition(), "THEN", *inner(), "ELSE", *inner(), "END"],
            lambda: ["coalesce", "(", *inner(), ",", *self._scalar(depth, scope), ")"],
            lambda: [*inner(), self._random.choice(["+", "-", "*"]), *inner()],
            lambda: ["(", *inner(), ")"],
            lambda: ["abs", "(", *inner(), ")"],
            lambda: ["CAST", "(", *inner(), "AS", "decimal" if self.vendor == "mysql" else "integer", ")"],
            lambda: ["nullif", "(", *inner(), ",", *inner(), ")"],
        ]
        if self.vendor == "postgresql":
            choices += [
                lambda: ["(", *inner(), ")", "::", "integer"],
                lambda: ["array_length", "(", "ARRAY", "(", *self._query(depth - 1, scope, 1), ")", ",", "1", ")"],
                lambda: ["extract", "(", "year", "FROM", "DATE", "'2020-01-01'", ")", "::", "integer"],
                lambda: ["length", "(", "substring", "(", "'abc'", "FROM", *inner(), ")", ")"],
                lambda: ["length", "(", "trim", "(", "BOTH", "'x'", "FROM", "'abc'", ")", ")"],
            ]
        if self.vendor == "mysql":
            choices += [
                lambda: ["extract", "(", "year", "FROM", "'2020-01-01'", ")"],
                lambda: ["length", "(", "trim", "(", "BOTH", "'x'", "FROM", "'abc'", ")", ")"],
                lambda: ["IF", "(", *condition(), ",", *inner(), ",", *inner(), ")"],
            ]
        return self._one(*choices)

    def _condition(self, depth: int, scope: _Scope) -> list[str]:
        def inner() -> list[str]:
            return self._expression(depth - 1, scope)

        if depth <= 0:
            return [*inner(), self._random.choice(["=", "<", "<>", ">="]), *inner()]

        def condition() -> list[str]:
            return self._condition(depth - 1, scope)

        def query(columns: int = 1) -> list[str]:
            # MySQL takes no LIMIT in a subquery of IN.
            if self.vendor == "mysql":
                one = ["SELECT", "z", ".", "a", *([",", "z", ".", "b"] if columns == 2 else []), "FROM"]
                return ["(", *one, "(", *self._query(depth - 1, scope.alone(), 2), ")", "AS", "z", ")"]
            return ["(", *self._query(depth - 1, scope, columns), ")"]

        choices = [
            lambda: [*inner(), "=", *inner()],
            lambda: ["EXISTS", *query()],
            lambda: ["NOT", "EXISTS", *query()],
            lambda: [*inner(), "IN", *query()],
            lambda: [*inner(), "NOT IN", *query()],
            lambda: ["(", *inner(), ",", *inner(), ")", "IN", *query(2)],
            lambda: [*inner(), "IN", "(", *inner(), ",", *inner(), ")"],
            lambda: [*inner(), "BETWEEN", *inner(), "AND", *inner()],
            lambda: ["(", *inner(), ",", *inner(), ")", "=", *query(2)],
            lambda: ["(", *condition(), "OR", *condition(), ")"],
            lambda: ["(", *condition(), "AND", *condition(), ")"],
            lambda: ["NOT", "(", *condition(), ")"],
            lambda: ["(", *inner(), ")", "IS", "NOT NULL"],
        ]
        if self.vendor != "sqlite":
            choices += [lambda: [*inner(), self._random.choice(["= ANY", "> ALL", "<> SOME"]), *query()]]
        if self.vendor != "mysql":
            choices += [lambda: ["(", *inner(), ")", self._random.choice(["IS", "IS NOT"]), "DISTINCT FROM", *inner()]]
        if self.vendor == "postgresql":
            choices += [lambda: ["EXISTS", "(", "TABLE", *self._table(scope), ")"]]
        if self.vendor == "sqlite":
            # The one place outside FROM where a relation stands. It must have one column.
            choices += [lambda: [*inner(), "IN", self._name("narrow")]]
        return self._one(*choices)


def text(vendor: str, seed: int, depth: int = 3) -> str:
    return Generator(vendor, seed, depth).text()


def schema(vendor: str) -> list[str]:
    """Statements that make the tables."""
    quote = _QUOTES[vendor][0].format
    columns = ", ".join(f"{quote(name)} integer" for name in ["a", "b", *_WORD_COLUMNS[vendor]])
    found = [f"CREATE TABLE {quote(table)} ({columns})" for table in TABLES]
    if vendor == "mysql":
        found += [f"CREATE INDEX i ON {quote(table)} (a)" for table in TABLES]
    return [*found, f"CREATE TABLE {quote('narrow')} (a integer)"]
