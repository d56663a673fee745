"""``manage.py ormcache``: what is in the cache, why, and whether all is well."""

from __future__ import annotations

from argparse import SUPPRESS
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from ormcache.management.output import Output
from ormcache.management.subcommands import check, explain, invalidate

#: Name → its module: HELP, and for the time before and after the arguments are known add_arguments() and run()
SUBCOMMANDS = {"explain": explain, "check": check, "invalidate": invalidate}


class Command(BaseCommand):
    help = "Looks into the cache of query results, and steers it. Each sub-command has a --help of its own."

    #: "check" tells what is wrong with the settings; the others say so where they cannot go on
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", metavar="sub-command", required=True)
        for name, module in SUBCOMMANDS.items():
            help_ = module.HELP.partition("\n")[0]
            subparser = subparsers.add_parser(
                name, help=help_, description=module.HELP, formatter_class=DjangoHelpFormatter
            )
            module.add_arguments(subparser)
            # So that they may also stand behind the sub-command's name; what stands before it is not overruled.
            subparser.add_argument("--traceback", action="store_true", default=SUPPRESS, help=SUPPRESS)
            subparser.add_argument(
                "--no-color", action="store_true", default=SUPPRESS, help="Don't colorize the command output."
            )
            subparser.add_argument(
                "--force-color", action="store_true", default=SUPPRESS, help="Force colorization of the command output."
            )
            for option in ("--settings", "--pythonpath"):
                subparser.add_argument(option, default=SUPPRESS, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:
        out = Output(self.stdout, no_color=options["no_color"], force_color=options["force_color"])
        SUBCOMMANDS[options["subcommand"]].run(options, out)
