"""Metrics and spans as OpenTelemetry gets them."""

from __future__ import annotations

import json

import pytest
from django.db import connection, connections, transaction
from django.test import Client, override_settings

import ormcache
from ormcache import signals
from ormcache.pages.computing import compute
from ormcache.pages.derivation import Use
from tests.integration.calls import names
from tests.metrics import be_busy
from tests.shop.models import Author, Book

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from ormcache.contrib.opentelemetry import OrmcacheInstrumentor
from ormcache.diagnostics.metrics.definitions import METRICS, MetricSource

SECRET = "hunter"


@pytest.fixture
def reader():
    return InMemoryMetricReader()


@pytest.fixture
def meter_provider(reader):
    provider = MeterProvider([reader])
    yield provider
    provider.shutdown()


@pytest.fixture
def tracer_provider():
    provider = TracerProvider()
    yield provider
    provider.shutdown()


@pytest.fixture
def exporter(tracer_provider, meter_provider):
    """Instrumented; what it has is told by ``exported``."""
    exporter = InMemorySpanExporter()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    OrmcacheInstrumentor().instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
    yield exporter
    OrmcacheInstrumentor().uninstrument()


@pytest.fixture
def tracer(tracer_provider):
    return tracer_provider.get_tracer("tests")


def results(exporter):
    return [span.attributes["ormcache.result"] for span in exporter.get_finished_spans()]


# Spans --------------------------------------------------------------------------------


def test_a_span_for_every_read(exporter, engine):
    Author.objects.create(name="A")
    assert names() == names() == ["A"]
    list(Author.objects.order_by("?"))
    missed, hit, bypassed = exporter.get_finished_spans()

    for span in (missed, hit, bypassed):
        assert span.kind is trace.SpanKind.INTERNAL
        assert span.parent is None
        assert span.attributes["ormcache.alias"] == "default"
        assert span.attributes["db.system.name"] == connection.vendor
        assert span.attributes["db.namespace"] == str(connection.settings_dict["NAME"])
        assert span.attributes["db.operation.name"] == "SELECT"
        assert span.attributes["db.query.summary"] == span.name
        assert span.attributes["db.query.text"].startswith("SELECT ")
        assert ("server.address" in span.attributes) == (engine != "sqlite")
        assert span.start_time < span.end_time
    assert missed.name == hit.name == "SELECT shop_author"
    assert missed.attributes["ormcache.result"] == "miss"
    assert missed.attributes["ormcache.cause"] in ("cold", "invalidated")
    assert missed.attributes["ormcache.relations"] == hit.attributes["ormcache.relations"] == ("shop_author",)
    assert 0 < missed.attributes["ormcache.query.duration"] <= (missed.end_time - missed.start_time) / 1e9
    assert hit.attributes["ormcache.result"] == "hit"
    assert "ormcache.saved.duration" in hit.attributes
    assert bypassed.attributes["ormcache.result"] == "bypass"
    assert bypassed.attributes["ormcache.reason"] == "random"


def test_which_relation_invalidated_it(exporter):
    Author.objects.create(name="A")
    names()
    Author.objects.create(name="B")
    names()
    last = exporter.get_finished_spans()[-1]

    assert last.attributes["ormcache.cause"] == "invalidated"
    assert last.attributes["ormcache.invalidated_by"] == "shop_author"


def test_spans_lie_in_the_request(exporter, tracer, monkeypatch):
    """As an instrumentation of Django makes one around each."""
    Book.objects.create(author=Author.objects.create(name="A"), title="T")
    names()
    exporter.clear()
    with override_settings(MIDDLEWARE=[f"{__name__}.in_a_span"]):
        monkeypatch.setattr(f"{__name__}.tracers", [tracer])
        for _ in range(2):
            assert Client().get("/books/").json() == {"books": ["T"]}
    miss, first, hit, second = exporter.get_finished_spans()

    assert [miss.attributes["ormcache.result"], hit.attributes["ormcache.result"]] == ["miss", "hit"]
    for inner, outer in ((miss, first), (hit, second)):
        assert outer.name == "request"
        assert inner.parent.span_id == outer.context.span_id
        assert inner.context.trace_id == outer.context.trace_id
        assert outer.start_time <= inner.start_time < inner.end_time <= outer.end_time


tracers: list[trace.Tracer] = []


