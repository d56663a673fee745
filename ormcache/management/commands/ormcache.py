"""``manage.py ormcache``: inspects the cache of query results, and controls it."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from ormcache.management.output import Output
from ormcache.management.subcommands import (
    advise,
    check,
    explain,
    invalidate,
    listen,
    pages,
    queries,
    report,
    restored,
    stats,
    tables,
    triggers,
    warm,
)

#: Name → its module, which has HELP, add_arguments() and run()
SUBCOMMANDS = {
    "stats": stats,
    "tables": tables,
    "queries": queries,
    "pages": pages,
    "advise": advise,
    "report": report,
    "explain": explain,
    "check": check,
    "invalidate": invalidate,
    "triggers": triggers,
    "listen": listen,
    "restored": restored,
    "warm": warm,
}


#: Exit status if the reader of the output stopped early: the shell's for a program that was ended by SIGPIPE
CUT_OFF = 128 + 13


class Command(BaseCommand):
    help = "Inspects and controls the cache of query results. Each sub-command has its own --help."

    #: "check" reports what is wrong with the settings; the others report it if they cannot go on
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", metavar="sub-command", required=True)
        for name, module in SUBCOMMANDS.items():
            help_ = module.HELP.partition("\n")[0]
            subparser = subparsers.add_parser(
                name, help=help_, description=module.HELP, formatter_class=DjangoHelpFormatter
            )
            module.add_arguments(subparser)
            # Django's own options may also follow the sub-command's name. Those before the name stay in force.
            subparser.add_argument("--traceback", action="store_true", default=SUPPRESS, help=SUPPRESS)
            subparser.add_argument(
                "--no-color", action="store_true", default=SUPPRESS, help="Don't colorize the command output."
            )
            subparser.add_argument(
                "--force-color", action="store_true", default=SUPPRESS, help="Force colorization of the command output."
            )
            for option in ("--settings", "--pythonpath"):
                subparser.add_argument(option, default=SUPPRESS, help=SUPPRESS)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as from a shell, where the reader of the output may stop early, as ``| head`` does."""
        try:
            super().run_from_argv(argv)
            sys.stdout.flush()
        except BrokenPipeError:
            # Python flushes once more as it ends, https://docs.python.org/3/library/signal.html#note-on-sigpipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(CUT_OFF)

    def handle(self, *args: Any, **options: Any) -> None:
        out = Output(self.stdout, no_color=options["no_color"], force_color=options["force_color"])
        SUBCOMMANDS[options["subcommand"]].run(options, out)
