"""What the sub-commands have in common: arguments, aliases, and how they fail."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from ormcache.insight.aliases import NotCached, cached_aliases, connection_to


def add_using(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--using", metavar="ALIAS", help="Database to ask. All that go through ormcache, if it is not named."
    )


def add_json(parser: ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="Print one JSON document and nothing else.")


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
