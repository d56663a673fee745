"""Part 3: one process writes, in every way that Django has, and another one shows it at once."""

import re

from pages import CITY, ZURICH
from screen import line, progress, title

BURST = 100  # writes, each read back at once


def show_freshness(plain, writer, reader, check):
    title("3. One process writes, another one sees it at once")
    line(f"  Two processes with ormcache: {reader.pid} shows pages, {writer.pid} writes.")
    log = Log(plain, writer, reader, check)

    log.from_cache(CITY, "population")
    writer.save(ZURICH, 500_001)
    log.written("city.save()")
    log.fresh(CITY, "population", "500,001")

    log.from_cache("/countries/", "capital-CH")
    writer.update("CH", "Zürich")
    log.written("Country.objects.filter(...).update(...)")
    log.fresh("/countries/", "capital-CH", "Zürich")

    log.from_cache(CITY, "author")
    writer.raw_sql(ZURICH, "Ghost")
    log.written('cursor.execute("UPDATE atlas_review ...")')
    log.fresh(CITY, "author", "Ghost")

    before = log.from_cache(CITY, "reviews")
    writer.begin()
    writer.create_review(ZURICH, "Zoë")
    log.written("with atomic(): Review.objects.create(...)")
    log.unchanged(CITY, "reviews", before)
    writer.commit()
    log.written("COMMIT")
    log.fresh(CITY, "reviews", str(int(before) + 1))

    log.from_cache(CITY, "population")
    writer.begin()
    writer.save(ZURICH, 1)
    writer.roll_back()
    log.written("with atomic(): city.save(), then ROLLBACK")
    log.unchanged(CITY, "population", "500,001")

    _burst(writer, reader, check)


def _burst(writer, reader, check):
    line()
    stale = hits = 0
    for number in progress("writes in a row, each read back by the other process", range(BURST)):
        if number % 2:
            writer.save(ZURICH, number)
            name, expected = "population", str(number)
        else:
            writer.raw_sql(ZURICH, f"Ghost {number}")
            name, expected = "author", f"Ghost {number}"
        for _ in range(2):  # the second time from the cache
            page = reader.inspect(CITY)
            stale += value(page["body"], name) != expected
        hits += page["queries"] == 0
    check(not stale, f"{stale} of {2 * BURST} reads were stale")
    check(hits == BURST, f"{hits} of {BURST} second reads came from the cache")


class Log:
    """Prints what one process shows of a value, beside what plain Django reads from the database at that moment."""

    def __init__(self, plain, writer, reader, check):
        self.plain, self.writer, self.reader, self.check = plain, writer, reader, check

    def from_cache(self, path, name):
        """The value that the reader shows without a query."""
        line()
        self.reader.inspect(path)
        return self._show(path, name, lambda shown, page: page["queries"] == 0)

    def written(self, how):
        line(f"    {self.writer.pid} writes: {how}")

    def fresh(self, path, name, expected):
        self._show(path, name, lambda shown, page: shown == expected)

    def unchanged(self, path, name, expected):
        """After a write that nobody may see: still the same, and still without a query."""
        self._show(path, name, lambda shown, page: shown == expected and page["queries"] == 0)

    def _show(self, path, name, right):
        page = self.reader.inspect(path)
        same = page["body"] == self.plain.inspect(path)["body"]
        shown = value(page["body"], name)
        queries = page["queries"]
        source = "from the cache" if queries == 0 else f"{queries} quer{'y' if queries == 1 else 'ies'}"
        self.check(
            same and right(shown, page),
            f"{self.reader.pid} shows {name} = {shown}  ({path}, {source})",
        )
        return shown


def value(body, name):
    """The text of the element with this id."""
    return re.search(rf' id="{name}">([^<]*)<', body)[1]
