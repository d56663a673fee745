"""``manage.py ormcache triggers``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.format.relations import display_name
from ormcache.exceptions import UnknownTable
from ormcache.management.common import add_json, add_using, aliases_of, describe_reason, reaching
from ormcache.management.output import Output
from ormcache.management.progress import with_bar
from ormcache.outside.triggers import TableTriggers, TriggerState, TriggersUnavailable, WriteTriggers
from ormcache.reasons import NO_STORE

HELP = """Installs triggers that record what other programs write, shows them, or removes them.

For writes that do not go through ormcache: psql, other services, jobs in the database. PostgreSQL, MySQL and MariaDB.
The triggers add a row to the table ormcache_outbox; a process that listens ("manage.py ormcache listen", or one of the
site's own) invalidates what depends on the table after the COMMIT. Run "install" again after migrations."""

ACTIONS = ("install", "status", "remove")

_STYLES = {
    TriggerState.CURRENT: "green",
    TriggerState.OUTDATED: "yellow",
    TriggerState.MISSING: "",
    TriggerState.SUPERFLUOUS: "cyan",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=ACTIONS, help="What to do.")
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="table",
        help="A model (shop.Order), an app (shop.*) or a table (audit_*). Defaults to all tables that may be cached.",
    )
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    aliases = aliases_of(options)
    results: list[dict[str, Any]] = []
    problems: list[str] = []
    for alias in aliases:
        try:
            with reaching(alias):
                results.append({"using": alias, **_act(alias, options, out)})
        except TriggersUnavailable as error:
            if len(aliases) == 1:
                raise CommandError(str(error)) from error
            results.append({"using": alias, "unavailable": str(error)})
        except CommandError as error:
            problems.append(str(error))
    if options["json"]:
        out.json({"databases": results})
    else:
        for result in results:
            out.show(*_drawn(result, options["action"]))
    failed = [f"{name}: {error}" for result in results for name, error in result.get("failed", {}).items()]
    if failed:
        problems.append("The triggers of these tables are as before:\n" + "\n".join(failed))
    if problems:
        raise CommandError("\n".join(problems))


def _act(alias: str, options: Mapping[str, Any], out: Output) -> dict[str, Any]:
    connection = connection_to(alias)
    connection.ensure_connection()
    database = connection.ormcache.known()
    if database is None:
        reason = describe_reason(connection.ormcache.bypass_reason or NO_STORE)
        raise CommandError(f"Nothing of the database {alias!r} is cached: {reason}.")
    if not database.catalog_cache.is_loaded:
        database.catalog_cache.load(connection)
    triggers = WriteTriggers(connection, database)
    try:
        if options["action"] == "status":
            named = set(triggers.find(options["tables"])) if options["tables"] else None
            return {
                "tables": [one for one in triggers.status() if named is None or one.relation in named],
                "recognizes_own_writes": connection.ormcache.writer_identity.is_allowed,
            }
        if options["action"] == "install":
            relations = triggers.find(options["tables"])
            changes = triggers.install(relations)
        else:
            relations = triggers.find(options["tables"]) if options["tables"] else triggers.installed()
            changes = triggers.remove(relations)
    except UnknownTable as error:
        raise CommandError(f"{alias}: {error}. Nothing was changed.") from error
    done = list(with_bar(changes, len(relations), f"{options['action']} {alias}", out))
    return {
        "changed": [change.relation for change in done if not change.error],
        "failed": {change.relation: change.error for change in done if change.error},
    }


def _drawn(result: Mapping[str, Any], action: str) -> Sequence[Table | Text | str]:
    title = Text(result["using"], style="bold")
    if "unavailable" in result:
        return [title, result["unavailable"]]
    if action == "status":
        return [title, *_status(result["tables"]), *_own_writes(result)]
    done = "installed" if action == "install" else "removed"
    return [title, *(f"{done} {display_name(name)}" for name in result["changed"]), f"{len(result['changed'])} {done}"]


def _status(tables: Sequence[TableTriggers]) -> Sequence[Table | str]:
    if not tables:
        return ["no table needs triggers"]
    table = Table("table", "triggers", box=None, pad_edge=False)
    for one in tables:
        text = f"{one.state.value}: {one.reason}" if one.reason else one.state.value
        table.add_row(Text(display_name(one.relation)), Text(text, style=_STYLES[one.state]))
    counts = Counter(one.state for one in tables)
    return [table, ", ".join(f"{counts[state]} {state.value}" for state in TriggerState if counts[state])]


def _own_writes(result: Mapping[str, Any]) -> Sequence[str]:
    if result["recognizes_own_writes"] or not any(one.state is not TriggerState.MISSING for one in result["tables"]):
        return []
    text = (
        "This connection does not lead straight to the server (a pooler, a proxy), so it must not say that it is"
        " ormcache's: its own writes are recorded too. That is right, and costs a row and an invalidation each."
    )
    return [text]
