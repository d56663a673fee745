"""What the sub-commands have in common: arguments, aliases, and how they fail."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from ormcache.insight.aliases import NotCached, cached_aliases, connection_to
from ormcache.insight.gathering import Asked, Known, ask, known_of
from ormcache.insight.meanings import MEANINGS


def add_using(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--using", metavar="ALIAS", help="Database to ask. All that go through ormcache, if it is not named."
    )


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print one JSON document and nothing else.")


def number(least: float, kind: Callable[[str], Any] = int) -> Callable[[str], Any]:
    """The type of an argument."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value < float("inf"):
            raise ArgumentTypeError(f"it must be a number, {least:g} or more")
        return value

    return read


def aliases_of(options: Mapping[str, Any]) -> list[str]:
    """The databases that are meant. Raises CommandError."""
    try:
        if options["using"] is not None:
            connection_to(options["using"])
            return [options["using"]]
        found = cached_aliases()
    except (NotCached, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    if not found:
        raise CommandError(
            "No database goes through ormcache. Change an ENGINE in DATABASES to 'ormcache.backends.postgresql' "
            "(mysql, sqlite3)."
        )
    return found


@contextmanager
def reaching(alias: str) -> Iterator[None]:
    """Whatever is in here asks this database. Raises CommandError if it does not answer."""
    try:
        yield
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from error
    except (DatabaseError, InterfaceError) as error:
        raise CommandError(f"The database {alias!r} cannot be asked: {str(error).strip()}") from error


def did_you_mean(names: Sequence[str]) -> str:
    """The end of a sentence about a name that is not known."""
    return f" (did you mean {' or '.join(names)}?)" if names else ""


# Figures ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Gathered:
    """The figures that a sub-command shows, and what has none."""

    known: Sequence[Known]
    not_cached: Mapping[str, str]  # alias → why nothing of it is cached
    away: Mapping[str, str]  # alias → what went wrong with its store

    def as_json(self, databases: Sequence[Any]) -> dict[str, Any]:
        return {"databases": databases, "not_cached": self.not_cached, "away": self.away}

    def complain(self) -> None:
        """Raises CommandError if the figures of a database could not be had."""
        if self.away:
            told = "; ".join(f"{alias}: {error}" for alias, error in self.away.items())
            raise CommandError(f"The store does not answer, and the figures are there ({told}).")


def gather(options: Mapping[str, Any]) -> Gathered:
    """Raises CommandError if there is nothing whose figures could be had."""
    found: list[Asked] = []
    for alias in aliases_of(options):
        with reaching(alias):
            found.append(ask(alias))
    not_cached = {one.using: told_reason(one.obstacle) for one in found if one.obstacle is not None}
    if len(not_cached) == len(found):
        told = "; ".join(f"{alias}: {reason}" for alias, reason in not_cached.items())
        raise CommandError(f"There are no figures, because nothing is cached here: {told}.")
    away = {one.using: one.away for one in found if one.away is not None}
    return Gathered(known_of(found), not_cached, away)


def told_reason(reason: str) -> str:
    meaning = MEANINGS.get(reason)
    return reason if meaning is None else f"{reason}, {meaning.text}"
