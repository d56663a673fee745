"""Conditions by chance, as text whose parts are put side by side: how it is read is the database's own affair.

They are on a table ``r`` with the columns ``id``, ``a`` and ``b``, small integers, and ``s``, a short text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

COLUMNS = ("id", "a", "b", "s")
VALUES = (None, 0, 1, 2, 3)
TEXTS = ("x", "y", "X", "")

_QUOTE = {"postgresql": '"', "sqlite": '"', "mysql": "`"}

_PLAIN = ["A = N", "A = N", "N = A", "A IN (N, N)"]
#: Pieces of conditions that look like a comparison, or hide one; ``A`` and ``B`` stand for columns, ``N`` for a value
_ALL = """
    (A = N)
    ((A = N))
    A IN (N, N)
    A IN (N)
    A NOT IN (N, N)
    A IN (N, B)
    A IN (N, N + 1)
    A = B
    A = N + 0
    A + 0 = N
    - A = N
    A = - N
    A = -1
    A <> N
    A >= N
    A BETWEEN N AND N
    A NOT BETWEEN N AND N
    A BETWEEN N AND B
    A IS NULL
    A IS NOT NULL
    A = NULL
    A IN (N, NULL)
    NOT A = N
    NOT (A = N)
    NOT (A = N AND B = N)
    NOT (A = N OR B = N)
    (A = N OR B = N)
    (A = N AND B = N)
    (A, B) = (N, N)
    (A, B) IN ((N, N), (N, N))
    (A) = N
    A = (N)
    CASE WHEN A = N AND B = N THEN 1 = 1 ELSE 1 = 0 END
    CASE A WHEN N THEN 1 ELSE 0 END = 1
    coalesce(A, N) = N
    abs(A) = N
    (A = N) = (B = N)
    s = 'x'
    'x' = s
    s IN ('x', 'y')
    s LIKE 'x'
    s LIKE 'x' ESCAPE '!'
    s = 'x' || ''
    1 = 1
