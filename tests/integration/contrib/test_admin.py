"""The page of statistics in the admin: who may see it, what it shows, and what it does not."""

from __future__ import annotations

import datetime
import html
import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models.functions import Now
from django.template.loader import render_to_string
from django.test import Client
from django.utils import timezone

from ormcache.diagnostics.advice import derived as advice_on_derived
from ormcache.diagnostics.advice import queries as advice
from ormcache.diagnostics.page.content import page_of
from ormcache.diagnostics.page.drawing import even
from ormcache.diagnostics.stats.overview import Overview, overview_of
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from ormcache.telemetry.history import COLUMNS, HistoryPoint
from ormcache.telemetry.publisher import publisher
from tests.integration.calls import count_anew
from tests.shop.models import Author, Book, Genre

IN_ADMIN = "/admin/ormcache_admin/statistics/"
IN_OFFICE = "/office/ormcache_admin/statistics/"
ALONE = "/ormcache/"
PAGES = [IN_ADMIN, IN_OFFICE, ALONE]


@pytest.fixture(autouse=True)
def statistics_are_published(configure):
    """Those of this test alone: the page shows the most important queries of the process."""
    configure(STATISTICS_INTERVAL=3600)
    count_anew()


def client(**user: Any) -> Client:
    """Of a visitor who is logged in."""
    client = Client()
    client.force_login(User.objects.create_user("ann", **user))
    return client


@pytest.fixture
def boss() -> Client:
    return client(is_staff=True, is_superuser=True)


def text_of(content: bytes) -> str:
    """What somebody reads."""
    plain = re.sub(r"<(script|style|head).*?</\1>|<[^>]+>", " ", content.decode(), flags=re.DOTALL)
    return " ".join(html.unescape(plain).split())


def read(client: Client, page: str = IN_ADMIN, **query: str) -> str:
    answer = client.get(page, query)
    assert answer.status_code == 200
    return text_of(answer.content)


# Permissions --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_strangers_are_sent_to_log_in(page):
    answer = Client().get(page)

    assert answer.status_code == 302
    assert "login" in answer["Location"]


@pytest.mark.parametrize("page", PAGES)
def test_staff_without_the_permission_may_not(page):
    visitor = client(is_staff=True)

    assert visitor.get(page).status_code == 403
    assert "query cache" not in read(visitor, "/admin/").lower()


@pytest.mark.parametrize("page", PAGES)
def test_staff_with_the_permission_may(page):
    visitor = client(is_staff=True)
    permission = Permission.objects.get(content_type__app_label="ormcache_admin", codename="view_statistics")
    User.objects.get().user_permissions.add(permission)

    assert "Hit rate" in read(visitor, page)
    assert "Query cache" in read(visitor, "/admin/")
    assert IN_ADMIN in visitor.get("/admin/").content.decode()


def test_the_permission_without_being_staff():
    visitor = client()
    User.objects.get().user_permissions.add(Permission.objects.get(codename="view_statistics"))

    assert visitor.get(ALONE).status_code == 403
    assert visitor.get(IN_ADMIN).status_code == 302


@pytest.mark.parametrize("page", PAGES)
def test_superusers_may(page, boss):
    assert "Hit rate" in read(boss, page)


def test_there_is_one_permission():
    assert list(Permission.objects.filter(content_type__app_label="ormcache_admin").values_list("codename")) == [
        ("view_statistics",)
    ]


def test_nothing_else_can_be_done(boss):
    assert boss.get(IN_ADMIN + "add/").status_code == 404
    assert boss.get(IN_ADMIN + "1/change/").status_code == 404
    assert boss.post(ALONE).status_code == 405
    assert boss.get(ALONE)["Cache-Control"] == "max-age=0, no-cache, no-store, must-revalidate, private"


# No table -----------------------------------------------------------------------------


def test_there_is_no_table_and_nothing_asks_for_one():
    assert "ormcache_admin_statistics" not in connection.introspection.table_names()
    out = StringIO()
    call_command("makemigrations", check_changes=True, dry_run=True, stdout=out)
    assert "No changes" in out.getvalue()
    for use_base_manager in (False, True):
        out = StringIO()
        call_command("dumpdata", "ormcache_admin", use_base_manager=use_base_manager, stdout=out)
        assert out.getvalue().strip() == "[]"


# What it shows ------------------------------------------------------------------------


