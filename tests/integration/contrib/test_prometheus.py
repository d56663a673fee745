"""Metrics as Prometheus gets them: of one process, and of all."""

from __future__ import annotations

import gc
import json
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.core.signals import setting_changed
from django.db import connection, connections
from django.test import override_settings

from ormcache.cache.tracking import Rejection
from ormcache.catalog import SCHEMA
from ormcache.database.plans import blind_plan
from ormcache.diagnostics.metrics import readings
from ormcache.diagnostics.metrics.definitions import METRICS, MetricKind, MetricSource
from ormcache.diagnostics.metrics.readings import OTHER_RELATIONS, bounded, deployment_readings, process_readings
from ormcache.telemetry import counters_of, derived_stats
from ormcache.telemetry.exchange import Exchange
from ormcache.telemetry.publisher import publisher
from tests.integration.calls import count_anew, names, run
from tests.metrics import be_busy, labels_of, scraped, unknown_in
from tests.projects.running import Library
from tests.shop.models import Author

prometheus_client = pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry")

from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from ormcache.contrib.opentelemetry.instruments import instrument_name  # noqa: E402
from ormcache.contrib.prometheus import register  # noqa: E402
from ormcache.contrib.prometheus.collector import PREFIX, OrmcacheCollector  # noqa: E402


@pytest.fixture(autouse=True)
def _few_rows(configure):
    configure(MAX_ROWS=3)


@pytest.fixture
def published(configure):
    """The processes of this test publish what they have counted, and this one begins with nothing."""
    configure(STATISTICS_INTERVAL=3600)
    count_anew()


def value(found, name, **labels):
    """The sum of the series that have these labels."""
    return sum(number for (one, had), number in found.items() if one == name and labels.items() <= dict(had).items())


def parsed(page):
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


# Of one process -----------------------------------------------------------------------


def test_the_metrics_say_what_was_counted():
    before = scraped(OrmcacheCollector())
    be_busy()
    after = scraped(OrmcacheCollector())

    def grown(name, **labels):
        labels["alias"] = "default"
        return value(after, f"django_ormcache_{name}", **labels) - value(before, f"django_ormcache_{name}", **labels)

    assert grown("requests_total", result="hit") == 4
    assert grown("requests_total", result="miss") == 6
    assert grown("requests_total", result="bypass") == 3
    assert grown("bypasses_total", reason="random") == 1
    assert grown("bypasses_total", reason="disabled") == 1
    assert grown("bypasses_total", reason="dirty") == 1
    assert grown("misses_total") == 6
    assert grown("misses_total", cause="invalidated") == 1
    assert grown("invalidated_results_total", relation="shop_author") == 1
    assert grown("rejected_results_total", reason="too many rows") == 3
    assert grown("stored_results_total") == 3
    assert grown("writes_total") == 3
    assert grown("relation_writes_total", relation="shop_author") == 2
    assert grown("relation_writes_total", relation="shop_genre") == 1
    assert grown("unpublished_writes_total") == grown("damaged_entries_total") == grown("store_outages_total") == 0
    assert grown("store_written_bytes_total") > 0
    assert grown("database_queries_total", result="miss") == 6
    assert grown("cache_seconds_total", operation="hit") > 0
    assert grown("cache_seconds_total", operation="write") > 0
    assert grown("database_seconds_total", result="bypass") > 0
    assert grown("saved_seconds_total") > 0
    assert grown("derived_hits_total", kind="page", label="/") == 2
    assert grown("derived_misses_total", kind="page", label="/") == 1
    assert grown("derived_misses_total", kind="function", label="shop.object") == 3
    assert grown("derived_rejections_total", kind="function", label="shop.object", reason="unserializable") == 3
    assert grown("derived_rejections_total") == 3
    assert grown("derived_invalidations_total") == grown("derived_outdated_hits_total") == 0
    assert grown("derived_computing_seconds_total", kind="page") > 0
    assert grown("derived_cache_seconds_total", kind="page") > 0
    assert value(after, "django_ormcache_store_up", alias="default") == 1
    assert value(after, "django_ormcache_pending_relations", alias="default") == 0


def test_every_metric_has_series():
    be_busy()
    names_of = {name.removesuffix("_total") for name in labels_of(OrmcacheCollector())}

    assert names_of == {family.name for family in OrmcacheCollector().describe()}


def test_what_prometheus_reads_is_what_was_meant():
    registry = prometheus_client.CollectorRegistry()
    register(registry)
    be_busy()
    page = prometheus_client.generate_latest(registry).decode()

    assert set(parsed(page)) == set(scraped(OrmcacheCollector()))


