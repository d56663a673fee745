"""Takes the pictures of the documentation: ``python docs/pictures/take.py [NAME ...]``. One function a picture.

Needs Debian's ``chromium`` and the dependency group ``test``.
"""

import sys
import tempfile
from pathlib import Path

from browser import browser
from site_of_pictures import Bookshop

FOLDER = Path(__file__).parent
THEMES = ("light", "dark")


def log_in(page, address):
    page.goto(f"{address}/admin/login/")
    page.fill("#id_username", "ann")
    page.fill("#id_password", "secret")
    page.click("input[type=submit]")


def admin(address):
    """The page in the admin, in both themes."""
    for theme in THEMES:
        with browser(color_scheme=theme, viewport={"width": 1440, "height": 1000}) as window:
            page = window.pages[0]
            log_in(page, address)
            page.goto(f"{address}/admin/ormcache_admin/figures/")
            page.screenshot(path=FOLDER / f"admin-{theme}.png", full_page=True)


PICTURES = {"admin": admin}


def main():
    names = sys.argv[1:] or list(PICTURES)
    with tempfile.TemporaryDirectory(prefix="ormcache-bookshop-") as folder, Bookshop(folder) as bookshop:
        bookshop.run("prepare")
        bookshop.visited(hours=24, visits=6000)
        address = bookshop.serve()
        for name in names:
            PICTURES[name](address)


if __name__ == "__main__":
    main()
