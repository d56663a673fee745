"""What a witness says, held against what ormcache says. Each function returns the misses, as texts."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ormcache import reasons
from ormcache.sql import Effect, Statement
from ormcache.sql.vocabulary import KEYWORDS_BEFORE_PARENTHESIS_OF
from tests.oracle.grammar import WRITES, Parsed

#: What SQL's own syntax calls, and whose answer depends on its arguments alone
_REPEATABLE_SYNTAX = frozenset(
    """
    extract timezone like_escape similar_to_escape overlaps substring btrim ltrim rtrim position overlay normalize
    is_normalized xmlexists
    """.split()
)
#: Functions that are called like keywords are found by their names, if the catalog has them
_KEYWORDS = KEYWORDS_BEFORE_PARENTHESIS_OF["postgresql"]
_STRONG = frozenset({Effect.WRITE, Effect.SCHEMA, Effect.OPAQUE})
_ANY = frozenset(Effect)
#: Kind of statement, by PostgreSQL's parser → what it may be taken for; all others change the schema
_ALLOWED = {
    **dict.fromkeys([*WRITES, "TruncateStmt", "RefreshMatViewStmt"], _STRONG),
    "TransactionStmt": frozenset({Effect.TRANSACTION, Effect.OPAQUE}),
    "VariableSetStmt": frozenset({Effect.SESSION, Effect.TRANSACTION, Effect.HARMLESS, Effect.OPAQUE}),
    "DiscardStmt": frozenset({Effect.SESSION, Effect.OPAQUE}),
    "DoStmt": frozenset({Effect.OPAQUE}),
    "CallStmt": frozenset({Effect.OPAQUE}),
    "ExecuteStmt": frozenset({Effect.OPAQUE}),
    **dict.fromkeys(
        """
        SelectStmt VariableShowStmt ExplainStmt VacuumStmt LockStmt ListenStmt UnlistenStmt NotifyStmt CheckPointStmt
        ClusterStmt ReindexStmt FetchStmt ClosePortalStmt PrepareStmt DeallocateStmt ConstraintsSetStmt CopyStmt
        DeclareCursorStmt
        """.split(),
        _ANY,
    ),
}
_SCHEMA = frozenset({Effect.SCHEMA, Effect.OPAQUE})


def may_be_kept(statement: Statement) -> bool:
    """By its text alone. Whether an unknown function may be kept is the catalog's to say."""
    return statement.effect is Effect.READ and statement.bypass_reason in (None, reasons.FUNCTION)


def against_grammar(statement: Statement, parsed: Parsed) -> list[str]:
    return list(_against_grammar(statement, parsed))


def _against_grammar(statement: Statement, parsed: Parsed) -> Iterator[str]:
    effect = statement.effect
    if effect is Effect.OPAQUE:
        return  # could be anything
    if missing := {name for _, name in parsed.relations} - may_be_relations(statement):
        yield f"relations that are no names: {sorted(missing)}"
    for kind in parsed.kinds:
        allowed = _ALLOWED.get(kind, _SCHEMA | {Effect.SESSION} if parsed.temporary else _SCHEMA)
        if effect not in allowed and (len(parsed.kinds) == 1 or effect not in _STRONG):
            yield f"{kind} taken for {effect.value}"
    if parsed.targets and effect not in _STRONG:
        yield f"a write to {sorted(parsed.targets, key=str)} taken for {effect.value}"
    if effect is Effect.WRITE and statement.targets is not None and statement.targets != parsed.targets:
        yield f"targets {_shown(statement.targets)}, not {_shown(parsed.targets)}"
    if missing := parsed.functions - statement.calls - (statement.names & _KEYWORDS) - _names_of_targets(statement):
        yield f"functions that are no calls: {sorted(missing)}"
    if may_be_kept(statement):
        if not parsed.plain:
            yield f"{parsed.kinds} taken for a plain read"
        if missing := parsed.relations - statement.sources:
            yield f"relations that are no sources: {_shown(missing)}"
        if missing := parsed.unnamed - _REPEATABLE_SYNTAX:
            yield f"functions without a name that do not keep it from the cache: {sorted(missing)}"


def may_be_relations(statement: Statement) -> frozenset[str]:
    """All names but those of columns."""
    return statement.names - {name for _, name in statement.columns}


def _names_of_targets(statement: Statement) -> set[str]:
    return {name for _, name in statement.targets or ()}


def _shown(names: Collection[tuple[str | None, str]]) -> list[str]:
    return sorted(name if schema is None else f"{schema}.{name}" for schema, name in names)


def against_tables(statement: Statement, tables: Collection[str]) -> list[str]:
    """``tables``: what the database read for this very text, without what lies under views."""
    found = []
    if statement.effect is not Effect.OPAQUE:
        if missing := {table for table in tables if not bare_names(table) & may_be_relations(statement)}:
            found.append(f"relations that are no names: {sorted(missing)}")
        sources = {name for _, name in statement.sources}
        if may_be_kept(statement) and (missing := {table for table in tables if not bare_names(table) & sources}):
            found.append(f"relations that are no sources: {sorted(missing)}")
    return found


def bare_names(table: str) -> set[str]:
    """What is called ``s.t`` is the table t of the schema s, or has a dot in its name."""
    return {table.lower(), table.lower().rpartition(".")[2]}
