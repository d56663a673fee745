"""``manage.py ormcache report``."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ormcache.diagnostics.page.content import page_of
from ormcache.diagnostics.page.rendering import render_report
from ormcache.diagnostics.stats.overview import overview_of
from ormcache.management.common import add_using, aliases_of
from ormcache.management.output import Output

HELP = """Writes one HTML file with charts, advice and verification, to pass on.

The file needs no other file and no network. Values in statements are masked unless SHOW_PARAMETERS is on."""

#: The order of queries, see ormcache.diagnostics.page.content.ORDERS
ORDER = "saved"


def add_arguments(parser: ArgumentParser) -> None:
    add_using(parser)
    parser.add_argument("--output", metavar="FILE", help="Write to this file, in place of standard output.")


def run(options: Mapping[str, Any], out: Output) -> None:
    """Raises CommandError for a file that cannot be written, and, once it is, for a store that does not answer."""
    pages = [page_of(overview_of(alias), ORDER) for alias in aliases_of(options)]
    document = render_report(pages, time.time())
    if options["output"] is None:
        out.html(document)
    else:
        try:
            Path(options["output"]).write_text(document, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from error
        out.show(f"Written to {options['output']}.")
    errors = [f"{page.overview.using}: {page.overview.store_error}" for page in pages if page.overview.store_error]
    if errors:
        raise CommandError(f"The store, which has the statistics, does not answer ({'; '.join(errors)}).")
