"""All advice on one database, with settings that are ready to paste."""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections

from ormcache.conf import Config
from ormcache.database import Database
from ormcache.insight.advice import Advice, Verdict, advice_on
from ormcache.insight.aliases import cached_aliases
from ormcache.insight.gathering import Known
from ormcache.selection import Selection, tables_of

#: Settings that are a bound, as every store has it, and those of the embedded one alone
BOUNDS, BOUNDS_OF_EMBEDDED = ("MAX_ROWS", "MAX_BYTES", "TIMEOUT"), ("MAX_SIZE",)
#: A bound that was too small is tried at so many times of it
MORE = 2
LINE = 60  # characters of a list that stands in one line


@dataclass(frozen=True, slots=True)
class Snippet:
    setting: str  # the key of ORMCACHE
    place: str  # the dict that it belongs into
    text: str  # an item of it, as Python


@dataclass(frozen=True, slots=True)
class Advised:
    advice: Advice  # its statement as it may be shown
    snippet: Snippet | None  # what to paste; with all that is advised about this setting


def advised_on(known: Known) -> list[Advised]:
    """What most time is at stake for first."""
    if known.report is None:
        return []
    given = advice_on(known.report, known.facts)
    writer = _Writer(known.using, known.database, given) if known.is_own else None
    return [
        Advised(
            replace(advice, sql=known.statements.shown(advice.sql) if advice.sql else ""),
            None if writer is None else writer.snippet(advice),
        )
        for advice in given
    ]


class _Writer:
    """Snippets for one alias: what is set now, and what all of the advice adds."""

    def __init__(self, using: str, database: Database, given: Sequence[Advice]) -> None:
        self._using = using
        self._config: Config = database.config
        self._database = database
        added = [one.subject for one in given if one.verdict in (Verdict.WRITE_HEAVY, Verdict.HARDLY_READ)]
        self._blacklist = with_names(self._config.blacklist, added)

    def snippet(self, advice: Advice) -> Snippet | None:
        """None: the advice is about no setting, or nobody can say what to set."""
        setting = advice.setting
        if setting == "BLACKLIST":
            return self._of_listed(advice.subject) if advice.verdict == Verdict.LISTED else self._blacklisted(advice)
        embedded = self._database.stamps.store.strict.kind == "embedded"
        if setting in BOUNDS or (setting in BOUNDS_OF_EMBEDDED and embedded):
            bound = getattr(self._config, setting.lower())
            return None if bound is None else self._item(setting, f"{bound * MORE:_}")
        return None

    def _blacklisted(self, advice: Advice) -> Snippet | None:
        if advice.subject not in Selection(self._blacklist):
            return None  # there is no pattern for a name like that
        return self._item("BLACKLIST", listed(self._blacklist))

    def _of_listed(self, relation: str) -> Snippet | None:
        """The lists without what keeps this relation out, if that keeps nothing else out."""
        by = self._database.listed(relation)
        name = by.get("BLACKLIST")
        if name is None:
            return self._item("ONLY", listed(with_names(self._config.only, [relation])))
        rest = [one for one in self._blacklist if one != name]
        if "ONLY" in by and not by["ONLY"]:
            return None  # two settings keep it out
        if _is_one(name) and relation not in Selection(rest):
            return self._item("BLACKLIST", listed(rest))
        return None

    def _item(self, setting: str, value: str) -> Snippet:
        own: Any = connections[self._using].settings_dict.get("ORMCACHE") or {}
        alone = setting not in own and cached_aliases() == [self._using]
        place = "ORMCACHE" if alone else f'DATABASES["{self._using}"]["ORMCACHE"]'
        return Snippet(setting, place, f'"{setting}": {value},')


def with_names(present: Iterable[str], relations: Iterable[str]) -> list[str]:
    """A list of names as settings have them, and those of relations that it does not mean yet."""
    names = list(present)
    for relation in relations:
        if relation not in Selection(names):
            names.append(glob.escape(relation))
    return names


def _is_one(name: str) -> bool:
    """Does this name in a list mean one table?"""
    tables = tables_of(name)
    return not glob.has_magic(name) if tables is None else len(tables) == 1


def listed(names: Sequence[str]) -> str:
    """A list of Python, in lines if it is long."""
    texts = [json.dumps(name, ensure_ascii=False) for name in names]
    line = f"[{', '.join(texts)}]"
    if len(line) <= LINE:
        return line
    return "[\n" + "".join(f"    {text},\n" for text in texts) + "]"
