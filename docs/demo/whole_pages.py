"""Part 4: pages that are cached as a whole, until one of the rows that they show is written."""

from statistics import median

from freshness import value
from pages import ZURICH
from screen import line, title

GENEVA = 2660646  # GeoNames' number
VISITS = 40


def show_whole_pages(plain, writer, reader, check):
    title("4. Pages that are cached as a whole")
    line("  + @ormcache.cache_page()")
    line("    def city(request, pk):")
    line()
    ms = _measure(plain, reader)
    faster = ms["plain"] / ms["whole"]
    line(f"  A visit: {ms['plain']:.2f} ms with plain Django, {ms['whole']:.2f} ms from the cache ({faster:.0f}x).")
    line()

    before = reader.count_runs()
    for city in (ZURICH, GENEVA):
        reader.inspect(whole(city))
    check(reader.count_runs() == before, "two pages from the cache: the view did not run")

    writer.create_review(ZURICH, "Ada")
    page = reader.inspect(whole(ZURICH))["body"]
    check(value(page, "author") == "Ada", f"{writer.pid} writes a comment on one city: {reader.pid} shows it at once")
    check(page == plain.inspect(f"/cities/{ZURICH}/")["body"], "that page is the one of plain Django, byte by byte")
    reader.inspect(whole(GENEVA))
    check(reader.count_runs() == before + 1, "the view ran once for it; the page of the other city is still the same")


def whole(city):
    return f"/whole/cities/{city}/"


def _measure(plain, reader):
    """The milliseconds of one visit."""
    for city in (ZURICH, GENEVA):
        reader.visit(whole(city), 2)
    times = {"plain": [], "whole": []}
    for _ in range(VISITS):
        times["plain"].append(plain.visit(f"/cities/{ZURICH}/", 1)[0]["ms"])
        times["whole"].append(reader.visit(whole(ZURICH), 1)[0]["ms"])
    return {kind: median(values) for kind, values in times.items()}
