"""The pictures of the debug toolbar's panel: ``python docs/pictures/toolbar.py``.

The site is the demo's, with the toolbar and a few rows. Needs Debian's ``chromium`` and the dependency group ``test``.
"""

import os
import sys
import tempfile
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from browser import browser
from django.conf import settings

FOLDER = Path(__file__).parent
THEMES = ("light", "dark")
CITY = "/cities/1/visited/"


def configure(folder):
    """The demo's settings, and what the toolbar asks for; ormcache is in no list of apps."""
    sys.path.insert(0, str(FOLDER.parent / "demo"))
    os.environ |= {
        "DEMO_ENGINE": "ormcache.backends.sqlite3",
        "DEMO_DATABASE": f"{folder}/atlas.sqlite3",
        "DEMO_CACHE": f"{folder}/cache",
        "DEMO_BLACKLIST": "atlas.PageView",
    }
    from atlas import settings as demo

    given = {name: value for name, value in vars(demo).items() if name.isupper()}
    settings.configure(
        **given
        | {
            "DEBUG": True,
            "DEBUG_TOOLBAR_PANELS": [
                "debug_toolbar.panels.history.HistoryPanel",
                "debug_toolbar.panels.timer.TimerPanel",
                "debug_toolbar.panels.sql.SQLPanel",
                "ormcache.contrib.debug_toolbar.OrmcachePanel",
            ],
            "INSTALLED_APPS": ["django.contrib.staticfiles", "debug_toolbar", "atlas"],
            "INTERNAL_IPS": ["127.0.0.1"],
            "MIDDLEWARE": [
                f"{__name__}.content_security_policy",
                "debug_toolbar.middleware.DebugToolbarMiddleware",
            ],
            "ROOT_URLCONF": __name__,
            "STATIC_URL": "/static/",
            "TEMPLATES": [given["TEMPLATES"][0] | {"APP_DIRS": True}],
        }
    )
    django.setup()


def content_security_policy(get_response):
    """As strict as such a policy can be: nothing inline, nothing from elsewhere."""

    def answer(request):
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'none'; " + "; ".join(
            f"{kind} 'self'" for kind in ("script-src", "style-src", "img-src", "font-src", "connect-src")
        )
        return response

    return answer


def make_rows():
    from atlas.models import City, Continent, Country, Review
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    europe = Continent.objects.create(code="EU", name="Europe")
    country = Country.objects.create(
        iso="PT",
        name="Portugal",
        continent=europe,
        capital="Lisbon",
        area=92391,
        population=10347892,
        currency="Euro",
    )
    for name, people, latitude in (("Lisbon", 517802, 38.7), ("Almada", 174030, 38.7), ("Sintra", 377835, 38.8)):
        City.objects.create(
            name=name,
            other_names="",
            country=country,
            population=people,
            latitude=latitude,
            longitude=-9.1,
            timezone="Europe/Lisbon",
        )
    for number in range(200):
        Review.objects.create(
            city_id=number % 3 + 1, author="Ann", stars=number % 5 + 1, text="Go.", written="2026-01-01"
        )


def visited(request, pk):
    """A page as they are: it counts its visits, takes a review, and asks for one thing twice."""
    from atlas.models import PageView, Review
    from atlas.views import city

    PageView.objects.create(path=request.path)
    page = city(request, pk)
    Review.objects.create(city_id=pk, author="Bob", stars=5, text="Come again.", written="2026-01-02")
    city(request, pk)
    return page


def urls():
    from atlas.urls import urlpatterns as pages
    from debug_toolbar.toolbar import debug_toolbar_urls
    from django.http import HttpResponse
    from django.urls import path

    return [
        *pages,
        path("favicon.ico", lambda request: HttpResponse()),
        path("cities/<int:pk>/visited/", visited),
        *debug_toolbar_urls(),
    ]


def __getattr__(name):
    # Django asks for it when the first page is served: not before can the models be imported.
    if name == "urlpatterns":
        return urls()
    raise AttributeError(name)


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        """Nothing."""


def serve():
    """The address of the site, served by a thread of this process."""
    from django.contrib.staticfiles.handlers import StaticFilesHandler
    from django.core.wsgi import get_wsgi_application

    server = make_server("127.0.0.1", 0, StaticFilesHandler(get_wsgi_application()), handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def take(address, theme, complaints):
    with browser(color_scheme=theme, viewport={"width": 1280, "height": 1020}) as window:
        page = window.pages[0]
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        for _ in range(3):
            page.goto(address + CITY)
        if page.locator("#djShowToolBarButton").is_visible():
            page.click("#djShowToolBarButton")
        page.click("#djdt-OrmcachePanel a")
        page.wait_for_selector("#ormcacheMain_1")
        # What the write in this request has invalidated, in full.
        invalidated = page.locator("#OrmcachePanel tbody tr", has_text="in this request").first
        invalidated.locator(".djToggleSwitch").click()
        page.screenshot(path=FOLDER / f"toolbar-{theme}.png")
        page.locator("#OrmcachePanel button", has_text="Plan").first.click()
        page.wait_for_selector("#djDebugWindow dl")
        page.screenshot(path=FOLDER / f"toolbar-plan-{theme}.png")


def shrink(path):
    """As few colours as a page of text needs."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path, optimize=True)


def main():
    sys.modules["toolbar"] = sys.modules[__name__]
    with tempfile.TemporaryDirectory(prefix="ormcache-toolbar-") as folder:
        configure(folder)
        make_rows()
        address = serve()
        complaints = []
        for theme in THEMES:
            take(address, theme, complaints)
    for path in FOLDER.glob("toolbar-*.png"):
        shrink(path)
    if complaints:
        sys.exit("the browser complained:\n" + "\n".join(complaints))


if __name__ == "__main__":
    main()
