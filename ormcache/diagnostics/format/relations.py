"""Relations, and the causes for which a plan has them, in words."""

from __future__ import annotations

from ormcache.catalog import EPOCH, SCHEMA, is_of_schema, split_database
from ormcache.catalog import provenance as c
from ormcache.catalog.provenance import Cause

EVERYTHING = "everything"
WHOLE_SCHEMA = "the schema"

#: Kind of cause → why the relation is in the plan; {by} is the relation or function that leads to it
_CAUSES = {
    c.NAMED: "the statement names it",
    c.WORD: "its name is a word of the statement",
    c.VIEW: "the view {by} reads it",
    c.POLICY: "a row-level security policy of {by} reads it",
    c.FOREIGN_KEY: "it changes with {by}: a foreign key that cascades, or part of the same virtual table",
    c.PARTITION: "it may have rows of {by}: as a partition, or by inheritance",
    c.PARENT: "rows of {by} are rows of it: as its partition, or by inheritance",
    c.FUNCTION: "the function {by}() is called",
    c.READ_CODE: "a function in a view is called",
    c.STATEMENT: "the statement may change anything",
    c.UNKNOWN: "{by} is written, which is unknown here",
    c.ELSEWHERE: "the statement may reach that database",
}


def display_name(relation: str) -> str:
    """Return the name of a relation as people read it: ``"everything"`` for the epoch."""
    database, name = split_database(relation)
    shown = {EPOCH: EVERYTHING, SCHEMA: WHOLE_SCHEMA}.get(name, name)
    if is_of_schema(name):
        shown = f"{WHOLE_SCHEMA} {name.partition(' ')[2]}"
    return shown if database is None else f"{shown} of the database {database}"


def describe_cause(cause: Cause | None) -> str:
    """Return why a plan has a relation. None: the catalog could not be read."""
    if cause is None:
        return "the catalog has not been read"
    if cause.kind == c.CODE:
        return f"{cause.code or 'code of the database'} runs when {display_name(cause.by or '')} is written"
    return _CAUSES[cause.kind].format(by=display_name(cause.by or ""))


def describe_pseudo_relation(relation: str) -> str:
    """Return why a result depends on what stands for more than a relation: the epoch, or a schema."""
    if is_of_schema(relation):
        return "names are looked up there, so that a schema change in it may change what they mean"
    return "every result does: a statement with an unknown effect invalidates them all"
