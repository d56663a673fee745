"""``manage.py ormcache explain``."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db.models import Manager, Model
from rich.table import Table
from rich.text import Text

from ormcache import reasons
from ormcache.diagnostics.aliases import connection_to
from ormcache.diagnostics.explain.explainer import explain
from ormcache.diagnostics.explain.explanation import (
    ABSENT,
    DAMAGED,
    EMPTY,
    EXPIRED,
    INVALIDATED,
    MARKED,
    NO_QUERY,
    PROCESS,
    SERVED,
    UNAVAILABLE,
    BypassReason,
    CachedEntry,
    EntryKey,
    Explanation,
    RowDependence,
    UsedRelation,
)
from ormcache.diagnostics.explain.subject import similar_names
from ormcache.diagnostics.format.relations import display_name
from ormcache.diagnostics.format.sql import indent, truncate
from ormcache.management.common import add_json, add_using, aliases_of, ask_each, did_you_mean
from ormcache.management.formatting import named_lines
from ormcache.management.output import Output
from ormcache.sql import Effect, analyse

HELP = """Explains what ormcache makes of a query, and why. Nothing is run.

Shows whether the result is cached and, if not, why not; on which tables it depends, and why on each; and whether it is
in the cache now. For a statement that writes, shows what it invalidates."""

_NAME = re.compile(r"\w+(\.\w+)*")

#: State of an entry → in words; {by} is what has invalidated it
_ENTRIES = {
    SERVED: "in the cache; a read would hit",
    ABSENT: "not in the cache; the next read stores it",
    INVALIDATED: "in the cache, but invalidated by a write to {by}",
    MARKED: "not served at the moment: a transaction that writes to one of its tables is committing",
    EXPIRED: "in the cache, but its TIMEOUT is over",
    DAMAGED: "in the cache, but damaged; the next read replaces it",
    UNAVAILABLE: "unknown: the store does not answer",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subjects",
        nargs="+",
        metavar="query",
        help="SQL; or a model (shop.Order) or one of its managers (shop.Order.objects), whose all() is explained; or - "
        "to read SQL from standard input.",
    )
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    aliases = aliases_of(options)
    subjects = [_subject(given) for given in options["subjects"]]
    answers, unreachable = ask_each(
        aliases, lambda alias: [explain(_checked(subject, alias), alias) for subject in subjects]
    )
    found = [explanation for of_subject in zip(*answers.values(), strict=True) for explanation in of_subject]
    if options["json"]:
        out.json({"explanations": found})
    else:
        for number, explanation in enumerate(found):
            out.show(*([""] if number else []), *_drawn(explanation))
    if unreachable:
        raise CommandError("\n".join(unreachable.values()))


# Subjects --------------------------------------------------------------------------------


def _subject(given: str) -> Manager[Any] | type[Model] | str:
    """Return what an argument stands for. Raises CommandError."""
    if given == "-":
        return sys.stdin.read()
    if _NAME.fullmatch(given) is None:
        return given
    label, _, rest = given.partition(".")
    name, _, manager = rest.partition(".")
    try:
        model: type[Model] = apps.get_model(label, name)
    except (LookupError, ValueError) as error:
        if analyse(given, "postgresql").effect is not Effect.OPAQUE:
            return given  # a statement of one word
        known = {model._meta.label for model in apps.get_models()}
        similar = similar_names(given, known | {model._meta.db_table for model in apps.get_models()})
        labels = list(dict.fromkeys(map(_label_of, similar)))
        raise CommandError(f"{given!r} is neither a model nor SQL{did_you_mean(labels)}.") from error
    if not manager:
        return model
    found = model._meta.managers_map.get(manager)
    if found is None:
        hint = did_you_mean(similar_names(manager, model._meta.managers_map))
        raise CommandError(f"The model {model._meta.label} has no manager {manager!r}{hint}.")
    return found


def _label_of(name: str) -> str:
    """Return the label of the model that has this table, or the name itself, which then is a label."""
    return next((model._meta.label for model in apps.get_models() if model._meta.db_table == name), name)


def _checked(subject: Any, alias: str) -> Any:
    """Return the subject. Raises CommandError if it is a text that is no SQL at all."""
    if not isinstance(subject, str):
        return subject
    if not subject.strip():
        raise CommandError("The SQL is empty.")
    statement = analyse(subject, connection_to(alias).ormcache.vendor)
    if statement.effect is Effect.OPAQUE and not statement.names and not statement.calls:
        text = truncate(" ".join(subject.split()), 60)
        raise CommandError(
            f"This SQL cannot be read to its end ({text}): look for a quote, bracket or comment that is not closed. "
            "Running such a statement invalidates everything."
        )
    return subject


# Layout -----------------------------------------------------------------------------------


def _drawn(explanation: Explanation) -> Iterator[Table | Text]:
    yield Text(f"{explanation.subject} on {explanation.using}", style="bold")
    if explanation.sql:
        yield Text(indent(explanation.sql))
    lines = named_lines()
    for name, text in _lines(explanation):
        lines.add_row(name, text)
    yield lines
    if explanation.reads:
        yield _relations("depends on", explanation.reads)
    if explanation.writes:
        is_read = explanation.kind == Effect.READ.value
        yield _relations("may also change" if is_read else "invalidates", explanation.writes)


def _lines(explanation: Explanation) -> Iterator[tuple[str, Text | str]]:
    """Yield (name, text) of each line."""
    if explanation.kind == NO_QUERY:
        yield "kind", "no query: Django knows that there are no rows, and does not ask the database"
        return
    yield "kind", explanation.kind
    yield from _verdict(explanation)
    for unknown in explanation.unknown:
        yield "unknown", f"{unknown.name}: there is no table or view of that name{did_you_mean(unknown.similar)}"
    if explanation.table is not None:
        table = explanation.table
        absent = "" if table.known else ", which is not in this database"
        yield "table", f"{table.name}{absent}{_named_in(table.named_in)}"
    if explanation.bypass_reason is not None:
        yield "now", _reason("bypassed", explanation.bypass_reason)
    if explanation.entry is not None:
        yield "entry", _entry(explanation.entry)
    if explanation.rows is not None:
        yield "rows", _rows(explanation.rows)
    adaptive = explanation.adaptive
    if adaptive is not None and adaptive.pinned:
        yield "adaptive", "pinned: there is no adaptive bypass"
    elif adaptive is not None and adaptive.bypassed_since is not None:
        yield (
            "adaptive",
            f"bypassed since {adaptive.bypassed_since:%H:%M:%S} UTC, except by probes: {adaptive.judgement}",
        )
    if explanation.key is not None and explanation.cached:
        yield "key", "; ".join(_key(explanation.key))


def _verdict(explanation: Explanation) -> Iterator[tuple[str, Text]]:
    """Say whether the result is cached; not of a write, which has none."""
    if explanation.cached:
        yield "verdict", Text("cached", style="green")
    elif explanation.reason is not None:
        if explanation.kind == Effect.READ.value or explanation.reason.name != reasons.NOT_A_READ:
            yield "verdict", _reason("not cached", explanation.reason)


def _reason(verdict: str, reason: BypassReason) -> Text:
    text = Text.assemble((f"{verdict}: {reason.name}", "yellow"), f"\n{reason.text}")
    return text if reason.remedy == "nothing" else text.append(f"\nWhat to do: {reason.remedy}")


def _rows(rows: RowDependence) -> str:
    if not rows.possible:
        return f"results depend on their tables as a whole: {rows.why_not}"
    depends_on = "; ".join(rows.depends_on)
    if rows.in_use:
        return f"results depend on {depends_on}"
    return (
        f"results will depend on {depends_on}, once writes have ended {rows.needed} results of one of its tables in a "
        f"process (here: {rows.ended})"
    )


def _entry(entry: CachedEntry) -> str:
    relations = ", ".join(map(display_name, entry.invalidated_by))
    by = ", ".join(entry.changed) or relations or "one of its tables, or by a change of the schema"
    place = " (in the memory of this process)" if entry.place == PROCESS else ""
    size = f"; {entry.size} bytes" if entry.size is not None else ""
    expires = f"; until {entry.expires:%Y-%m-%d %H:%M:%S} UTC" if entry.expires is not None else ""
    rows = f"; depends on {'; '.join(entry.rows)}" if entry.rows is not None else ""
    return _ENTRIES[entry.state].format(by=by) + place + size + expires + rows


def _key(key: EntryKey) -> Iterator[str]:
    """Yield what distinguishes this entry from others of the same statement."""
    if key.name is not None:
        yield key.name
    yield f"statement {key.statement}"
    if key.parameters is None:
        yield "parameters unknown, because SQL was given"
    elif key.parameters:
        yield "parameters " + ", ".join(key.parameters)
    session = {
        "search path": None if key.search_path is None else ", ".join(key.search_path),
        "user": key.user,
        "time zone": key.time_zone,
        "tenant": key.tenant,
        "VERSION": key.version or None,
        "set in the session": ", ".join(key.settings) or None,
    }
    yield from (f"{name} {value}" for name, value in session.items() if value is not None)


def _named_in(settings: Mapping[str, str]) -> str:
    """Return the settings that matter for a table: ``"; BLACKLIST (shop.*), not in ONLY"``."""
    named = [f"{name} ({item})" if item else f"not in {name}" for name, item in settings.items()]
    return f"; {', '.join(named)}" if named else ""


_SLOTS = {EMPTY: "not read yet", UNAVAILABLE: "store unavailable"}


def _relations(title: str, relations: Sequence[UsedRelation]) -> Table:
    table = Table(title, "because", "unchanged since (UTC)", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for relation in relations:
        why = relation.why + _named_in(relation.named_in)
        if not relation.invalidates:
            why += "; a write to it invalidates nothing"
        slot = relation.slot
        since = f"{slot.since:%Y-%m-%d %H:%M:%S}" if slot.since is not None else _SLOTS.get(slot.holds, "being written")
        table.add_row(display_name(relation.name), why, since)
    return table
