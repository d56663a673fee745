"""Part 2: the same pages from both engines, in milliseconds and in queries."""

from statistics import median

from screen import line, progress, title

ZURICH = 2657896  # GeoNames' number
CITY = f"/cities/{ZURICH}/"
PAGES = {
    "Home": "/",
    "Countries": "/countries/",
    "A country": "/countries/CH/",
    "A city": CITY,
    "Search": "/search/?q=berg",
    "Statistics": "/statistics/",
}
ROUNDS = 12
VISITS = 3  # of each page in each round


def compare_pages(plain, cached, check):
    """Returns the milliseconds of one visit to every page: with plain Django, as a first visit, and from the cache."""
    title("2. The pages of the site, with and without ormcache")
    line(f'  - "ENGINE": "{plain.engine}",')
    line(f'  + "ENGINE": "{cached.engine}",')
    line()
    ms, answers, differing = _measure(plain, cached)
    queries = _count(plain, cached)
    line()
    line("                plain Django       first visit      from then on")
    line("                 ms  queries       ms  queries       ms  queries    faster")
    for name, path in PAGES.items():
        cells = "".join(f"{ms[path][kind]:9.2f}{queries[path][kind]:9}" for kind in ("plain", "miss", "hit"))
        line(f"  {name:<10}{cells}{ms[path]['plain'] / ms[path]['hit']:9.1f}x")
    line()
    line("  Medians. Queries are the statements that reached SQLite.")
    line()
    check(not differing, f"{answers} pages compared byte by byte, {differing} differ from plain Django's")
    hit_queries = sum(kinds["hit"] for kinds in queries.values())
    check(hit_queries == 0, f"{hit_queries} queries for all {len(PAGES)} pages from their second visit on")
    return {kind: sum(kinds[kind] for kinds in ms.values()) for kind in ("plain", "miss", "hit")}


def _measure(plain, cached):
    """Both take turns at every page, so that a busy moment of the machine hits both."""
    expected = {path: plain.inspect(path)["body"] for path in PAGES.values()}
    times = {path: {"plain": [], "miss": [], "hit": []} for path in PAGES.values()}
    answers = differing = 0
    for _ in progress("measuring in rounds", range(ROUNDS)):
        for path in PAGES.values():
            visits = {
                "plain": plain.visit(path, VISITS),
                "miss": cached.visit(path, VISITS, True),
                "hit": cached.visit(path, VISITS),
            }
            for kind, pages in visits.items():
                for page in pages:
                    times[path][kind].append(page["ms"])
                    answers += 1
                    differing += page["body"] != expected[path]
    ms = {path: {kind: median(values) for kind, values in kinds.items()} for path, kinds in times.items()}
    return ms, answers, differing


def _count(plain, cached):
    """Apart from the measuring, because counting takes time."""
    cached.forget()
    visits = [("plain", plain), ("miss", cached), ("hit", cached)]
    return {path: {kind: site.inspect(path)["queries"] for kind, site in visits} for path in PAGES.values()}
