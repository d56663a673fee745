"""Words for what an explanation is made of."""

from __future__ import annotations

from ormcache.catalog import EPOCH, SCHEMA, split_neighbour
from ormcache.catalog import causes as c
from ormcache.catalog.causes import Cause

EVERYTHING = "everything"
KNOWN_SCHEMA = "the schema"

#: Kind of cause → why the relation is there; what it names is put in
_TEXTS = {
    c.NAMED: "named in the text",
    c.WORD: "a word of the text is its name",
    c.VIEW: "under the view {by}",
    c.POLICY: "a row-level policy of {by} names it",
    c.FOREIGN_KEY: "changes with {by}, by a foreign key that cascades or as a part of a virtual table",
    c.PARTITION: "rows of {by} may be in it: a partition, or a table that inherits",
    c.PARENT: "rows of {by} are rows of it: a partition, or a table that inherits",
    c.FUNCTION: "the function {by}() is called",
    c.READ_CODE: "a function in a view that is read",
    c.STATEMENT: "the statement may change anything",
    c.UNKNOWN: "{by} is written, which is not known here",
    c.ELSEWHERE: "the statement may reach that database",
}


def relation_named(relation: str) -> str:
    """A relation, or what stands for more than one, as people call it."""
    database, name = split_neighbour(relation)
    told = {EPOCH: EVERYTHING, SCHEMA: KNOWN_SCHEMA}.get(name, name)
    return told if database is None else f"{told} of the database {database}"


def cause_told(cause: Cause | None) -> str:
    """Why a relation is there."""
    if cause is None:
        return "the catalog has not been read"
    if cause.kind == c.CODE:
        return f"{cause.code or 'code of the database'} runs when {relation_named(cause.by or '')} is written"
    return _TEXTS[cause.kind].format(by=relation_named(cause.by or ""))


def epoch_told() -> str:
    """Why every result depends on everything."""
    return "every result does: what could change anything retires all"
