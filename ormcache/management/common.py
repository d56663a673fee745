"""What the sub-commands have in common: arguments, aliases, and how they fail."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from ormcache.diagnostics.aliases import cached_aliases, connection_to
from ormcache.diagnostics.format.meanings import MEANINGS
from ormcache.diagnostics.stats.collection import DatabaseReport, collect, list_reports
from ormcache.exceptions import NotCached

T = TypeVar("T")


def add_using(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--using", metavar="ALIAS", help="Database to ask. Defaults to all databases that go through ormcache."
    )


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print one JSON document and nothing else.")


def number(least: float, kind: Callable[[str], Any] = int) -> Callable[[str], Any]:
    """Return a type for an argument: a number, ``least`` or more."""

    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = least - 1
        if not least <= value < float("inf"):
            raise ArgumentTypeError(f"must be a number, {least:g} or more")
        return value

    return parse


def aliases_of(options: Mapping[str, Any]) -> list[str]:
    """Return the aliases that a command is about. Raises CommandError."""
    try:
        if options["using"] is not None:
            connection_to(options["using"])
            return [options["using"]]
        aliases = cached_aliases()
    except (NotCached, ImproperlyConfigured) as error:
        raise CommandError(str(error)) from error
    if not aliases:
        raise CommandError(
            "No database goes through ormcache. Change an ENGINE in DATABASES to 'ormcache.backends.postgresql' "
            "(or mysql, sqlite3, postgis, spatialite)."
        )
    return aliases


class Unreachable(CommandError):
    """A database does not answer, or its settings cannot be used."""


@contextmanager
def reaching(alias: str) -> Iterator[None]:
    """Raise Unreachable if the database does not answer what is done in the block."""
    try:
        yield
    except ImproperlyConfigured as error:
        raise Unreachable(str(error)) from error
    except (DatabaseError, InterfaceError) as error:
        raise Unreachable(f"The database {alias!r} does not answer: {str(error).strip()}") from error


def ask_each(aliases: Iterable[str], ask: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Call a function with each alias. Return the results, and, by alias, why a database could not be reached.

    Raises Unreachable if none can be reached, and whatever else ``ask`` raises.
    """
    results: dict[str, T] = {}
    unreachable: dict[str, str] = {}
    for alias in aliases:
        try:
            with reaching(alias):
                results[alias] = ask(alias)
        except Unreachable as error:
            unreachable[alias] = str(error)
    if not results:
        raise Unreachable("\n".join(unreachable.values()))
    return results, unreachable


def did_you_mean(names: Sequence[str]) -> str:
    """Return the end of a sentence about an unknown name."""
    return f" (did you mean {' or '.join(names)}?)" if names else ""


# Reports -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CollectedReports:
    """The reports that a sub-command shows, and the databases that have none."""

    reports: Sequence[DatabaseReport]
    not_cached: Mapping[str, str]  # alias → why nothing of it is cached
    store_errors: Mapping[str, str]  # alias → why its store does not answer
    unreachable: Mapping[str, str]  # alias → why the database itself does not answer

    def as_json(self, databases: Sequence[Any]) -> dict[str, Any]:
        return {
            "databases": databases,
            "not_cached": self.not_cached,
            "store_errors": self.store_errors,
            "unreachable": self.unreachable,
        }

    def raise_errors(self) -> None:
        """Raise CommandError if the statistics of a database could not be collected."""
        problems = [*self.unreachable.values()]
        if self.store_errors:
            errors = "; ".join(f"{alias}: {error}" for alias, error in self.store_errors.items())
            problems.append(f"The store, which has the statistics, does not answer ({errors}).")
        if problems:
            raise CommandError("\n".join(problems))


def collect_requested_reports(options: Mapping[str, Any]) -> CollectedReports:
    """Collect the statistics of all databases that a command is about.

    A database that cannot be reached does not keep those of the others from being shown. Raises CommandError if there
    is nothing to show at all.
    """
    answers, unreachable = ask_each(aliases_of(options), collect)
    collected = list(answers.values())
    not_cached = {one.using: describe_reason(one.bypass_reason) for one in collected if one.bypass_reason is not None}
    if len(not_cached) == len(collected) and not unreachable:
        reasons = "; ".join(f"{alias}: {reason}" for alias, reason in not_cached.items())
        raise CommandError(f"There are no statistics, because nothing is cached: {reasons}.")
    store_errors = {one.using: one.store_error for one in collected if one.store_error is not None}
    return CollectedReports(list_reports(collected), not_cached, store_errors, unreachable)


def describe_reason(reason: str) -> str:
    """Return a bypass reason with its meaning."""
    meaning = MEANINGS.get(reason)
    return reason if meaning is None else f"{reason}: {meaning.text}"