def test_a_scrape_asks_neither_the_store_nor_the_database(queries, monkeypatch):
    be_busy()
    from ormcache.stores.base import Store

    asked = []
    for operation in ("_call_guarded", "look_up", "mark", "settle"):
        monkeypatch.setattr(Store, operation, lambda *args: asked.append(args))
    with queries(0):
        assert scraped(OrmcacheCollector())
    assert asked == []


def test_registering_again_is_no_error():
    registry = prometheus_client.CollectorRegistry()
    first = register(registry)
    second = register(registry, relations=1)

    assert set(registry._collector_to_names) == {second}
    assert first is not second


def test_a_registry_is_not_kept_alive():
    from ormcache.contrib.prometheus import collector

    gc.collect()
    before = len(collector._registered)
    register(prometheus_client.CollectorRegistry())
    gc.collect()
    assert len(collector._registered) == before


@override_settings(PROMETHEUS_METRIC_NAMESPACE="shop")
def test_the_namespace_of_django_prometheus():
    be_busy()
    assert all(name.startswith("shop_django_ormcache_") for name in labels_of(OrmcacheCollector()))


def test_a_store_that_is_away(start_server, configure):
    from django.conf import settings

    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        names()
        server.kill()
        Author.objects.create(name="A")
        assert names() == ["A"]
        found = scraped(OrmcacheCollector())
        unpublished = value(found, "django_ormcache_unpublished_writes_total", alias="default")
        assert value(found, "django_ormcache_store_up", alias="default") == 0
        assert value(found, "django_ormcache_store_outages_total", alias="default") == 1
        assert value(found, "django_ormcache_pending_relations", alias="default") > 0
        assert unpublished > 0
        server.restart()
        connection.ormcache.database.pending._thread.join(60)
        found = scraped(OrmcacheCollector())
        assert value(found, "django_ormcache_store_up", alias="default") == 1
        assert value(found, "django_ormcache_pending_relations", alias="default") == 0
        assert value(found, "django_ormcache_unpublished_writes_total", alias="default") == unpublished


# Counters never fall ------------------------------------------------------------------


def falls(before, after):
    return [
        (name, dict(labels), number, after.get((name, labels)))
        for (name, labels), number in before.items()
        if name.endswith("_total") and after.get((name, labels), -1) < number
    ]


def test_saved_seconds_do_not_fall_when_a_query_becomes_quicker():
    counters = counters_of("quicker")
    text = counters.query(blind_plan("SELECT 1", "sqlite"), "SELECT 1")
    miss = {"seconds": 0.0, "rejected": None, "bytes_written": 0, "waited": False}
    counters.record_miss(text, "cold", None, query_seconds=10.0, **miss)
    for _ in range(10):
        counters.record_hit(text, 0.0, bytes_read=0, waited=False)
    before = scraped(OrmcacheCollector())
    assert value(before, "django_ormcache_saved_seconds_total", alias="quicker") == 100
    for _ in range(9):
        counters.record_miss(text, "cold", None, query_seconds=0.0, **miss)
    assert falls(before, scraped(OrmcacheCollector())) == []
    for _ in range(200):
        counters.record_hit(text, 0.0, bytes_read=0, waited=False)
    after = scraped(OrmcacheCollector())
    assert value(after, "django_ormcache_saved_seconds_total", alias="quicker") == 300


def test_queries_that_make_room_take_nothing_away(monkeypatch):
    from ormcache.telemetry import counters

    monkeypatch.setattr(counters, "MOST_QUERIES", 8)
    monkeypatch.setattr(counters, "LEAVING", 4)
    before = scraped(OrmcacheCollector())
    for number in range(30):
        for _ in range(2):
            list(Author.objects.extra(where=[f"{number} = {number}"]))
        Author.objects.create(name=str(number))
        after = scraped(OrmcacheCollector())
        assert falls(before, after) == []
        before = after


def test_relations_beyond_the_bound_are_together(monkeypatch):
    """And it stays so, however their counts grow past each other."""
    counters = counters_of("relations")
    collector = OrmcacheCollector(relations=2)
    before = scraped(collector)
    for number in [0, 1, 2, 3, 3, 3, 2, 0, 4, 4, 4, 4, 4]:
        relation = f"r{number}"
        counters.record_write(frozenset([relation, SCHEMA]), {}, 0.0, marked=True, published=True)
        text = counters.query(blind_plan(f"SELECT {number}", "sqlite"), f"SELECT {number}")
        counters.record_miss(text, "invalidated", relation, 0.0, 0.0, rejected=None, bytes_written=0, waited=False)
        after = scraped(collector)
        assert falls(before, after) == []
        before = after
    for name in ("relation_writes", "invalidated_results"):
        assert {
            dict(labels)["relation"]: number
            for (one, labels), number in before.items()
            if one == f"django_ormcache_{name}_total" and ("alias", "relations") in labels
        } == {"r0": 2, "r1": 1, OTHER_RELATIONS: 10}