def in_a_span(get_response):
    def respond(request):
        with tracers[0].start_as_current_span("request"):
            return get_response(request)

    return respond


def test_a_write_is_an_event_of_the_current_span(exporter, tracer):
    with tracer.start_as_current_span("work") as span:
        with transaction.atomic():
            author = Author.objects.create(name="A")
            Author.objects.filter(pk=author.pk).extra(where=[f"name <> '{SECRET}'"]).update(name="B")
        (event,) = span.events

    assert event.name == "ormcache.invalidated"
    assert event.attributes["ormcache.alias"] == "default"
    assert "shop_author" in event.attributes["ormcache.relations"]
    assert event.attributes["ormcache.duration"] > 0
    assert event.attributes["ormcache.statements"][0].startswith("INSERT INTO ")
    assert SECRET not in str(event.attributes)
    Author.objects.create(name="outside of all spans")


def test_a_use_of_a_function_is_an_event_of_the_current_span(exporter, tracer):
    def shuffled() -> list[str]:
        return list(Author.objects.extra(where=[f"name <> '{SECRET}'"]).order_by("?").values_list("name", flat=True))

    with tracer.start_as_current_span("work") as span:
        for _ in range(2):
            compute(Use("function", "shop.count", b"count"), Author.objects.count)
        compute(Use("page", "/shuffled/", b"shuffled"), shuffled)
        miss, hit, rejected = (dict(event.attributes) for event in span.events)
    compute(Use("function", "shop.count", b"count"), Author.objects.count)  # outside of all spans

    assert {event.name for event in span.events} == {"ormcache.used"}
    for event in (miss, hit, rejected):
        assert event.pop("ormcache.duration") > 0
    hit.pop("ormcache.saved.duration")
    named = {"ormcache.alias": "default", "ormcache.kind": "function", "ormcache.label": "shop.count"}
    assert miss == named | {"ormcache.result": "miss", "ormcache.cause": "cold"}
    assert hit == named | {"ormcache.result": "hit", "ormcache.outdated": False}
    assert (rejected["ormcache.rejected"], rejected["ormcache.relations"]) == ("random", ("shop_author",))
    assert "test_opentelemetry.py:" in rejected["ormcache.caller"]
    assert "SELECT" in rejected["ormcache.statement"]
    assert SECRET not in str(rejected)


@pytest.mark.parametrize("shows", [False, True])
def test_parameters_and_literals(exporter, tracer, configure, shows):
    """Shown where the settings say so, and nowhere else."""
    configure(SHOW_PARAMETERS=shows)
    with tracer.start_as_current_span("work"):
        for _ in range(2):
            list(Author.objects.filter(name=f"{SECRET} by parameter"))
            list(Author.objects.extra(where=[f"name = '{SECRET} by literal'"]))
        list(Author.objects.filter(name=SECRET).order_by("?"))
        if not shows:
            with connection.cursor() as cursor:
                cursor.execute(f"UPDATE shop_author SET name = '{SECRET}'")
    told = " ".join(map(str, (span.to_json() for span in exporter.get_finished_spans())))

    assert len(exporter.get_finished_spans()) == 6
    assert (f"{SECRET} by parameter" in told) == shows
    assert (f"{SECRET} by literal" in told) == shows
    assert (SECRET in told) == shows
    if shows:
        assert exporter.get_finished_spans()[0].attributes["db.query.parameter.0"] == f"{SECRET} by parameter"


def test_a_read_that_is_known_to_be_empty_has_no_span(exporter):
    with ormcache.disabled():
        assert list(Author.objects.none()) == []
        names()
    (span,) = exporter.get_finished_spans()
    assert span.attributes["ormcache.reason"] == "disabled"


def test_long_lists_are_cut(exporter):
    list(Author.objects.filter(pk__in=range(500)))
    (span,) = exporter.get_finished_spans()
    assert span.attributes["db.query.text"].endswith("IN (%s, %s)")


# On and off ---------------------------------------------------------------------------


def test_nothing_is_exported_when_it_is_off(exporter, reader):
    names()
    OrmcacheInstrumentor().uninstrument()
    OrmcacheInstrumentor().uninstrument()
    assert not OrmcacheInstrumentor().is_instrumented_by_opentelemetry
    receivers = [signal.receivers for signal in (signals.hit, signals.missed, signals.bypassed, signals.invalidated)]
    assert receivers == [[], [], [], []]
    names()
    assert results(exporter) == ["miss"]
    assert points(reader) == {}


