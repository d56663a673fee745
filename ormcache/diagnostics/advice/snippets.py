"""Advice together with settings that are ready to paste."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections

from ormcache.conf import Config
from ormcache.database.database import Database
from ormcache.database.table_filter import TableFilter, tables_of
from ormcache.diagnostics.advice.advice import Advice, Verdict
from ormcache.diagnostics.advice.judgements import advise
from ormcache.diagnostics.aliases import cached_aliases
from ormcache.diagnostics.stats.collection import DatabaseReport

#: Settings that are a limit in every store, and those of the embedded store alone
LIMITS, EMBEDDED_LIMITS = ("MAX_ROWS", "MAX_BYTES", "TIMEOUT"), ("MAX_SIZE",)
#: By how much a limit that was too low is raised
FACTOR = 2
LONGEST_LINE = 60  # characters of a list that is written in one line


@dataclass(frozen=True, slots=True)
class Snippet:
    setting: str  # the key of ORMCACHE
    place: str  # the dict in settings.py that it belongs into
    text: str  # an item of that dict, as Python


@dataclass(frozen=True, slots=True)
class AdviceWithSnippet:
    advice: Advice  # its statement is masked
    snippet: Snippet | None  # what to paste; has all that is advised about this setting


def advise_with_snippets(known: DatabaseReport) -> list[AdviceWithSnippet]:
    """Return all advice on a database, in the order of the time at stake."""
    if known.report is None:
        return []
    advice = advise(known.report, known.advice_context)
    writer = _SnippetWriter(known.using, known.database, advice) if known.is_own_alias else None
    return [
        AdviceWithSnippet(
            replace(one, sql=known.masker.mask(one.sql) if one.sql else ""),
            None if writer is None else writer.snippet(one),
        )
        for one in advice
    ]


class _SnippetWriter:
    """Writes snippets for one alias, from its present settings and all of the advice."""

    def __init__(self, using: str, database: Database, advice: Sequence[Advice]) -> None:
        self._using = using
        self._config: Config = database.config
        self._database = database
        added = [one.subject for one in advice if one.setting == "BLACKLIST" and one.verdict != Verdict.BLACKLISTED]
        self._blacklist = add_names(self._config.blacklist, added)

    def snippet(self, advice: Advice) -> Snippet | None:
        """Return None if the advice is about no setting, or if what to set is unknown."""
        setting = advice.setting
        if setting == "BLACKLIST":
            is_listed = advice.verdict == Verdict.BLACKLISTED
            return self._without(advice.subject) if is_listed else self._blacklist_with(advice.subject)
        is_embedded = self._database.stamps.store.strict.kind == "embedded"
        if setting in LIMITS or (setting in EMBEDDED_LIMITS and is_embedded):
            limit = getattr(self._config, setting.lower())
            return None if limit is None else self._item(setting, f"{limit * FACTOR:_}")
        return None

    def _blacklist_with(self, relation: str) -> Snippet | None:
        if relation not in TableFilter(self._blacklist):
            return None  # no pattern matches a name like that
        return self._item("BLACKLIST", format_list(self._blacklist))

    def _without(self, relation: str) -> Snippet | None:
        """Return the list without the item that keeps this relation out, if that item keeps no other one out."""
        by = self._database.rules.settings_of(relation)
        name = by.get("BLACKLIST")
        if name is None:
            return self._item("ONLY", format_list(add_names(self._config.only, [relation])))
        rest = [one for one in self._blacklist if one != name]
        if "ONLY" in by and not by["ONLY"]:
            return None  # two settings keep it out
        if _matches_one_table(name) and relation not in TableFilter(rest):
            return self._item("BLACKLIST", format_list(rest))
        return None

    def _item(self, setting: str, value: str) -> Snippet:
        own: Any = connections[self._using].settings_dict.get("ORMCACHE") or {}
        is_global = setting not in own and cached_aliases() == [self._using]
        place = "ORMCACHE" if is_global else f'DATABASES["{self._using}"]["ORMCACHE"]'
        return Snippet(setting, place, f'"{setting}": {value},')


def add_names(present: Iterable[str], relations: Iterable[str]) -> list[str]:
    """Return a list of names as settings have them, with those relations added that no item of it matches yet."""
    names = list(present)
    for relation in relations:
        if relation not in TableFilter(names):
            names.append(glob.escape(relation))
    return names


def _matches_one_table(name: str) -> bool:
    """Return whether an item of such a list stands for a single table."""
    tables = tables_of(name)
    return not glob.has_magic(name) if tables is None else len(tables) == 1


def format_list(names: Sequence[str]) -> str:
    """Return a list as Python source, one item a line if it is long."""
    texts = [json.dumps(name, ensure_ascii=False) for name in names]
    line = f"[{', '.join(texts)}]"
    if len(line) <= LONGEST_LINE:
        return line
    return "[\n" + "".join(f"    {text},\n" for text in texts) + "]"
