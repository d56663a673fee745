"""``manage.py ormcache``: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest
from django.core.management import call_command, execute_from_command_line
from django.core.management.base import CommandError
from django.db import OperationalError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import override_settings

import ormcache
from ormcache import reasons
from ormcache.connection.mixins import ConnectionMixin
from ormcache.management.commands.ormcache import CUT_OFF, SUBCOMMANDS
from ormcache.management.output import encodable
from tests.integration.reading import ENGINE, execute
from tests.shop.models import Author, Book, Genre
from tests.waiting import eventually

STORES = {
    "embedded": {},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "memcached": {"STORE": "memcached", "CACHE": "memcached"},
    "django": {"STORE": "django", "CACHE": "file"},
}

each_store = pytest.mark.parametrize("given", STORES.values(), ids=STORES)


def run(*args: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("ormcache", *args, stdout=out, **options)
    return out.getvalue()


def run_json(*args: str, **options: Any) -> Any:
    return json.loads(run(*args, "--json", **options))


def error_of(*args: str, out: io.StringIO | None = None) -> str:
    with pytest.raises(CommandError) as raised:
        call_command("ormcache", *args, stdout=out or io.StringIO())
    return str(raised.value)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


# All of them -----------------------------------------------------------------------------


@pytest.fixture
def lone():
    """Without the warning of the alias that leads to the same database past ormcache."""
    with override_settings(SILENCED_SYSTEM_CHECKS=["ormcache.W008"]):
        yield


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_each_subcommand_has_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["django-admin", "ormcache", name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert SUBCOMMANDS[name].HELP.split()[0] in text
    assert ("--json" in text) == (name != "report")  # which is HTML


def test_it_is_a_command_of_django():
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", "django", "ormcache"]
    text = subprocess.run([*command, "--help"], env=environment, **CAUGHT, check=True).stdout
    assert all(f"\n    {name} " in text for name in SUBCOMMANDS)
    failed = subprocess.run([*command, "explain", "shop.Autor"], env=environment, **CAUGHT, check=False)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "did you mean shop.Author" in failed.stderr
    assert subprocess.run(command, env=environment, **CAUGHT, check=False).returncode == 2
    done = subprocess.run(
        [*command, "explain", "--no-color", "-"], env=environment, input="SELECT 1", **CAUGHT, check=True
    )
    assert "SELECT 1" in done.stdout


CAUGHT: Any = {"capture_output": True, "text": True}


@pytest.mark.parametrize("args", [("explain", "shop.Author"), ("check",), ("invalidate",)])
def test_aliases(args):
    assert "'plain' does not go through ormcache: its ENGINE is 'django.db" in error_of(*args, "--using", "plain")
    assert "no database 'secnd' in DATABASES. Did you mean 'second'?" in error_of(*args, "--using", "secnd")
    assert "no database 'x'" in error_of(*args, "--using", "x")


@pytest.mark.parametrize("args", [("explain", "shop.Author"), ("check",), ("invalidate",)])
def test_one_document_is_printed_and_nothing_else(args, capsys):
    found = run_json(*args)
    assert isinstance(found, dict)
    assert capsys.readouterr() == ("", "")


def test_all_databases_or_the_named_one():
    assert [one["using"] for one in run_json("explain", "shop.Author")["explanations"]] == ["default", "second"]
    (one,) = run_json("explain", "shop.Author", "--using", "second")["explanations"]
    assert one["using"] == "second"
    assert [one["using"] for one in run_json("check")["databases"]] == ["default", "second"]
    assert [one["using"] for one in run_json("invalidate")["invalidated"]] == ["default", "second"]


def test_no_database_goes_through_ormcache(monkeypatch):
    monkeypatch.setattr("ormcache.management.common.cached_aliases", list)
    assert "No database goes through ormcache" in error_of("check")


@pytest.mark.parametrize("args", [("explain", "shop.Author"), ("check",)])
def test_colours_only_decorate(args, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout", Terminal())

    def printed(*more: str, to: io.StringIO | None = None) -> str:
        to = to or io.StringIO()
        call_command("ormcache", *args, "--using", "default", *more, stdout=to)
        return to.getvalue()

    def words(text: str) -> list[str]:
        """Without colours, and without what was measured."""
        return re.sub(r"[\d.,]+", "", re.sub(r"\x1b\[[\d;]*m", "", text)).replace("µs", "ms").split()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in printed()
    assert "\x1b" in printed("--force-color")
    assert "\x1b" in printed(to=Terminal())
    assert "\x1b" not in printed("--no-color", to=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in printed(to=Terminal())
    assert words(printed("--force-color")) == words(printed())


def test_both_colour_options_are_refused():
    assert "can't be used together" in error_of("explain", "shop.Author", "--no-color", "--force-color")


def test_lines_fit(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    for args in (("explain", "shop.Book"), ("check",), ("invalidate",)):
        assert max(map(len, run(*args).splitlines())) <= 80


def test_a_database_that_does_not_answer(monkeypatch):
    def fail(self: Any) -> None:
        raise OperationalError("no route to host\n")

    connections["default"].close()
    monkeypatch.setattr("ormcache.connection.mixins.ConnectionMixin.ensure_connection", fail, raising=False)
    expected = "The database 'default' does not answer: no route to host"
    assert error_of("explain", "shop.Author", "--using", "default") == expected
    assert error_of("invalidate", "--using", "default") == expected
    out = io.StringIO()
    assert error_of("check", "--using", "default", "--json", out=out) == "1 error found."
    (found,) = json.loads(out.getvalue())["databases"]
    assert "does not answer: no route to host" in found["findings"][0]["text"]


@pytest.fixture
def second_is_away(monkeypatch):
    connections["second"].close()
    reach = BaseDatabaseWrapper.ensure_connection

    def ensure_connection(self: Any) -> None:
        if self.alias == "second":
            raise OperationalError("no route to host")
        reach(self)

    monkeypatch.setattr(ConnectionMixin, "ensure_connection", ensure_connection, raising=False)


AWAY = "The database 'second' does not answer: no route to host"


@pytest.mark.parametrize("name", ["stats", "tables", "queries", "advise", "warm"])
def test_a_database_that_does_not_answer_hides_no_other(name, second_is_away):
    out = io.StringIO()
    assert error_of(name, "--json", out=out) == AWAY
    found = json.loads(out.getvalue())
    # There can also be what other processes have published, which call the database something else.
    assert {one["own_alias"] if name != "warm" else one["using"] for one in found["databases"]} == {"default"}
    assert found["unreachable"] == {"second": AWAY}
    assert error_of(name, "--using", "second") == AWAY


def test_what_can_be_reached_is_explained(second_is_away):
    out = io.StringIO()
    assert error_of("explain", "shop.Author", "shop.Book", "--json", out=out) == AWAY
    found = json.loads(out.getvalue())["explanations"]
    assert [(one["using"], "shop_author" in one["sql"]) for one in found] == [("default", True), ("default", False)]


def test_what_can_be_reached_is_invalidated(second_is_away, queries):
    list(Author.objects.all())
    out = io.StringIO()
    assert error_of("invalidate", "--json", out=out) == f"{AWAY}\nNothing was invalidated there."
    assert [one["using"] for one in json.loads(out.getvalue())["invalidated"]] == ["default"]
    with queries(1):
        list(Author.objects.all())


def test_nobody_reads_to_the_end():
    """As with ``| head``."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"}
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "django", "ormcache", "stats", "--json"]
    try:
        done = subprocess.run(command, env=environment, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writes)
    assert (done.returncode, done.stderr) == (CUT_OFF, "")


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["drawn", "json"])
def test_a_terminal_that_has_only_ascii(options):
    Author.objects.create(name="Ångström")
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "django", "ormcache", "explain", "SELECT 'Ångström → µ' FROM shop_author"]
    done = subprocess.run([*command, *options], env=environment, **CAUGHT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    if options:
        assert json.loads(done.stdout)["explanations"][0]["using"] == "default"


def test_characters_that_an_encoding_lacks():
    assert encodable("3 µs → 2 × Å…", "utf-8") == "3 µs → 2 × Å…"  # noqa: RUF001  # what it is about
    assert encodable("3 µs → 2 × Å…", "ascii") == "3 us -> 2 x ?..."  # noqa: RUF001  # what it is about
    assert encodable("3 µs", "latin-1") == "3 µs"


def test_without_the_app(tmp_path):
    """As in packaged applications, whose ``INSTALLED_APPS`` nobody may change."""
    (tmp_path / "packaged.py").write_text(
        "DATABASES = {'default': {'ENGINE': 'ormcache.backends.sqlite3', 'NAME': 'db.sqlite3'}}\n"
        f"ORMCACHE = {{'LOCATION': {str(tmp_path / 'store')!r}}}\n"
        "SECRET_KEY = 'x'\n"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "PYTHONWARNINGS": "error"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "ormcache"]
    done = subprocess.run(
        [*command, "stats", "--settings", "packaged", "--json"], cwd=tmp_path, env=environment, **CAUGHT, check=False
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["databases"][0]["using"] == "default"
    failed = subprocess.run([*command, "stats"], cwd=tmp_path, env=environment, **CAUGHT, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("ormcache: the project's settings cannot be used: ")
    assert "DJANGO_SETTINGS_MODULE" in failed.stderr
    assert "Traceback" not in failed.stderr


# explain -----------------------------------------------------------------------------------


def test_explain_tells_what_the_function_tells():
    (found,) = run_json("explain", "shop.Author", "--using", "default")["explanations"]
    assert found["sql"] == str(Author.objects.all().query)
    assert found["cached"] is True
    assert found["entry"]["state"] == "absent"
    list(Author.objects.all())
    (found,) = run_json("explain", "shop.Author.objects", "--using", "default")["explanations"]
    assert found["entry"]["state"] == "served"
    assert found["reads"][1]["slot"]["since"].endswith("Z")
    text = run("explain", "shop.Author", "--using", "default")
    assert "in the cache; a read would hit" in text
    assert "shop_author  the statement names it" in text


def test_explain_takes_managers():
    (found,) = run_json("explain", "shop.Book.available", "--using", "default")["explanations"]
    assert "WHERE" in found["sql"]
    assert found["subject"] == "shop.Book.available"
    assert error_of("explain", "shop.Book.availabel") == (
        "The model shop.Book has no manager 'availabel' (did you mean available?)."
    )


def test_explain_takes_sql(monkeypatch):
    text = run("explain", "DELETE FROM shop_book WHERE id = 1", "--using", "default")
    assert re.search(r"^kind +write$", text, re.MULTILINE)
    assert "verdict" not in text
    assert "legacy_stock" in text
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT random() FROM shop_book"))
    text = run("explain", "-", "--using", "default")
    assert f"not cached: {reasons.RANDOM}" in text
    assert "What to do:" in text
    assert run_json("explain", "COMMIT", "--using", "default")["explanations"][0]["kind"] == "transaction control"


def test_explain_takes_several():
    found = run_json("explain", "shop.Author", "SELECT 1", "--using", "default")["explanations"]
    assert [one["subject"] for one in found] == ["shop.Author", "SQL"]


def test_explain_names_what_is_near():
    assert error_of("explain", "shop.Autor") == (
        "'shop.Autor' is neither a model nor SQL (did you mean shop.Author or shop.Book?)."
    )
    assert "(did you mean shop.Book" in error_of("explain", "shop_bok")
    text = " ".join(run("explain", "SELECT * FROM shop_autor", "--using", "default").split())
    assert "unknown shop_autor: there is no table or view of that name (did you mean shop_author" in text


@pytest.mark.parametrize("sql", ["SELECT 'a", "SELECT /* a FROM shop_author"])
def test_explain_refuses_what_is_no_sql(sql):
    assert f"cannot be read to its end ({sql})" in error_of("explain", sql)


def test_explain_refuses_nothing_at_all(monkeypatch):
    assert error_of("explain", " ") == "The SQL is empty."
    assert "required" in error_of("explain")


def test_explain_shows_what_hinders():
    with ormcache.disabled():
        assert "bypassed: disabled" in run("explain", "shop.Author", "--using", "default")


# check -------------------------------------------------------------------------------------


def levels(found: Any, about: str) -> list[str]:
    return [finding["level"] for finding in found["findings"] if finding["about"] == about]


def test_check_is_no_traffic(lone):
    before = ormcache.stats("default")
    assert run_json("check", "--using", "default", "--rounds", "1")["worst"] != "error"
    after = ormcache.stats("default")
    counted = ("hits", "misses", "bypassed")
    assert [after[name] for name in counted] == [before[name] for name in counted]


@each_store
def test_check(lone, configure, given):
    configure(**given)
    connections.close_all()
    found = run_json("check", "--using", "default", "--rounds", "2")
    (one,) = found["databases"]
    kind = given.get("STORE", "embedded")
    assert (one["using"], one["vendor"], one["store"]["kind"]) == ("default", connection.vendor, kind)
    assert one["version"]
    assert one["round_trip"]["rounds"] == 2
    assert 0 < one["round_trip"]["best"] <= one["round_trip"]["median"]
    assert one["operations"].keys() == {"look_up", "put", "mark_and_settle"}
    assert len(one["proof"]) == 8
    assert all(step["passed"] for step in one["proof"])
    assert one["table"] == "django_content_type"
    assert (one["clock"] is None) == (ENGINE == "sqlite")
    if one["clock"] is not None:
        assert abs(one["clock"]["offset"]) <= one["clock"]["error"] + 0.001  # a server may round to milliseconds
    for about in ("database", "proof", "rows"):
        assert levels(one, about) == ["ok"], one
    assert found["worst"] == {"django": "warning", "redis": "warning"}.get(kind, found["worst"])
    text = run("check", "--using", "default", "--rounds", "1")
    assert "8 of 8 steps passed" in text


def test_check_leaves_nothing_and_reads_only(lone, configure, redis_server, queries):
    import redis

    configure(STORE="redis", CACHE="redis", LOCAL_SIZE=0)
    client = redis.Redis(host=redis_server.host, port=redis_server.port, db=1)
    list(Author.objects.all())
    list(Genre.objects.all())
    run("check", "--using", "default")
    before = {key: client.get(key) for key in client.keys("ormcache:*")}
    with queries() as seen:
        run("check", "--using", "default")
    after = {key: client.get(key) for key in client.keys("ormcache:*")}
    client.close()
    assert after == before
    assert all(sql.lstrip().upper().startswith(("SELECT", "SHOW", "PRAGMA")) for sql in seen), seen


def test_check_finds_rows_that_changed_past_the_cache(lone):
    run("check", "--using", "default")
    execute("UPDATE django_content_type SET model = 'other' WHERE model = 'book'", using="plain")
    try:
        out = io.StringIO()
        assert error_of("check", "--using", "default", "--json", out=out) == "1 error found."
        (found,) = json.loads(out.getvalue())["databases"]
        assert levels(found, "rows") == ["error"]
        ormcache.invalidate()
        assert levels(run_json("check", "--using", "default")["databases"][0], "rows") == ["ok"]
    finally:
        execute("UPDATE django_content_type SET model = 'book' WHERE model = 'other'", using="plain")


class Broken:
    """What a store must not do, each under the name of the step that finds it."""

    @staticmethod
    def fill(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_fill_slots", lambda self, slots, stamp: [None for _ in slots])

    @staticmethod
    def put(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_put_entry", lambda self, *args: False)

    @staticmethod
    def put_into_nothing(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_put_entry", lambda self, *args: True)

    @staticmethod
    def mark(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_mark", lambda self, *args: None)

    @staticmethod
    def settle(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_settle", lambda self, *args: None)

    @staticmethod
    def empty(store: Any, monkeypatch: Any) -> None:
        monkeypatch.setattr(type(store), "_clear_slots", lambda self, *args: None)


@pytest.mark.parametrize(
    "broken, step",
    [
        ("fill", "empty slots are filled with stamps"),
        ("put", "a result is stored"),
        ("put_into_nothing", "it is served"),
        ("mark", "while a writer's mark is there, nothing is served or stored"),
        ("settle", "once the write is settled, the old result is not served"),
        ("empty", "what was stored for this proof can be removed"),
    ],
)
def test_a_store_that_breaks_a_rule_is_found(broken, step, monkeypatch):
    from ormcache.diagnostics.health.proof import prove

    connection.ensure_connection()
    store = connection.ormcache.database.stamps.store
    with monkeypatch.context() as context:
        getattr(Broken, broken)(store, context)
        failed = [one.text for one in prove(store, 60) if not one.passed]
    assert failed[0] == step
    assert all(one.passed for one in prove(store, 60))


def test_check_says_why_nothing_is_cached(lone, configure):
    configure(ENABLED=False)
    connections.close_all()
    (one,) = run_json("check", "--using", "default")["databases"]
    (finding,) = [finding for finding in one["findings"] if finding["level"] == "warning"]
    assert "Nothing is cached (disabled)" in finding["text"]
    assert finding["hint"]
    assert one["store"] is None


def test_check_says_that_the_store_is_away(lone, configure):
    away = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1"}
    from django.conf import settings

    with override_settings(CACHES=settings.CACHES | {"away": away}):
        configure(STORE="redis")
        configure_cache("away")
        connections.close_all()
        out = io.StringIO()
        error_of("check", "--using", "default", "--json", out=out)
        (one,) = json.loads(out.getvalue())["databases"]
        assert levels(one, "store") == ["error"]
        assert one["round_trip"] is not None
        connections.close_all()


def configure_cache(alias: str) -> None:
    """Without emptying it."""
    from django.conf import settings
    from django.test.signals import setting_changed

    for name in ("default", "second"):
        settings.DATABASES[name]["ORMCACHE"]["CACHE"] = alias
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)


def test_check_says_what_the_system_checks_say(configure):
    configure(BLACKLIST=["shop.Autor"])
    found = run_json("check", "--using", "default")
    assert "ormcache.W009" in {finding["about"] for finding in found["settings"]}
    assert found["worst"] in ("warning", "error")
    with override_settings(SILENCED_SYSTEM_CHECKS=["ormcache.W009"]):
        found = run_json("check", "--using", "default")
        assert "ormcache.W009" not in {finding["about"] for finding in found["settings"]}


def test_check_of_settings_that_are_wrong(configure):
    configure(BLAKLIST=[])
    connections.close_all()
    out = io.StringIO()
    assert "found." in error_of("check", "--using", "default", "--json", out=out)
    found = json.loads(out.getvalue())
    assert "ormcache.E002" in {finding["about"] for finding in found["settings"]}


@pytest.mark.parametrize("rounds", ["0", "-1", "x"])
def test_check_refuses_rounds(rounds):
    assert "1 or more" in error_of("check", f"--rounds={rounds}")


# invalidate --------------------------------------------------------------------------------


def is_served(model: Any) -> bool:
    return ormcache.explain(model).entry.state == "served"


@pytest.fixture
def cached():
    for model in (Author, Book, Genre):
        list(model.objects.all())
        assert is_served(model)


def test_invalidate_models_and_tables(cached):
    found = run_json("invalidate", "shop.Author", "shop_genre", "--using", "default")
    (one,) = found["invalidated"]
    assert set(one["relations"]) >= {"shop_author", "shop_genre"}
    assert (one["everything"], one["published"], found["not_cached"]) == (False, True, {})
    assert [is_served(model) for model in (Author, Book, Genre)] == [False, True, False]


def test_invalidate_an_app(cached):
    assert "shop_author" in run("invalidate", "shop.*", "--using", "default")
    assert not any(map(is_served, (Author, Book, Genre)))


def test_invalidate_everything(cached):
    text = run("invalidate")
    assert "default   everything" in text
    assert "second    everything" in text
    assert not any(map(is_served, (Author, Book, Genre)))


def test_invalidate_tells_what_hangs_on_it(cached, ddl):
    ddl("CREATE VIEW seen AS SELECT id FROM shop_author", "DROP VIEW seen")
    (one,) = run_json("invalidate", "seen", "--using", "default")["invalidated"]
    assert set(one["relations"]) == {"seen", "shop_author"}


def test_invalidate_what_is_not_known(cached):
    message = error_of("invalidate", "shop.Autor", "shop.Book", "--using", "default")
    assert message.startswith("No model, app or table of a cached database: 'shop.Autor' (did you mean shop.Author")
    assert is_served(Book)
    assert "'zzzz'. Nothing was invalidated." in error_of("invalidate", "zzzz")


def test_invalidate_where_nothing_is_cached(configure):
    configure(ENABLED=False)
    connections.close_all()
    message = error_of("invalidate")
    assert "Nothing was invalidated, because nothing is cached: default: disabled" in message


def test_invalidate_where_one_of_two_is_cached(settings):
    from django.test.signals import setting_changed

    own = settings.DATABASES["second"]["ORMCACHE"]
    own["ENABLED"] = False
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
    connections.close_all()
    try:
        found = run_json("invalidate", "shop.Author")
        assert [one["using"] for one in found["invalidated"]] == ["default"]
        assert found["not_cached"]["second"].startswith("disabled")
        assert "nothing: it is not cached (disabled" in run("invalidate", "shop.Author").replace("\n", " ")
    finally:
        del own["ENABLED"]
        setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)


def test_invalidate_without_a_store(configure, start_server):
    from django.conf import settings

    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        list(Author.objects.all())
        server.stop()
        out = io.StringIO()
        message = error_of("invalidate", "shop.Author", "--using", "default", "--json", out=out)
        assert "The store does not answer (default: " in message
        assert json.loads(out.getvalue())["invalidated"][0]["published"] is False
        server.restart()
        eventually(lambda: not connection.ormcache.database.pending.relations)
        connections.close_all()