def test_labels_beyond_the_bound_are_together(monkeypatch):
    """Whatever comes later, no series falls, in the counters' own table and in the metrics."""
    monkeypatch.setattr(derived_stats, "MOST_DERIVED", 5)
    count_anew()
    counters, before = counters_of("default"), {}
    for number in range(20):
        rejection = Rejection("random") if number % 2 else None
        counters.record_derived_miss(
            "page", f"/{number % 9}/", 1.0, cause="invalidated", invalidated_by=None, rejection=rejection
        )
        counters.record_derived_hit("fragment", f"{number % 3}", 0.5, outdated=True)
        after = scraped(OrmcacheCollector(labels=3))
        assert falls(before, after) == []
        before = after

    labels = {dict(had).get("label") for (name, had) in after if "derived" in name}
    assert labels == {"/0/", "0", "/1/", "other"}
    assert value(after, "django_ormcache_derived_misses_total") == 20
    assert value(after, "django_ormcache_derived_hits_total") == 20
    assert value(after, "django_ormcache_derived_rejections_total", reason="random") == 10


def test_a_relation_that_is_called_like_the_others():
    assert bounded({"a": 1, OTHER_RELATIONS: 2, "b": 3}, 2) == {"a": 1, OTHER_RELATIONS: 5}
    assert bounded({"a": 1, "b": 3, OTHER_RELATIONS: 2}, 1) == {"a": 1, OTHER_RELATIONS: 5}
    assert bounded({}, 0) == {}


def test_counting_goes_on_while_it_is_scraped():
    """Threads count while others scrape: nothing breaks, nothing falls."""
    collector = OrmcacheCollector()
    counters = counters_of("busy")
    stop = threading.Event()

    def count():
        number = 0
        while not stop.is_set():
            number += 1
            text = counters.query(blind_plan(f"SELECT a{number % 50}", "sqlite"), f"SELECT a{number % 50}")
            counters.record_hit(text, 0.1, bytes_read=1, waited=False)
            counters.record_miss(text, "cold", f"r{number % 7}", 0.1, 0.2, rejected=None, bytes_written=1, waited=False)
            counters.record_write(frozenset([f"r{number % 90}"]), {}, 0.1, marked=True, published=True)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        before = scraped(collector)
        for _ in range(30):
            after = scraped(collector)
            assert falls(before, after) == []
            before = after
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# Of a whole deployment ----------------------------------------------------------------


def busy_elsewhere():
    """For another process."""
    be_busy()
    return process_readings()[0].process


def scrape_elsewhere():
    """Of the deployment, by another process, which has not used the database yet."""
    found = scraped(OrmcacheCollector(deployment=True))
    return [[name, sorted(labels), number] for (name, labels), number in found.items()]


def as_scraped(exported):
    return {(name, frozenset(map(tuple, labels))): number for name, labels, number in exported}


def test_each_process_has_series_of_its_own(published, other_process):
    be_busy()
    other = other_process("tests.integration.contrib.test_prometheus.busy_elsewhere")
    own = connection.ormcache.observer.counters.process
    found = scraped(OrmcacheCollector(deployment=True))

    for process in (own, other):
        assert value(found, "django_ormcache_requests_total", alias="default", process=process, result="miss") >= 6
        assert value(found, "django_ormcache_process_info", process=process) == 1
    assert {name for name, _ in found if not name.endswith("_total")} == {
        "django_ormcache_process_info",
        "django_ormcache_store_up",
        "django_ormcache_store_full",
        "django_ormcache_pending_relations",
    }


def test_whichever_process_answers_no_counter_falls(published, other_process):
    """What a process knows of itself is ahead of what the others know of it."""
    be_busy()
    before = scraped(OrmcacheCollector(deployment=True))
    list(Author.objects.all())
    elsewhere = as_scraped(other_process("tests.integration.contrib.test_prometheus.scrape_elsewhere"))
    own = {key: number for key, number in before.items() if key[0] != "django_ormcache_store_up"}
    assert falls(own, elsewhere) == []
    assert falls(elsewhere, scraped(OrmcacheCollector(deployment=True))) == []


