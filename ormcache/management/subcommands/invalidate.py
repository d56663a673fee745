"""``manage.py ormcache invalidate``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from rich.table import Table
from rich.text import Text

from ormcache.api import InvalidatedTables, invalidate_tables
from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.explain.subject import similar_names
from ormcache.diagnostics.format.relations import display_name
from ormcache.exceptions import UnknownTable
from ormcache.management.common import add_json, add_using, aliases_of, ask_each, describe_reason, did_you_mean
from ormcache.management.output import Output
from ormcache.reasons import NO_STORE

HELP = """Invalidates cached results, after a write that ormcache could not see.

Invalidates the results that depend on the named models, apps or tables; without a name, all results."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="A model (shop.Order), an app (shop.*) or a table. Defaults to everything.",
    )
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    answers, unreachable = ask_each(aliases_of(options), _bypass_reason)
    aliases = list(answers)
    not_cached = {alias: reason for alias, reason in answers.items() if reason is not None}
    if len(not_cached) == len(aliases):
        reasons = "; ".join(f"{alias}: {reason}" for alias, reason in not_cached.items())
        raise CommandError(f"Nothing was invalidated, because nothing is cached: {reasons}.")
    try:
        invalidated = invalidate_tables(options["names"], aliases)
    except UnknownTable as error:
        cached = [alias for alias in aliases if alias not in not_cached]
        raise CommandError(_describe_unknown(error.names, cached)) from error
    if options["json"]:
        out.json({"invalidated": list(map(_as_json, invalidated)), "not_cached": not_cached})
    else:
        _show(invalidated, not_cached, out)
    if unreachable:
        raise CommandError("\n".join([*unreachable.values(), "Nothing was invalidated there."]))
    failures = "; ".join(f"{one.using}: {one.failed}" for one in invalidated if one.failed is not None)
    if failures:
        raise CommandError(
            f"The store does not answer ({failures}). This process tries once more as it ends; run the command again "
            "when the store answers."
        )


def _bypass_reason(alias: str) -> str | None:
    """Return why nothing of a database is cached, or None."""
    connection = connection_to(alias)
    connection.ensure_connection()
    state = connection.ormcache
    return None if state.known() is not None else describe_reason(state.bypass_reason or NO_STORE)


def _describe_unknown(names: Sequence[str], aliases: Sequence[str]) -> str:
    """Say that there is nothing with these names, and which similar names there are."""
    known = {model._meta.label for model in apps.get_models()} | {f"{app.label}.*" for app in apps.get_app_configs()}
    for alias in aliases:
        database = connection_to(alias).ormcache.known()
        known |= frozenset() if database is None else database.catalog_cache.relations
    unknown = "; ".join(f"{name!r}{did_you_mean(similar_names(name, known))}" for name in names)
    return f"No model, app or table of a cached database: {unknown}. Nothing was invalidated."


def _as_json(invalidated: InvalidatedTables) -> dict[str, Any]:
    return {
        "using": invalidated.using,
        "everything": "*" in invalidated.relations,
        "relations": invalidated.relations,
        "published": invalidated.failed is None,
    }


def _show(invalidated: Sequence[InvalidatedTables], not_cached: Mapping[str, str], out: Output) -> None:
    table = Table("database", "invalidated", box=None, pad_edge=False)
    for one in invalidated:
        relations = ", ".join(map(display_name, sorted(one.relations)))
        table.add_row(one.using, Text(relations if one.failed is None else f"NOT INVALIDATED: {relations}"))
    for alias, reason in not_cached.items():
        table.add_row(alias, Text(f"nothing: it is not cached ({reason})"))
    out.show(table)