def test_twice_is_once(exporter, reader, tracer_provider, meter_provider, caplog):
    for _ in range(2):
        OrmcacheInstrumentor().instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
    before = points(reader)
    names()
    names()
    assert results(exporter) == ["miss", "hit"]
    after = points(reader)
    hits = ("ormcache.requests", (("ormcache.alias", "default"), ("ormcache.result", "hit")))
    assert after[hits] - before[hits] == 1
    assert caplog.records == []


def test_without_the_sdk_nothing_is_recorded():
    """And nothing is worked out for a span that nobody sees."""
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    OrmcacheInstrumentor().instrument()
    try:
        spans = OrmcacheInstrumentor._spans
        names()
        names()
        Author.objects.create(name="A")
        assert spans._masked == {}
    finally:
        OrmcacheInstrumentor().uninstrument()


def test_spans_that_are_not_sampled():
    provider = TracerProvider(sampler=ALWAYS_OFF)
    OrmcacheInstrumentor().instrument(tracer_provider=provider)
    try:
        names()
        assert OrmcacheInstrumentor._spans._masked == {}
    finally:
        OrmcacheInstrumentor().uninstrument()
        provider.shutdown()


def test_many_texts(exporter, monkeypatch):
    from ormcache.contrib.opentelemetry import spans

    monkeypatch.setattr(spans, "MOST_STATEMENTS", 2)
    for number in range(5):
        list(Author.objects.extra(where=[f"{number} = {number}"]))
    assert len(OrmcacheInstrumentor._spans._masked) == 1


def test_a_long_text_is_not_remembered(exporter):
    from ormcache.contrib.opentelemetry import spans

    list(Author.objects.extra(where=[f"'{'x' * spans.LONGEST_SQL}' = ''"]))
    assert OrmcacheInstrumentor._spans._masked == {}


# Metrics ------------------------------------------------------------------------------


def points(reader):
    """(name, attributes) → value."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        (metric.name, tuple(sorted(point.attributes.items()))): point.value
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_the_same_metrics_as_for_prometheus(exporter, reader, configure):
    from tests.metrics import scraped

    collector = pytest.importorskip("ormcache.contrib.prometheus.collector")
    configure(MAX_ROWS=3)
    be_busy()
    theirs = scraped(collector.OrmcacheCollector())
    ours = points(reader)

    assert len(ours) == len(theirs)
    assert sorted(ours.values()) == pytest.approx(sorted(theirs.values()))
    names_of = {name for name, _ in ours}
    assert len(names_of) == len([metric for metric in METRICS if metric.source is not MetricSource.DEPLOYMENT])
    assert {"ormcache.requests", "ormcache.cache.time", "ormcache.store_read.size", "ormcache.store_up"} <= names_of


def test_every_collection_reads_anew(exporter, reader):
    key = ("ormcache.requests", (("ormcache.alias", "default"), ("ormcache.result", "hit")))
    names()
    before = points(reader)[key]
    for number in range(1, 4):
        names()
        assert points(reader)[key] == before + number


def test_one_collection_reads_once(exporter, reader, monkeypatch):
    from ormcache.contrib.opentelemetry import instruments

    read = []
    readings = instruments.process_readings
    monkeypatch.setattr(instruments, "process_readings", lambda: read.append(1) or readings())
    points(reader)
    assert len(read) == 1
    points(reader)
    assert len(read) == 2


def test_units(exporter, reader):
    names()
    data = json.loads(reader.get_metrics_data().to_json())
    (scope,) = data["resource_metrics"][0]["scope_metrics"]
    units = {metric["name"]: metric["unit"] for metric in scope["metrics"]}

    assert scope["scope"] == {"name": "ormcache", "version": ormcache.__version__, "schema_url": "", "attributes": None}
    assert units["ormcache.requests"] == "{request}"
    assert units["ormcache.saved.time"] == "s"
    assert units["ormcache.store_written.size"] == "By"
    assert units["ormcache.store_up"] == "1"
    assert all(metric["description"] for metric in scope["metrics"])


def test_a_connection_of_another_database(exporter):
    list(Author.objects.using("second").all())
    (span,) = exporter.get_finished_spans()
    assert span.attributes["ormcache.alias"] == "second"
    assert span.attributes["db.namespace"] == str(connections["second"].settings_dict["NAME"])
