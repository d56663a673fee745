"""Recorded statements, analysed and held against what the witnesses say of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ormcache import reasons
from ormcache.catalog import EPOCH
from ormcache.sql import Effect, Statement, analyse
from tests.oracle import grammar
from tests.oracle.judge import against_grammar, against_tables, bare_names, may_be_kept
from tests.oracle.recordings import Recorded


@dataclass
class Report:
    statements: int = 0
    #: of those, what no witness said anything about
    unseen: int = 0
    #: reads that may be kept, of which ormcache knows exactly the relations that the witness names
    exact: int = 0
    #: (text, relations that ormcache takes to be read as well)
    extra: list[tuple[str, list[str]]] = field(default_factory=list)
    #: (text, what is wrong)
    misses: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.exact} exact, {len(self.extra)} extra, {len(self.misses)} misses"
        lines = [f"{self.statements} statements, {self.unseen} unseen, {counts}"]
        lines += [f"   miss: {miss}\n      {text[:1000]}" for text, miss in self.misses]
        lines += [f"   extra: {', '.join(names)}\n      {text[:300]}" for text, names in self.extra[:3]]
        return "\n".join(lines)

    def compare(self, text: str, told: Iterable[str], known: Iterable[str]) -> None:
        more = sorted(set(known) - set(told))
        if more:
            self.extra.append((text, more))
        else:
            self.exact += 1


def texts(recorded: Iterable[Recorded], analyse: Callable[[str, str], Statement] = analyse) -> Report:
    """By the text alone: without a catalog, so that what lies under a view or behind a trigger is no matter."""
    report = Report()
    for one in recorded:
        report.statements += 1
        statement = analyse(one.sql, one.vendor)
        told: set[str] | None = None
        misses: list[str] = []
        parsed = grammar.parse(one.sql, formatted=one.formatted) if one.vendor == "postgresql" else None
        if parsed is not None:
            misses += against_grammar(statement, parsed)
            told = {name for _, name in parsed.relations}
        if one.direct is not None:
            misses += against_tables(statement, one.direct)
            told = set().union(told or (), *map(bare_names, one.direct))
        if one.wrote and may_be_kept(statement):
            misses.append("it writes")
        report.misses += [(one.sql, miss) for miss in misses]
        if told is None:
            report.unseen += 1
        elif may_be_kept(statement):
            report.compare(one.sql, told, {name for _, name in statement.sources})
    return report


def plans(notes: Iterable[dict[str, Any]]) -> Report:
    """By the plans that were made when the statements ran, catalog and all."""
    report = Report()
    for note in notes:
        report.statements += 1
        plan = note.get("plan")
        # SQLite tells nothing of a text that it has compiled before.
        if plan is None or "touched" not in note or (note["vendor"] == "sqlite" and not note["touched"]):
            report.unseen += 1
            continue
        touched, written = _folded(note["touched"]), _folded(note["written"])
        relations, may_write = _folded(plan["relations"]), _folded(plan["written"])
        if plan["effect"] == Effect.READ.name and plan["bypass_reason"] is None:
            if missing := touched - relations - _folded(note.get("invalidating", ())):
                report.misses.append((note["sql"], f"reads {sorted(missing)}"))
            report.compare(note["sql"], touched, relations - _LIKE_WORDS)
        # MariaDB locks for a write what is read FOR UPDATE, and what EXPLAIN only explains.
        if EPOCH not in may_write and plan["bypass_reason"] not in (reasons.LOCKING, reasons.EXPLAIN):
            if missing := written - may_write - set(plan["temporary"]):
                report.misses.append((note["sql"], f"writes {sorted(missing)}"))
    return report


#: Tables of Django's own tests; every text "names" them
_LIKE_WORDS = frozenset({"select", "order", "where"})


def _folded(names: Iterable[str]) -> set[str]:
    return {name.lower() for name in names}
