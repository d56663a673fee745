"""``manage.py ormcache restored``."""

from __future__ import annotations

import io
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import OutputWrapper

from ormcache.diagnostics.aliases import connection_to
from ormcache.management.common import add_json, add_using, aliases_of
from ormcache.management.output import Output
from ormcache.management.subcommands import invalidate

HELP = """Ends all that is cached, once a backup is restored.

For restore scripts. When it returns, no process serves anything from before the restore: it invalidates everything,
waits until each process has asked which database it is connected to, and invalidates everything once more."""

#: Seconds beyond IDENTITY_MAX_AGE, for a process that was about to ask
MARGIN = 0.5


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    add_json(parser)


def run(options: Mapping[str, Any], out: Output) -> None:
    everything = {**options, "names": []}
    invalidate.run(everything, Output(OutputWrapper(io.StringIO()), no_color=True, force_color=False))
    # A database that was made anew, or a file, is another one. Processes that have not noticed yet serve what is cached
    # of the old one, and not all of them are notified. What they write meanwhile is invalidated by the second turn.
    configs = [connection_to(alias).ormcache.config for alias in aliases_of(options)]
    time.sleep(max(max(config.identity_max_age, config.near_max_lag) for config in configs) + MARGIN)
    invalidate.run(everything, out)