def test_a_process_that_answers_first_has_the_others(published, other_process):
    """One that has met no database yet connects."""
    be_busy()
    publisher.publish()
    elsewhere = as_scraped(other_process("tests.integration.contrib.test_prometheus.scrape_elsewhere"))
    own = connection.ormcache.observer.counters.process
    assert value(elsewhere, "django_ormcache_requests_total", process=own) >= 13


def test_a_process_that_has_left_is_left_out(published, other_process, monkeypatch):
    """Its counters stand still; those of one that begins anew have another name, so nothing falls."""
    other = other_process("tests.integration.contrib.test_prometheus.busy_elsewhere")
    be_busy()
    assert value(scraped(OrmcacheCollector(deployment=True)), "django_ormcache_process_info", process=other) == 1
    (at,) = [
        one["process"]["at"]
        for one in Exchange(connection.ormcache.database).payloads()
        if one["process"]["id"] == other
    ]
    monkeypatch.setattr(readings, "time", SimpleNamespace(time=lambda: at + readings.QUIET))
    found = scraped(OrmcacheCollector(deployment=True))
    own = connection.ormcache.observer.counters.process
    assert value(found, "django_ormcache_process_info", process=other) == 0
    assert value(found, "django_ormcache_requests_total", process=other) == 0
    assert value(found, "django_ormcache_process_info", process=own) == 1


def test_the_store_of_the_deployment_is_away(published, start_server, configure):
    from django.conf import settings

    server = start_server("redis")
    own = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": server.url}
    with override_settings(CACHES=settings.CACHES | {"own": own}):
        configure(STORE="redis", CACHE="own", STORE_TIMEOUT=0.25)
        names()
        server.kill()
        found = scraped(OrmcacheCollector(deployment=True))
        assert value(found, "django_ormcache_store_up", alias="default") == 0
        assert value(found, "django_ormcache_requests_total", alias="default") == 0
        connection.close()


# A site --------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path):
    pytest.importorskip("django_prometheus")
    site = Library(tmp_path)
    site.settings |= {
        "INSTALLED_APPS": ["library", "django_prometheus", "ormcache.contrib.prometheus"],
        "ROOT_URLCONF": "library.urls_of_metrics",
        "ALLOWED_HOSTS": ["*"],
    }
    site.settings["ORMCACHE"]["STATISTICS_INTERVAL"] = 3600
    if "sqlite3" not in site.database["ENGINE"]:
        run(f"CREATE DATABASE {site.database['NAME']}", using="plain")
    site.manage("migrate", "-v0")
    yield site
    connection.close()
    if "sqlite3" not in site.database["ENGINE"]:
        run(f"DROP DATABASE {site.database['NAME']}", using="plain")


def test_django_prometheus_exports_it(library):
    *_, page = library.call("served.pages", "/", "/", "/add/?name=A", "/", "/metrics")
    found = parsed(page)

    assert value(found, "django_ormcache_requests_total", alias="default", result="hit") == 2
    assert value(found, "django_ormcache_requests_total", alias="default", result="miss") == 2
    assert value(found, "django_ormcache_relation_writes_total", relation="library_shelf") == 1
    assert not any(dict(labels).get("process") for name, labels in found if name.startswith("django_ormcache"))


