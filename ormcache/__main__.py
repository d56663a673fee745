"""Runs ``python -m ormcache``: ``manage.py ormcache`` for projects that cannot add an app to ``INSTALLED_APPS``.

Packaged applications such as NetBox do not let their users change that list. The settings are found as everywhere in
Django: by ``--settings`` or the environment variable ``DJANGO_SETTINGS_MODULE``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandParser, handle_default_options

from ormcache.management.commands.ormcache import Command


def main(arguments: Sequence[str]) -> None:
    """Run one subcommand. Exits with status 1 if the settings cannot be found or used."""
    # As in django.core.management: these two decide what is imported, so they are parsed before all others.
    parser = CommandParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--settings")
    parser.add_argument("--pythonpath")
    handle_default_options(parser.parse_known_args(arguments)[0])
    try:
        django.setup()
    except (ImproperlyConfigured, ImportError) as error:
        sys.exit(f"ormcache: the project's settings cannot be used: {error}")
    Command().run_from_argv(["python -m", "ormcache", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