""".strip().splitlines()
_OF = {
    "postgresql": """
        A = ANY (ARRAY[N, N])
        A IS NOT DISTINCT FROM N
        A = N IS TRUE
        A::integer = N
        A = N::integer
        s = 'x' COLLATE "C"
        s COLLATE "C" = 'x'
        A BETWEEN SYMMETRIC N AND N
        s = E'x'
        A OPERATOR(pg_catalog.=) N
        A @> N
        ROW(A, B) = ROW(N, N)
        A = N ISNULL
        (SELECT N) = A
    """.strip().splitlines(),
    "mysql": """
        A <=> N
        A = N = N
        A = N IS TRUE
        A = N || B = N
        A = N && B = N
        A = N XOR B = N
        ! A = N
        BINARY s = 'x'
        s = BINARY 'x'
        s = _utf8mb4'x'
        s = "x"
        A DIV N = N
        A = TRUE
        A
        NOT A
        A BETWEEN N AND B BETWEEN N AND N
        A = N BETWEEN N AND N
        s COLLATE utf8mb4_bin = 'x'
        A = 0x01
        A = '1'
    """.strip().splitlines(),
    "sqlite": """
        A == N
        A = N = N
        A IS N
        A IS NOT N
        A = N IS TRUE
        A = TRUE
        A
        NOT A
        A = N COLLATE NOCASE
        s = 'x' COLLATE NOCASE
        s COLLATE NOCASE = 'x'
        A BETWEEN N AND B BETWEEN N AND N
        A BETWEEN B BETWEEN N AND N AND N
        A = N BETWEEN N AND N
        A IN ()
        A = N ISNULL
        A = N NOTNULL
        s = "x"
        s = x'78'
        A = 0x1
        A = 1.0
        A = '1'
        A IN (SELECT a FROM r)
    """.strip().splitlines(),
}
PIECES = {vendor: [piece.strip() for piece in _ALL + pieces] for vendor, pieces in _OF.items()}
_LINKS = {
    "postgresql": ["AND", "AND", "AND", "OR"],
    "mysql": ["AND", "AND", "AND", "OR", "XOR", "||", "&&"],
    "sqlite": ["AND", "AND", "AND", "OR"],
}


class Conditions:
    """Makes conditions for one vendor, and collects the values that go with their placeholders."""

    def __init__(self, vendor: str, chance: random.Random, *, placeholders: float = 0.5) -> None:
        """``placeholders``: how many of the values are passed beside the text, from 0 to 1."""
        self.vendor = vendor
        self._placeholders = placeholders
        self.values: list[int] = []
        self._chance = chance

    def text(self, depth: int = 2) -> str:
        """Return a condition, and add its values, in the order of its placeholders."""
        return "".join(self._filled(letter) for letter in self._shape(depth))

    def _shape(self, depth: int) -> str:
        parts = [self._part(depth) for _ in range(self._chance.choice([1, 1, 2, 2, 3, 4]))]
        found = parts[0]
        for part in parts[1:]:
            found += f" {self._chance.choice(_LINKS[self.vendor])} {part}"
        return found

    def _part(self, depth: int) -> str:
        roll = self._chance.random()
        if depth > 0 and roll < 0.15:
            return f"({self._shape(depth - 1)})"
        if depth > 0 and roll < 0.2:
            return f"NOT ({self._shape(depth - 1)})"
        if depth > 0 and roll < 0.23:
            return f"NOT {self._shape(depth - 1)}"
        # "ª" and "º" stand for what is filled in, because no piece has them
        piece = self._chance.choice(_PLAIN if roll > 0.7 else PIECES[self.vendor])
        return "".join({"A": "ª", "B": "ª", "N": "º"}.get(word, word) for word in _words(piece))

    def _filled(self, letter: str) -> str:
        if letter == "ª":
            return self._column()
        if letter == "º":
            value = self._chance.choice([0, 1, 2, 3])
            if self._chance.random() >= self._placeholders:
                return str(value)
            self.values.append(value)
            return "%s"
        return letter

    def _column(self) -> str:
        name, quote = self._chance.choice(("a", "b", "id")), _QUOTE[self.vendor]
        shown: list[Callable[[], str]] = [
            lambda: name,
            lambda: f"{quote}{name}{quote}",
            lambda: f"{quote}r{quote}.{quote}{name}{quote}",
            lambda: f"r.{name}",
        ]
        return self._chance.choice(shown)()


_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|%s|\w+|::|<=>|<>|>=|==|\|\||&&|\S")
_PUT_IN = ["NOT", "AND", "OR", "(", ")", "=", "BETWEEN", "a", "1", "IS NULL", "IN (1)", "= 1", ","]


def mutated(text: str, chance: random.Random) -> str:
    """Return a statement or a condition with a few tokens lost, doubled, swapped, or put in."""
    tokens = _TOKEN.findall(text)
    for _ in range(chance.choice([1, 1, 2, 3])):
        at, other = sorted(chance.randrange(len(tokens)) for _ in range(2))
        match chance.randrange(6):
            case 0 if len(tokens) > 3:
                del tokens[at : at + chance.randint(1, 2)]
            case 1:
                tokens[at:at] = tokens[other : other + chance.randint(1, 6)]
            case 2:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens.insert(at, chance.choice(_PUT_IN))
            case 4:
                tokens[at : other + 1] = ["(", *tokens[at : other + 1], ")"]
            case 5:
                tokens[at] = chance.choice(_PUT_IN)
    return " ".join(tokens)


def _words(piece: str) -> list[str]:
    """Cut a piece so that single letters stand alone: A, B and N, outside of longer words and quotes."""
    found, at = [], 0
    while at < len(piece):
        end = at + 1
        if piece[at].isalpha() or piece[at] == "_":
            while end < len(piece) and (piece[end].isalnum() or piece[end] == "_"):
                end += 1
        found.append(piece[at:end])
        at = end
    return found


def schema(vendor: str) -> list[str]:
    """Statements that make the table and its rows."""
    quote = _QUOTE[vendor]
    text = "varchar(9) COLLATE utf8mb4_bin" if vendor == "mysql" else "varchar(9)"
    found = [
        f"CREATE TABLE {quote}r{quote} (id integer NOT NULL PRIMARY KEY, a integer NULL, b integer NULL, s {text} NULL)"
    ]
    rows = [(a, b, s) for a in VALUES for b in VALUES for s in (*TEXTS, None)]
    for number, row in enumerate(rows):
        shown = ["NULL" if value is None else repr(value) for value in row]
        found.append(f"INSERT INTO {quote}r{quote} (id, a, b, s) VALUES ({number - 2}, {', '.join(shown)})")
    return found


def rows() -> list[dict[str, int | str | None]]:
    """Return the rows that :func:`schema` makes."""
    found = [(a, b, s) for a in VALUES for b in VALUES for s in (*TEXTS, None)]
    return [{"id": number - 2, "a": a, "b": b, "s": s} for number, (a, b, s) in enumerate(found)]