def test_prometheus_over_several_processes(library, tmp_path):
    """prometheus_client's own way leaves collectors out; the page of the deployment does not need it."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    library.environment["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    library.call("served.pages", "/", "/", "/add/?name=A", "/")
    theirs, ours = library.call("served.pages", "/metrics", "/metrics/ormcache")

    assert "django_ormcache" not in theirs
    found = parsed(ours)
    assert value(found, "django_ormcache_requests_total", alias="default", result="hit") == 2
    commands = [dict(labels)["command"] for name, labels in found if name == "django_ormcache_process_info"]
    assert len(commands) == 2  # the site has been migrated, too
    assert value(found, "django_ormcache_store_up", alias="default") == 1


# What is written of it ----------------------------------------------------------------


@pytest.fixture
def known(published):
    """Metric → its labels, of one process and of a deployment together."""
    be_busy()
    known = labels_of(OrmcacheCollector())
    for name, labels in labels_of(OrmcacheCollector(deployment=True)).items():
        known[name] = known.get(name, set()) | labels
    return known


def test_what_the_check_of_expressions_finds():
    known = {"django_ormcache_a_total": {"alias", "reason"}}

    assert list(unknown_in('sum by (alias, reason) (rate(django_ormcache_a_total{alias=~"$alias"}[5m]))', known)) == []
    assert list(unknown_in('django_ormcache_a_total{job="x"} > 1', known)) == []
    assert list(unknown_in("rate(django_ormcache_b_total[5m])", known)) == ["django_ormcache_b_total"]
    assert list(unknown_in('django_ormcache_a_total{result="x"}', known)) == ["django_ormcache_a_total{result}"]
    assert list(unknown_in("sum by (cause) (django_ormcache_a_total)", known)) == ["(cause)"]
    assert list(unknown_in("up", known)) == ["up"]


GRAFANA = Path(__file__).parents[3] / "docs" / "grafana"


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((GRAFANA / "ormcache.json").read_text(encoding="utf-8"))


def test_the_dashboard_asks_for_what_there_is(dashboard, known):
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries = [one["definition"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
    asked = [re.fullmatch(r"label_values\((.*), (job|alias)\)", query)[1] for query in queries]

    assert len(expressions) >= 30
    assert len(asked) == 2
    assert [wrong for expression in [*expressions, *asked] for wrong in unknown_in(expression, known)] == []
    assert [one for one in expressions if one.count("(") != one.count(")") or one.count("{") != one.count("}")] == []


def test_the_dashboard_shows_every_metric(dashboard, known):
    text = json.dumps(dashboard)
    assert {name for name in known if name not in text} == {"django_ormcache_process_info"}


def test_the_dashboards_legends_have_labels_of_the_result(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            grouped = re.findall(r"\w+", ",".join(re.findall(r"by \(([^)]*)\)", target["expr"])))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= set(grouped), panel["title"]


def test_the_dashboard_can_be_imported(dashboard):
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert dashboard["schemaVersion"] >= 39
    assert len(set(numbers)) == len(numbers)
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert "id" not in dashboard
    places = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert places.isdisjoint(cells), panel["title"]
        assert place["x"] + place["w"] <= 24
        places |= cells
        if panel["type"] == "row":
            continue
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def test_the_alerts_ask_for_what_there_is(known):
    text = (GRAFANA / "alerts.yml").read_text(encoding="utf-8")
    rules = re.findall(r"- alert: (\w+)\n\s+expr: (?:\|\n)?(.*?)(?=\n\s+(?:for|labels):)", text, re.DOTALL)

    assert [name for name, _ in rules] == [
        "OrmcacheStoreUnavailable",
        "OrmcacheStoreFull",
        "OrmcacheUnpublishedWrites",
        "OrmcacheViolation",
        "OrmcacheWritesPending",
        "OrmcacheOutsideWrites",
        "OrmcacheRecordedWritesWait",
        "OrmcacheHitRateFell",
    ]
    for name, expression in rules:
        assert list(unknown_in(expression, known)) == [], name
        assert expression.count("(") == expression.count(")")


def test_every_metric_is_documented(known):
    """With its labels, but for the process's, and its words: the table says what is exported."""
    text = (GRAFANA.parent / "monitoring.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `django_ormcache_")]
    documented = {
        name.strip("` "): (opentelemetry.strip("` "), set(re.findall(r"\w+", labels)))
        for name, opentelemetry, labels, _ in rows
    }
    theirs = {sample.name for family in OrmcacheCollector(deployment=True).collect() for sample in family.samples}

    assert set(documented) == theirs == set(known)
    for name, (opentelemetry, labels) in documented.items():
        assert labels | {"alias"} == known[name] - {"process"}, name
        assert opentelemetry == spelled.get(name, ""), name


#: Prometheus' name → OpenTelemetry's without its prefix
spelled = {
    f"{PREFIX}{metric.name}{f'_{metric.unit}' if metric.unit else ''}"
    f"{'_total' if metric.kind is MetricKind.COUNTER else ''}": instrument_name(metric).removeprefix("ormcache.")
    for metric in METRICS
    if metric.source is not MetricSource.DEPLOYMENT
}


def test_help_says_the_same_everywhere():
    text = (GRAFANA.parent / "monitoring.md").read_text(encoding="utf-8")
    assert [metric.name for metric in METRICS if f"| {metric.help} |" not in text] == []


@pytest.mark.usefixtures("published")
def test_an_alias_that_is_set_up_wrongly_is_left_out(monkeypatch):
    Author.objects.count()
    connections["second"].close()
    monkeypatch.setitem(settings.DATABASES["second"]["ORMCACHE"], "MAX_ROWS", "many")
    setting_changed.send(sender=None, setting="ORMCACHE", value=None, enter=True)
    del connections["second"]

    assert {reading.alias for reading in deployment_readings()} == {"default"}
