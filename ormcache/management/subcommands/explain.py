"""``manage.py ormcache explain``."""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import connections
from django.db.models import Manager, Model
from rich.table import Table
from rich.text import Text

from ormcache import reasons
from ormcache.insight.explaining import explain, near
from ormcache.insight.explanation import (
    ABSENT,
    AWAY,
    DAMAGED,
    EMPTY,
    EXPIRED,
    MARKED,
    NO_QUERY,
    PROCESS,
    RETIRED,
    SERVED,
    Explanation,
    Key,
    Reason,
    Relation,
)
from ormcache.insight.wording import relation_named
from ormcache.management.common import add_json, add_using, aliases_of, did_you_mean, reaching
from ormcache.management.output import Output
from ormcache.sql import Effect, analyse

HELP = """Tells what ormcache makes of a query, and why. Nothing is run.

Is its result cached, and if not, why not? On which tables does it depend, and why on each? Is it in the cache now?
For a statement that writes: what does it retire?"""

_NAME = re.compile(r"\w+(\.\w+)*")

#: What becomes of an entry → in words; PROCESS is the process that asks
_ENTRIES = {
    SERVED: "in the cache, and would be served",
    ABSENT: "not in the cache: the next read fills it",
    RETIRED: "in the cache, and not served any more: retired by a write to {by}",
    MARKED: "not served just now: somebody is committing to one of its tables",
    EXPIRED: "in the cache, and not served any more: its TIMEOUT is over",
    DAMAGED: "in the cache, and damaged: the next read replaces it",
    AWAY: "not known: the store does not answer",
}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "subjects",
        nargs="+",
        metavar="query",
        help="A text of SQL, or a model (shop.Order), or one of its managers (shop.Order.objects), whose all() is "
        "meant. -: SQL from standard input.",
    )
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    aliases = aliases_of(options)
    subjects = [_subject(given) for given in options["subjects"]]
    found = []
    for subject in subjects:
        for alias in aliases:
            with reaching(alias):
                found.append(explain(_readable(subject, alias), alias))
    if options["json"]:
        out.json({"explanations": found})
        return
    for number, explanation in enumerate(found):
        out.show(*([""] if number else []), *_drawn(explanation))


# What is asked for ------------------------------------------------------------------------


def _subject(given: str) -> Manager[Any] | type[Model] | str:
    """Raises CommandError."""
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
        meant = near(given, known | {model._meta.db_table for model in apps.get_models()})
        labels = list(dict.fromkeys(map(_labelled, meant)))
        raise CommandError(f"{given!r} is neither a model nor SQL{did_you_mean(labels)}.") from error
    if not manager:
        return model
    found = model._meta.managers_map.get(manager)
    if found is None:
        hint = did_you_mean(near(manager, model._meta.managers_map))
        raise CommandError(f"The model {model._meta.label} has no manager {manager!r}{hint}.")
    return found


def _labelled(name: str) -> str:
    """The label of the model whose table this is, or the label that it is."""
    return next((model._meta.label for model in apps.get_models() if model._meta.db_table == name), name)


def _readable(subject: Any, alias: str) -> Any:
    """Raises CommandError for a text that is no SQL at all."""
    if not isinstance(subject, str):
        return subject
    if not subject.strip():
        raise CommandError("The SQL is empty.")
    statement = analyse(subject, connections[alias].ormcache.vendor)  # type: ignore[attr-defined]  # it is one of ours
    if statement.effect is Effect.OPAQUE and not statement.names and not statement.calls:
        raise CommandError(
            f"This SQL cannot be read to its end ({_shortened(subject)}): look for a quote, a bracket or a comment "
            "that is left open. A program that runs such a text retires everything with it."
        )
    return subject


