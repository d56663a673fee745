"""What a process of the site can do."""

import random
import sys
import threading
import time
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test import Client

from bookshop.models import Author, Book, Offer, PageView, Review
from bookshop.views import SHELVES
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.telemetry.publisher import publisher

BOOKS, REVIEWS = 6_000, 30_000
STEP = 600  # seconds between two times that figures are told


def prepare():
    call_command("migrate", run_syncdb=True, verbosity=0)
    chance = random.Random(1)
    Author.objects.bulk_create(Author(pk=pk, name=f"Author {pk}") for pk in range(1, 201))
    Book.objects.bulk_create(
        Book(pk=pk, author_id=pk % 200 + 1, title=f"Book {pk}", price=pk % 40 + 5, shelf=chance.choice(SHELVES))
        for pk in range(1, BOOKS + 1)
    )
    Review.objects.bulk_create(
        Review(book_id=chance.randrange(1, BOOKS + 1), stars=chance.randrange(1, 6), text="Read it in one night.")
        for _ in range(REVIEWS)
    )
    Offer.objects.bulk_create(Offer(book_id=pk) for pk in range(1, BOOKS, 3))
    PageView.objects.bulk_create(PageView(path=f"/book/{pk}/") for pk in range(1, BOOKS + 1))
    User.objects.create_superuser("ann", "ann@example.org", "secret")
    User.objects.create_user("bob", password="secret", is_staff=True)
    User.objects.create_user("eve", password="secret", is_staff=True).user_permissions.add(
        Permission.objects.get(codename="view_statistics")
    )


def visit(seed, hours, visits):
    chance = random.Random(seed)
    client = Client()
    steps = hours * 3600 // STEP
    began = time.time()
    for step in range(steps + 1):
        time.time.shift = time.time.real() - (began + step * STEP)
        if step == 0:
            publisher.publish()  # its beginning
        hour = time.gmtime(time.time()).tm_hour
        distance = min(abs(hour - 15), 24 - abs(hour - 15))
        busy = 1 - 0.8 * distance / 12  # few at night, most in the afternoon
        for _ in range(max(round(visits / (steps + 1) * busy * chance.uniform(0.8, 1.2)), 1)):
            _visit(client, chance)
        publisher.publish()


def _visit(client, chance):
    kind = chance.random()
    favourite = min(int(chance.paretovariate(0.8)), BOOKS)
    if kind < 0.35:
        client.get("/")
    elif kind < 0.6:
        client.get(f"/shelf/{chance.choice(SHELVES)}/")
    elif kind < 0.985:
        client.get(f"/book/{favourite}/")
    elif kind < 0.995:
        client.get("/everything/")
    else:
        client.post(f"/book/{favourite}/review/")


def use_functions():
    """Functions, fragments and pages are used: by the tests that need a browser, not for the pictures."""
    for _ in range(40):
        for kind in ("page", "fragment", "function"):
            compute(Use(kind, f"{kind}/that-hits/with-a-rather-long-name/", kind.encode()), Book.objects.count)
        compute(Use("page", "/lucky/", b"lucky"), lambda: list(Book.objects.order_by("?").values_list("pk")[:3]))
    publisher.publish()


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *arguments):
        """Nothing."""


def serve():
    server = Server(("127.0.0.1", 0), Quiet)
    server.set_app(StaticFilesHandler(get_wsgi_application()))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
