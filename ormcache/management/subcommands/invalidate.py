"""``manage.py ormcache invalidate``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import connections
from rich.table import Table
from rich.text import Text

from ormcache.control import Retired, UnknownTable, retire
from ormcache.insight.explaining import near, reason_of
from ormcache.insight.wording import relation_named
from ormcache.management.common import add_json, add_using, aliases_of, did_you_mean, reaching
from ormcache.management.output import Output

HELP = """Retires cached results, after a write that ormcache could not see.

All that depend on the named models, apps or tables, or, without any name, everything."""


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "names", nargs="*", metavar="name", help="A model (shop.Order), an app (shop.*) or a table. None: everything."
    )
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    aliases = aliases_of(options)
    obstacles = {alias: obstacle for alias in aliases if (obstacle := _obstacle(alias)) is not None}
    if len(obstacles) == len(aliases):
        told = "; ".join(f"{alias}: {reason}" for alias, reason in obstacles.items())
        raise CommandError(f"Nothing was retired, because nothing is cached here: {told}.")
    try:
        retired = retire(options["names"], options["using"])
    except UnknownTable as error:
        cached = [alias for alias in aliases if alias not in obstacles]
        raise CommandError(_unknown(error.names, cached)) from error
    if options["json"]:
        out.json({"retired": list(map(_as_json, retired)), "not_cached": obstacles})
    else:
        _show(retired, obstacles, out)
    failed = [one for one in retired if one.failed is not None]
    if failed:
        told = "; ".join(f"{one.using}: {one.failed}" for one in failed)
        raise CommandError(
            f"The store could not be told ({told}). This process tries once more as it ends; "
            "run the command again when the store answers."
        )


def _obstacle(alias: str) -> str | None:
    """Why nothing is cached on this database, or None."""
    connection: Any = connections[alias]
    with reaching(alias):
        connection.ensure_connection()
    state = connection.ormcache
    if state.known() is not None:
        return None
    reason = reason_of(state.obstacle or "no store")
    return "" if reason is None else f"{reason.name}, {reason.text}"


def _unknown(names: Sequence[str], aliases: Sequence[str]) -> str:
    """That these names mean nothing, and what they may have been meant for."""
    known = {model._meta.label for model in apps.get_models()} | {f"{app.label}.*" for app in apps.get_app_configs()}
    for alias in aliases:
        connection: Any = connections[alias]
        known |= connection.ormcache.known().relations
    told = [f"{name!r}{did_you_mean(near(name, known))}" for name in names]
    return f"No model, app or table of a cached database: {'; '.join(told)}. Nothing was retired."


def _as_json(retired: Retired) -> dict[str, Any]:
    return {
        "using": retired.using,
        "everything": "*" in retired.relations,
        "relations": retired.relations,
        "told": retired.failed is None,
    }


def _show(retired: Sequence[Retired], obstacles: Mapping[str, str], out: Output) -> None:
    table = Table("database", "retired", box=None, pad_edge=False)
    for one in retired:
        told = ", ".join(map(relation_named, sorted(one.relations)))
        table.add_row(one.using, Text(told if one.failed is None else f"NOT TOLD: {told}"))
    for alias, reason in obstacles.items():
        table.add_row(alias, Text(f"nothing: it is not cached ({reason})"))
    out.show(table)