def test_reads_and_writes_are_shown(boss):
    author = Author.objects.create(name="Homer")
    for _ in range(3):
        list(Author.objects.filter(name="Homer"))
    Book.objects.create(author=author, title="Iliad")

    shown = read(boss)

    assert "shop_author" in shown
    assert "shop_book" in shown
    assert 'FROM "shop_author" WHERE' in shown.replace("`", '"')
    assert "tests/integration/contrib/test_admin.py:" in shown
    assert 'INSERT INTO "shop_book"' in shown.replace("`", '"')
    assert "too early to say" in shown
    assert "Nobody" not in shown


def test_writes_of_other_programs_are_shown(boss):
    database = connection.ormcache.known()
    assert "Outside writes" not in read(boss)
    for _ in range(2):
        database.outside_writes.record("shop_author")
    database.outside_writes.record_lags([0.25, 0.75])
    page = read(boss)
    assert re.search(r"Outside writes 2 2 writes of other programs noticed, the last at .*: shop_author 2", page)
    assert (
        "Recorded writes 2 invalidated 500 ms after the write on average, 99 of 100 within 750 ms, 750 ms at most"
        in page
    )
    assert "written by other programs" in page


def test_advice_is_shown(boss, monkeypatch):
    monkeypatch.setattr(advice, "ENOUGH_SECONDS", 0)  # how long it takes is the machine's business
    Author.objects.create(name="Homer")
    for _ in range(60):
        list(Author.objects.order_by("?"))

    shown = read(boss)

    assert "Choose at random in Python, from a cached list of ids" in shown
    assert "bypasses" in shown


def use_functions() -> None:
    def names() -> tuple[str, ...]:
        return tuple(Author.objects.values_list("name", flat=True))

    def shuffled() -> tuple[str, ...]:
        return tuple(Author.objects.extra(where=["name <> 'secret'"]).order_by("?").values_list("name", flat=True))

    for _ in range(3):
        compute(Use("function", "shop.<b>names</b>", b"names"), names)
    Author.objects.create(name="Bea")
    compute(Use("function", "shop.<b>names</b>", b"names"), names)
    for _ in range(40):
        compute(Use("page", "/shuffled/", b"shuffled"), shuffled)


def test_pages_fragments_and_functions_are_shown(boss, monkeypatch):
    monkeypatch.setattr(advice_on_derived, "ENOUGH_SECONDS", 0)
    assert "Pages, fragments and functions" not in read(boss)
    use_functions()

    shown = read(boss)

    section = shown[shown.index("Pages, fragments and functions") :]
    section = section[: section.index("Queries")]
    assert "function shop.<b>names</b>" in section
    assert "Invalidated by writes to shop_author: 1" in section
    assert "page /shuffled/" in section
    assert "Not stored random: 40" in section
    assert "tests/integration/contrib/test_admin.py:" in section
    assert "not stored" in section
    assert "Page /shuffled/" in shown[: shown.index("Pages, fragments and functions")]  # the advice
    assert "secret" not in shown
    answer = boss.get(IN_ADMIN).content.decode()
    assert "<b>names</b>" not in answer
    assert len(set(re.findall(r'id="(oc-derived-[^"]+)"', answer))) == 2


def test_statements_are_laid_out(boss):
    list(Author.objects.filter(name="Homer"))

    shown = boss.get(IN_ADMIN, {"order": "misses"}).content.decode()

    table = html.escape(connection.ops.quote_name("shop_author"))
    assert re.search(rf'oc-full">SELECT [^<]*\nFROM {table}\nWHERE ', shown)  # in the details
    assert re.search(rf"<summary><code>SELECT [^<\n]* FROM {table} WHERE ", shown)


@pytest.mark.parametrize("order", ["saved", "misses", "uncached", "database"])
def test_queries_are_sorted(boss, order):
    list(Author.objects.all())
    list(Genre.objects.filter(pk__lt=3).annotate(now=Now()))

    assert "Queries" in read(boss, order=order)


def test_what_is_not_there_is_not_found(boss):
    for page in PAGES:
        assert boss.get(page, {"database": "plain"}).status_code == 404
        assert boss.get(page, {"database": "<script>"}).status_code == 404
        assert boss.get(page, {"order": "taste"}).status_code == 404