def _shortened(sql: str) -> str:
    text = " ".join(sql.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


# How it looks -----------------------------------------------------------------------------


def _drawn(explanation: Explanation) -> Iterator[Table | Text]:
    yield Text(f"{explanation.subject} on {explanation.using}", style="bold")
    if explanation.sql:
        yield Text(explanation.sql)
    lines = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    lines.add_column(min_width=9, style="dim")
    lines.add_column(overflow="fold")
    for name, text in _lines(explanation):
        lines.add_row(name, text)
    yield lines
    if explanation.reads:
        yield from _relations("depends on", explanation.reads)
    if explanation.writes:
        yield from _relations(
            "retires" if explanation.kind != Effect.READ.value else "may also change", explanation.writes
        )


def _lines(explanation: Explanation) -> Iterator[tuple[str, Text | str]]:
    if explanation.kind == NO_QUERY:
        yield "kind", "no query: Django knows that there are no rows, and asks nobody"
        return
    yield "kind", explanation.kind
    if (
        explanation.kind == Effect.READ.value
        or explanation.reason is None
        or explanation.reason.name != reasons.NOT_A_READ
    ):
        yield from _verdict(explanation)
    for unknown in explanation.unknown:
        yield "unknown", f"{unknown.name}: no table or view of that name here{did_you_mean(unknown.near)}"
    if explanation.table is not None:
        table = explanation.table
        yield "table", f"{table.name}{'' if table.known else ', which is not in this database'}{_listed(table.listed)}"
    if explanation.hindrance is not None:
        yield "now", _told("not through the cache", explanation.hindrance)
    entry = explanation.entry
    if entry is not None:
        by = ", ".join(map(relation_named, entry.retired_by)) or "one of its tables, or by a change of the schema"
        place = " (in the memory of this process)" if entry.place == PROCESS else ""
        size = f"; {entry.size} bytes" if entry.size is not None else ""
        expires = f"; until {entry.expires:%Y-%m-%d %H:%M:%S} UTC" if entry.expires is not None else ""
        yield "entry", _ENTRIES[entry.state].format(by=by) + place + size + expires
    worth = explanation.worth
    if worth is not None and worth.pinned:
        yield "worth", "pinned: it is never left alone"
    elif worth is not None and worth.rests_until is not None:
        yield "worth", f"left alone until {worth.rests_until:%H:%M:%S} UTC: {worth.judgement}"
    if explanation.key is not None and explanation.cached:
        yield "key", "; ".join(_key(explanation.key))


def _verdict(explanation: Explanation) -> Iterator[tuple[str, Text | str]]:
    if explanation.cached:
        yield "verdict", Text("cached", style="green")
    elif explanation.reason is not None:
        yield "verdict", _told("not cached", explanation.reason, "yellow")


def _told(verdict: str, reason: Reason, style: str = "yellow") -> Text:
    text = Text.assemble((f"{verdict}: {reason.name}", style), f"\n{reason.text}")
    return text if reason.remedy == "nothing" else text.append(f"\nWhat you can do: {reason.remedy}")


def _key(key: Key) -> Iterable[str]:
    """What distinguishes this entry from those of the same text."""
    if key.name is not None:
        yield key.name
    yield f"statement {key.statement}"
    if key.parameters is None:
        yield "parameters not known: this is a text alone"
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


def _listed(listed: Mapping[str, str]) -> str:
    told = [f"{name} ({by})" if by else f"not in {name}" for name, by in listed.items()]
    return f"; {', '.join(told)}" if told else ""


_SLOTS = {EMPTY: "not read yet", AWAY: "store away"}


def _relations(title: str, relations: Sequence[Relation]) -> Iterator[Table]:
    table = Table(title, "because", "unchanged since (UTC)", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.columns[0].overflow = table.columns[1].overflow = "fold"
    for relation in relations:
        why = relation.why + _listed(relation.listed)
        if not relation.told:
            why += "; the store is not told"
        slot = relation.slot
        held = f"{slot.since:%Y-%m-%d %H:%M:%S}" if slot.since is not None else _SLOTS.get(slot.holds, "being written")
        table.add_row(relation_named(relation.name), why, held)
    yield table
