"""Part 5: a table that is written at every visit and kept out of the cache."""

from statistics import median

from freshness import value
from screen import line, progress, title

ROUNDS = 15
INSERTS = 120  # in each round
WARM_UP = 40  # of these are not counted: a process that was idle starts slowly
PAGE = "/traffic/"


def show_blacklist(plain, cached, blacklisted, check):
    title("5. A table on the blacklist")
    line('  ORMCACHE = {"BLACKLIST": ["atlas.PageView"]}  # written at every visit')
    line()
    sites = {"plain Django": plain, "ormcache": cached, "ormcache, blacklisted": blacklisted}
    for site in sites.values():
        site.inspect("/")  # a process reads the schema once, before its first query
    queries = {name: [site.inspect(PAGE)["queries"] for _ in range(3)] for name, site in sites.items()}
    inserts, stale = _write(plain, sites, blacklisted)
    # Plain Django has written to the same file, which ends all results.
    blacklisted.inspect("/")
    blacklisted.record_views("/", 1)
    home = blacklisted.inspect("/")["queries"]
    line()
    line(f"                           queries of {PAGE}            one INSERT")
    line("                           in three visits                 (median)")
    for name in sites:
        line(f"  {name:<25}{', '.join(map(str, queries[name])):<22}{median(inserts[name]):15.3f} ms")
    line()
    check(queries["ormcache, blacklisted"] == queries["plain Django"], "its reads go to the database every time")
    check(not stale, f"{stale} of {ROUNDS * len(sites)} reads after writes were stale")
    check(home == 0, f"{home} queries for the home page: what is not on the list is cached as before")


def _write(plain, sites, blacklisted):
    """The milliseconds of each INSERT by each site, and how often the blacklisted one then showed an old number."""
    inserts = {name: [] for name in sites}
    total = int(value(plain.inspect(PAGE)["body"], "total").replace(",", ""))
    stale = 0
    for _ in progress("writing in rounds", range(ROUNDS)):
        for name, site in sites.items():
            inserts[name] += site.record_views("/", INSERTS)[WARM_UP:]
            total += INSERTS
            # Nobody asks `cached` for this page now: all processes of a site need the same blacklist.
            stale += value(blacklisted.inspect(PAGE)["body"], "total") != f"{total:,}"
    return inserts, stale
