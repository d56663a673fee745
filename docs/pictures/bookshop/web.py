"""One process of the site, run as a program.

``web.py prepare``: makes the tables and fills them. ``web.py visit SEED HOURS VISITS``: visitors come, spread over so
many hours that end now. ``web.py serve``: prints the port that it serves on, until its input ends.
"""

import os
import random
import sys
import threading
import time
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[3])]
os.environ["DJANGO_SETTINGS_MODULE"] = "bookshop.settings"


class Clock:
    """``time.time`` for a process that lives through a day in a minute: whatever it stamps is of then."""

    def __init__(self):
        self.real = time.time
        self.shift = 0.0  # seconds

    def __call__(self):
        return self.real() - self.shift


clock = time.time = Clock()
if sys.argv[1] == "visit":
    clock.shift = int(sys.argv[3]) * 3600

import django

django.setup()

from django.contrib.auth.models import Permission, User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.wsgi import get_wsgi_application
from django.test import Client

from bookshop.models import Author, Book, Offer, PageView, Review
from bookshop.views import SHELVES
from ormcache.publishing import publisher

BOOKS, REVIEWS = 2_000, 10_001
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
        Permission.objects.get(codename="view_figures")
    )


def visit(seed, hours, visits):
    chance = random.Random(seed)
    client = Client()
    steps = hours * 3600 // STEP
    began = clock()
    for step in range(steps + 1):
        clock.shift = clock.real() - (began + step * STEP)
        if step == 0:
            publisher.publish()  # its beginning
        hour = time.gmtime(clock()).tm_hour
        busy = 0.25 + 0.75 * (1 - abs(hour - 15) / 15)  # few at night, most in the afternoon
        for _ in range(max(round(visits / (steps + 1) * busy * chance.uniform(0.8, 1.2)), 1)):
            _visit(client, chance)
        publisher.publish()


def _visit(client, chance):
    kind = chance.random()
    favourite = min(int(chance.paretovariate(0.9)), BOOKS)
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


if __name__ == "__main__":
    action, *numbers = sys.argv[1:]
    {"prepare": prepare, "visit": visit, "serve": serve}[action](*map(int, numbers))