def test_each_database_has_its_own(boss):
    Genre.objects.using("second").create(name="Poetry")

    shown = read(boss, database="second")

    assert "shop_genre" in shown
    assert "auth_user" not in shown


def use_secrets() -> None:
    author = Author.objects.create(name="param-secret")
    for _ in range(20):  # enough for some of the executions to be remembered
        list(Author.objects.filter(name="param-secret"))
        list(Author.objects.extra(where=["name = 'literal-secret'"]))
        list(Book.objects.filter(created__gt=datetime.datetime(2001, 2, 3, tzinfo=datetime.UTC)))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_author SET name = 'cause-secret'")
    with transaction.atomic():
        author.delete()


def test_no_literal_and_no_parameter_is_shown(boss):
    use_secrets()

    content = "".join(boss.get(page).content.decode() for page in PAGES)

    assert "UPDATE shop_author SET name = ?" in content
    assert "secret" not in content
    assert "2001" not in content


def test_they_are_shown_where_the_settings_say_so(boss, configure):
    configure(SHOW_PARAMETERS=True)
    use_secrets()

    shown = read(boss)

    assert "UPDATE shop_author SET name = 'cause-secret'" in shown
    assert "literal-secret" in shown
    assert "param-secret" in shown


def test_names_are_escaped(boss):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE shop_author SET name = name /* <script>alert(1)</script> */ WHERE name <> '<b>'")

    assert "<script>alert" not in boss.get(IN_ADMIN).content.decode()


def read_in_another_process() -> int:
    for _ in range(7):
        list(Genre.objects.filter(name="told by another process"))
    publisher.publish()
    return 7


def test_statistics_of_other_processes_are_added(boss, other_process):
    other_process("tests.integration.contrib.test_admin.read_in_another_process")

    report = overview_of("default").report

    assert report is not None
    assert len(report.processes) == 2
    genre = next(one for one in report.relations if one.name.endswith("shop_genre"))
    assert genre.tally.hits >= 6
    assert "shop_genre" in read(boss)


# When something is wrong --------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_the_store_is_away(page, boss, configure, start_server, settings):
    server = start_server("redis")
    settings.CACHES = settings.CACHES | {
        "own": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": f"{server.url}/0"},
    }
    configure(STORE="redis", CACHE="own")
    list(Author.objects.all())
    assert "Working" in read(boss, page) or "answers" in read(boss, page)
    server.kill()

    shown = read(boss, page)

    assert "Store unavailable" in shown
    assert "this process alone" in shown
    assert "shop_author" in shown
    assert "Outages" in shown
    server.start()


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_cached(page, boss, configure):
    configure(ENABLED=False)

    shown = read(boss, page)

    assert "Not cached" in shown
    assert "ENABLED is False" in shown


def rendered(overview: Overview) -> str:
    context = {"aliases": ["default"], "using": "default", "order": "saved", "orders": {}, "page": None}
    return text_of(
        render_to_string("ormcache_admin/page.html", context | {"page": page_of(overview, "saved")}).encode()
    )


def test_nothing_is_counted_yet():
    database = overview_of("default").database

    shown = rendered(Overview("default", store="embedded", database=database))

    assert "nothing has been counted yet" in shown
    assert "Open a page of your site" in shown


def test_no_database_is_cached():
    shown = render_to_string("ormcache_admin/page.html", {"aliases": []})

    assert "No database has an engine of ormcache" in text_of(shown.encode())


def test_times_are_in_the_present_time_zone(boss):
    Author.objects.create(name="Homer")
    with timezone.override("Asia/Tokyo"):
        assert "JST" in read(boss)


def test_it_works_without_time_zones(boss, settings):
    settings.USE_TZ = False
    settings.USE_THOUSAND_SEPARATOR = True
    settings.LANGUAGE_CODE = "de"
    list(Author.objects.all())

    content = boss.get(ALONE).content.decode()

    assert not re.search(r'(?:width|x)="\d+,', content)


@pytest.mark.parametrize("ahead", [-30, 0, 2, 90, 4000])
def test_a_history_from_a_host_whose_clock_is_ahead(ahead):
    now = 1_800_000_000.0
    points = [HistoryPoint(int(now) // 60 * 60 + ahead // 60 * 60, 60, *[1] * len(COLUMNS))]

    assert [sum(point.hits for point in even(points, at)) for at in (now, now - 0.5)] == [1, 1]
