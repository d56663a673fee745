"""The pictures of the page in the admin: ``python docs/pictures/admin_page.py``.

The site is the bookshop beside this file. Needs Debian's ``chromium`` and the dependency group ``test``.
"""

import tempfile
from pathlib import Path

from browser import browser
from site_of_pictures import Bookshop

FOLDER = Path(__file__).parent
THEMES = ("light", "dark")
WIDTH = 1440
PATH = "/admin/ormcache_admin/statistics/"


def log_in(page, address):
    page.goto(f"{address}/admin/login/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "secret")
    page.click("input[type=submit]")


def take_all(page, name):
    """The state, a day, and what to change."""
    height = page.locator("#oc-h-tables").bounding_box()["y"] - 12
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=_area(0, height))


def take_tables(page, name):
    """Tables and queries, one of these opened."""
    page.locator(".oc-query summary").first.click()
    top = page.locator("#oc-h-tables").bounding_box()["y"] + page.evaluate("scrollY") - 12
    bottom = page.locator("#oc-h-why").bounding_box()["y"] + page.evaluate("scrollY") - 12
    left = page.locator("#content").bounding_box()["x"]
    page.screenshot(path=FOLDER / f"{name}.png", full_page=True, clip=_area(top, bottom - top, left))


def _area(top, height, left=0):
    return {"x": left, "y": top, "width": WIDTH - left, "height": height}


def main():
    with tempfile.TemporaryDirectory(prefix="ormcache-bookshop-") as folder, Bookshop(folder) as bookshop:
        bookshop.run("prepare")
        bookshop.visited(hours=24, visits=9000)
        address = bookshop.serve()
        for theme in THEMES:
            with browser(color_scheme=theme, viewport={"width": WIDTH, "height": 1000}) as window:
                page = window.pages[0]
                log_in(page, address)
                page.goto(f"{address}{PATH}")
                take_all(page, f"admin-{theme}")
                take_tables(page, f"admin-tables-{theme}")


if __name__ == "__main__":
    main()
