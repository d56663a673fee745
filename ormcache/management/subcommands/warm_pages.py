"""``manage.py ormcache warm --pages`` and ``--sitemap``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from rich.table import Table
from rich.text import Text

from ormcache.diagnostics.format.quantities import count
from ormcache.diagnostics.page_warmup import (
    PageOutcome,
    PageRequest,
    PageResult,
    SitemapError,
    default_host,
    page_request,
    sitemap_requests,
    warm_pages,
)
from ormcache.management.formatting import named_lines
from ormcache.management.output import Output
from ormcache.management.progress import with_bar

MOST_SHOWN = 20  # pages that are listed; JSON has all


def add_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("pages")
    group.add_argument("--pages", nargs="+", metavar="PATH", help="Request these paths or URLs, in this process.")
    group.add_argument(
        "--sitemap", metavar="PATH", help="Request all pages that the sitemap at this path or URL of the site names."
    )
    group.add_argument(
        "--host",
        metavar="HOST",
        help="The host that visitors name, for paths. Defaults to the first one in ALLOWED_HOSTS.",
    )
    group.add_argument("--https", action="store_true", help="Request paths by HTTPS.")
    group.add_argument(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="A header of each request, such as Accept-Encoding:gzip, for pages that vary by it.",
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ArgumentTypeError("must be a name and a value with a colon between them")
    return name.strip(), value.strip()


def run(options: Mapping[str, Any], out: Output) -> None:
    if options["using"] is not None:
        raise CommandError("--using is for reads: a page is requested as a whole, whatever databases it reads.")
    headers = dict(options["header"])
    requests = _requests(options, headers)[: options["most"]]
    outcomes: list[PageOutcome] = []
    if not options["dry_run"]:
        found = warm_pages(requests, headers)
        outcomes.extend(found if options["json"] else with_bar(found, len(requests), "pages", out))
    if options["json"]:
        out.json(_as_json(requests, outcomes, dry=options["dry_run"]))
    elif options["dry_run"]:
        out.show(*_plan(requests))
    else:
        out.show(*_summary(outcomes))


def _requests(options: Mapping[str, Any], headers: Mapping[str, str]) -> list[PageRequest]:
    """Return each page once. Raises CommandError."""
    host, secure = options["host"] or default_host(), options["https"]
    try:
        found = [page_request(url, host, secure=secure) for url in options["pages"] or ()]
        if options["sitemap"]:
            found += sitemap_requests(page_request(options["sitemap"], host, secure=secure), headers)
    except (ValueError, SitemapError) as error:
        raise CommandError(str(error)) from error
    return list(dict.fromkeys(found))


def _as_json(requests: Sequence[PageRequest], outcomes: Sequence[PageOutcome], *, dry: bool) -> dict[str, Any]:
    results = Counter(outcome.result for outcome in outcomes)
    nothing = {"status": None, "result": None, "reason": None, "caller": None}
    pages = [
        {
            "path": one.request.path,
            "host": one.request.host,
            "https": one.request.secure,
            "status": one.status,
            "result": one.result.value,
            "reason": one.reason,
            "caller": one.caller,
        }
        for one in outcomes
    ] or [{"path": one.path, "host": one.host, "https": one.secure, **nothing} for one in requests]
    return {
        "dry_run": dry,
        "results": {result.value: results[result] for result in PageResult},
        "pages": pages,
    }


# Layout -----------------------------------------------------------------------------------

_RESULTS = {
    PageResult.STORED: "computed and stored",
    PageResult.PRESENT: "in the cache already",
    PageResult.NOT_STORED: "not stored",
    PageResult.NOT_CACHED: "not cached: no page, fragment or function is used there",
    PageResult.FAILED: "failed",
}


def _plan(requests: Sequence[PageRequest]) -> Iterator[Table | Text | str]:
    yield f"{count(len(requests), 'page')} would be requested."
    yield from _some([Text(_url(one)) for one in requests])


def _summary(outcomes: Sequence[PageOutcome]) -> Iterator[Table | Text | str]:
    if not outcomes:
        yield "There is no page to request."
        return
    results = Counter(outcome.result for outcome in outcomes)
    table = named_lines()
    for result in PageResult:
        if results[result]:
            table.add_row(f"{results[result]:,}", _RESULTS[result])
    yield table
    noteworthy = [one for one in outcomes if one.reason is not None or one.result is PageResult.NOT_CACHED]
    yield from _some([Text(f"{_url(one.request)}: {_why(one)}") for one in noteworthy])


def _some(lines: Sequence[Text]) -> Iterator[Text | str]:
    yield from lines[:MOST_SHOWN]
    if len(lines) > MOST_SHOWN:
        yield f"and {len(lines) - MOST_SHOWN:,} more"


def _url(request: PageRequest) -> str:
    return f"{'https' if request.secure else 'http'}://{request.host}{request.path}"


def _why(outcome: PageOutcome) -> str:
    at = "" if outcome.caller is None else f", run in {outcome.caller}"
    reason = "" if outcome.reason is None else f" ({outcome.reason}{at})"
    return f"{outcome.result.value}{reason}"
