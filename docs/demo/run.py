"""The demo: a small Django site on real data, with and without ormcache. ``make demo`` runs it.

It loads the world's cities into SQLite, measures the pages of the site in ``atlas/`` with both engines, and shows that
a process never sees old rows, whichever way another one writes. It exits with 1 if anything that it checks is wrong.
"""

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

from blacklist import show_blacklist
from freshness import show_freshness
from pages import compare_pages
from process import PLAIN, Site, SiteFailed
from proxy import Proxy, show_purges
from screen import Checks, line, progress, title
from whole_pages import show_whole_pages


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--engine",
        default="ormcache.backends.sqlite3",
        help=f"what to compare with plain Django; with {PLAIN} itself the checks fail, as they should",
    )
    engine = parser.parse_args().engine
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # an orderly end: the folder is removed
    check = Checks()
    start = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ormcache-demo-") as folder:
            ms = run(Path(folder), engine, check)
    except SiteFailed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nstopped")
    summarize(check, ms, time.monotonic() - start)
    return 1 if check.wrong else 0


def run(folder, engine, check):
    with Site(folder, PLAIN) as plain:
        load(plain)
        with Site(folder, engine) as cached, Site(folder, engine) as writer:
            ms = compare_pages(plain, cached, check)
            show_freshness(plain, writer, cached, check)
            show_whole_pages(plain, writer, cached, check)
        with (
            Proxy() as proxy,
            Site(folder, engine, purge=proxy.url) as cached,
            Site(folder, engine, purge=proxy.url) as writer,
        ):
            show_purges(proxy, plain, writer, cached, check, line)
    # New processes, for equal chances: SQLite's own page cache has grown in the ones above.
    with (
        Site(folder, PLAIN) as plain,
        Site(folder, engine) as cached,
        Site(folder, engine, blacklist=["atlas.PageView"]) as blacklisted,
    ):
        show_blacklist(plain, cached, blacklisted, check)
    return ms


def load(plain):
    title("1. Real data: the world's cities in SQLite")
    counts = {}
    for step in progress("loading", [plain.create_tables, plain.load_places, plain.load_reviews, plain.analyze]):
        counts |= step() or {}
    line("  " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))


def summarize(check, ms, seconds):
    title("Summary")
    line(f"  One visit to every page: {ms['plain']:.0f} ms with plain Django, {ms['hit']:.0f} ms with ormcache.")
    if check.wrong:
        line(f"  {check.wrong} of {check.right + check.wrong} checks are WRONG, see above. ({seconds:.0f} s)")
    else:
        line(f"  All {check.right} checks are right. ({seconds:.0f} s)")
    line("  How to use it in your project: README.md")
    line("  What is promised, and what is not: docs/, guarantees and limits")


if __name__ == "__main__":
    sys.exit(main())
