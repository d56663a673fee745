"""PostGIS and SpatiaLite with the cache in front: the same answers, fresh ones, and hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

import ormcache
from ormcache.cache.keys import exact_text
from ormcache.catalog import sqlite
from tests import environment
from tests.conftest import skip_or_fail
from tests.gis import loading
from tests.integration.reading import only_postgresql, only_sqlite
from tests.servers import explain_missing, find_program

ENGINES = {"postgresql": "postgis", "sqlite": "spatialite"}
ENGINE = ENGINES.get(environment.current().engine)

pytestmark = pytest.mark.skipif(ENGINE is None, reason="GeoDjango on PostgreSQL and SQLite")

#: A system of coordinates of the tests' own
SRID = 990001
MERCATOR, LAMBERT = 3857, 2154  # what it is defined as, by EPSG's numbers


@pytest.fixture(scope="module")
def libraries() -> None:
    """What GeoDjango needs on this machine."""
    for kind in ("gdal", ENGINE):
        if find_program(kind) is None:
            skip_or_fail(explain_missing(kind))
    if ENGINE == "spatialite":
        loading.patch_backend()


@pytest.fixture(scope="module")
def database_name(libraries, django_db_setup, django_db_blocker) -> Iterator[str]:
    """A database with the extension and the tables of ``tests.gis``."""
    from tests import databases
    from tests.gis.models import Place, Station

    run = environment.current()
    name = run.database_name("gis")
    with django_db_blocker.unblock():
        if ENGINE == "postgis":
            with databases._administration(run) as execute:
                execute(f"CREATE DATABASE {name}")
        add_alias("plain_gis", name, f"django.contrib.gis.db.backends.{ENGINE}")
        connection = connections["plain_gis"]
        connection.prepare_database()
        connection.close()  # the types are known to sessions that begin after this
        with connection.schema_editor() as editor:
            for model in (Place, Station) if ENGINE == "postgis" else (Place,):
                editor.create_model(model)
        connection.close()
    yield name
    with django_db_blocker.unblock():
        remove_alias("plain_gis")
        if ENGINE == "postgis":
            with databases._administration(run) as execute:
                execute(f"DROP DATABASE {name} WITH (FORCE)")


def add_alias(alias: str, name: str, engine: str, **given: Any) -> None:
    like = {key: settings.DATABASES["default"][key] for key in ("HOST", "PORT", "USER", "PASSWORD")}
    database = {**like, "NAME": name, "ENGINE": engine, **given}
    connections.settings[alias] = connections.configure_settings({"default": database})["default"]
    settings.DATABASES[alias] = connections.settings[alias]


def remove_alias(alias: str) -> None:
    connections[alias].close()
    del connections[alias]
    connections.settings.pop(alias)
    settings.DATABASES.pop(alias, None)  # mostly the same dict


@pytest.fixture(params=["dedicated", "wrap"])
def gis(request: Any, database_name: str) -> Iterator[str]:
    """The alias of an empty database with geometries: by the engine of its own, or by the one that wraps any other."""
    cache = dict(settings.DATABASES["default"]["ORMCACHE"])
    if request.param == "wrap":
        add_alias(
            "gis",
            database_name,
            "ormcache.backends.wrap",
            ORMCACHE=cache | {"ENGINE": f"django.contrib.gis.db.backends.{ENGINE}"},
        )
    else:
        add_alias("gis", database_name, f"ormcache.backends.{ENGINE}", ORMCACHE=cache)
    yield "gis"
    remove_alias("gis")
    with connections["plain_gis"].cursor() as cursor:
        for table in ("gis_tests_place", "gis_tests_station")[: 2 if ENGINE == "postgis" else 1]:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute(f"DELETE FROM spatial_ref_sys WHERE srid = {SRID}")
    connections["plain_gis"].close()


def plan_of(alias: str, sql: str) -> Any:
    """What ormcache makes of a statement."""
    connection = connections[alias]
    connection.ensure_connection()
    assert connection.ormcache.known().catalog_cache.ensure_loaded(connection)
    return connection.ormcache.known().plans.plan(sql, connection.ormcache.resolution_context())[0]


only_dedicated = pytest.mark.parametrize("gis", ["dedicated"], indirect=True)


def fill(using: str) -> None:
    from django.contrib.gis.geos import Point, Polygon

    from tests.gis.models import Place

    square = Polygon(((0, 0), (0, 10), (10, 10), (10, 0), (0, 0)), srid=3857)
    Place.objects.using(using).create(name="Paris", point=Point(2.35, 48.85, srid=4326), area=square)
    Place.objects.using(using).create(name="Lyon", point=Point(4.83, 45.76, srid=4326))


def reads() -> dict[str, Callable[[str], Any]]:
    """Queries by name; each takes an alias."""
    from django.contrib.gis.db import models
    from django.contrib.gis.db.models import functions
    from django.contrib.gis.geos import Point, Polygon

    from tests.gis.models import Place

    paris = Point(2.35, 48.85, srid=4326)

    def places(using: str) -> Any:
        return Place.objects.using(using).order_by("pk")

    def geometries(using: str, **annotation: Any) -> list[Any]:
        (name,) = annotation
        found = places(using).filter(area__isnull=False).annotate(**annotation).values_list(name, flat=True)
        return [one.ewkt for one in found]

    return {
        "rows": lambda using: [(one.name, one.point.ewkt, one.area and one.area.ewkt) for one in places(using)],
        "values": lambda using: [one.ewkt for one in places(using).values_list("point", flat=True)],
        "geojson": lambda using: list(
            places(using).annotate(j=functions.AsGeoJSON("point", precision=3)).values_list("j", flat=True)
        ),
        "area": lambda using: [
            str(one) for one in places(using).annotate(a=functions.Area("area")).values_list("a", flat=True)
        ],
        "centroid": lambda using: geometries(using, c=functions.Centroid("area")),
        "transform": lambda using: geometries(using, t=functions.Transform("area", 4326)),
        "extent": lambda using: places(using).aggregate(models.Extent("point")),
        "collect": lambda using: places(using).aggregate(c=models.Collect("point"))["c"].ewkt,
        "union": lambda using: places(using).aggregate(u=models.Union("point"))["u"].ewkt,
        "line": lambda using: places(using).aggregate(m=models.MakeLine("point"))["m"].ewkt,
        "within": lambda using: list(
            places(using).filter(point__within=Polygon.from_bbox((2, 48, 3, 49))).values_list("name", flat=True)
        ),
        "intersects": lambda using: places(using).filter(area__intersects=Point(5, 5, srid=3857)).count(),
        "another system": lambda using: (
            places(using).filter(area__intersects=Point(0.00004, 0.00004, srid=4326)).count()
        ),
        "bounding box": lambda using: places(using).filter(area__bbcontains=Point(5, 5, srid=3857)).count(),
        "dwithin": lambda using: list(places(using).filter(point__dwithin=(paris, 0.1)).values_list("name", flat=True)),
        "distance": lambda using: [
            round(one.m)
            for one in places(using).annotate(d=functions.Distance("point", paris)).values_list("d", flat=True)
        ],
        "equals": lambda using: list(
            places(using).filter(point__equals=models.F("point")).values_list("name", flat=True)
        ),
    }


def test_each_kind_of_query_is_served_as_the_database_answers(gis, queries):
    fill(gis)
    for name, read in reads().items():
        expected = read("plain_gis")
        assert read(gis) == expected, name
        with queries(0, using=gis):
            assert read(gis) == expected, (name, ormcache.stats(gis)["bypassed"])


@only_dedicated
def test_a_write_to_a_geometry_invalidates(gis):
    from django.contrib.gis.geos import Point

    from tests.gis.models import Place

    fill(gis)
    checked = reads()
    before = {name: read(gis) for name, read in checked.items()}
    Place.objects.using(gis).filter(name="Lyon").update(point=Point(2.5, 48.5, srid=4326))
    after = {name: read(gis) for name, read in checked.items()}
    assert after == {name: read("plain_gis") for name, read in checked.items()}
    assert {name for name in after if after[name] != before[name]} >= {"rows", "extent", "within", "distance"}


@only_dedicated
def test_geometries_that_differ_in_their_system_alone_are_not_taken_for_each_other(gis, queries):
    from django.contrib.gis.geos import Point

    from tests.gis.models import Place

    fill(gis)

    def count(srid: int) -> int:
        return Place.objects.using(gis).filter(area__intersects=Point(5, 5, srid=srid)).count()

    assert [count(3857), count(4326)] == [1, 0]
    with queries(0, using=gis):
        assert [count(3857), count(4326)] == [1, 0]


@only_dedicated
def test_another_definition_of_a_system_of_coordinates_invalidates_what_was_computed_with_it(gis, queries):
    from django.contrib.gis.db.models.functions import Transform

    from tests.gis.models import Place

    def execute(sql: str, *params: Any) -> None:
        with connections[gis].cursor() as cursor:
            cursor.execute(sql, params)

    def transformed(using: str) -> list[str]:
        found = Place.objects.using(using).order_by("pk").annotate(t=Transform("point", SRID))
        return [one.ewkt for one in found.values_list("t", flat=True)]

    fill(gis)
    execute(
        "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, srtext, proj4text) VALUES (%s, 'EPSG', %s, '', '')",
        *(SRID, MERCATOR),
    )
    first = transformed(gis)
    with queries(0, using=gis):
        assert transformed(gis) == first
    execute("UPDATE spatial_ref_sys SET auth_srid = %s WHERE srid = %s", LAMBERT, SRID)
    for alias in (gis, "plain_gis"):
        connections[alias].close()  # a session remembers a definition that it has used
    second = transformed(gis)
    assert second == transformed("plain_gis") != first
    with queries(0, using=gis):
        assert transformed(gis) == second


@only_dedicated
@only_postgresql
def test_one_table_of_an_extension_stands_for_all_of_them(gis):
    with connections["plain_gis"].cursor() as cursor:
        cursor.execute("CREATE EXTENSION postgis_topology")
    try:
        read = plan_of(gis, "SELECT id, ST_Area(area) FROM gis_tests_place")
        assert read.relations == {"gis_tests_place", "spatial_ref_sys"}
        read = plan_of(gis, "SELECT gettopologyname(1)")
        assert read.relations == {"spatial_ref_sys"}
        for table in ("topology.layer", "topology.topology"):
            assert "spatial_ref_sys" in plan_of(gis, f"UPDATE {table} SET id = id").written
        assert plan_of(gis, "UPDATE gis_tests_place SET name = ''").written == {"gis_tests_place"}
    finally:
        with connections["plain_gis"].cursor() as cursor:
            cursor.execute("DROP EXTENSION postgis_topology CASCADE")
        connections["plain_gis"].close()


@only_dedicated
@only_postgresql
def test_geographies_and_a_column_that_is_called_like_a_type(gis, queries):
    from django.contrib.gis.geos import Point
    from django.contrib.gis.measure import D

    from tests.gis.models import Station

    Station.objects.using(gis).create(name="North", geometry=Point(2.355, 48.88, srid=4326))

    def near(metres: int) -> list[str]:
        here = Point(2.35, 48.85, srid=4326)
        return list(
            Station.objects.using(gis).filter(geometry__dwithin=(here, D(m=metres))).values_list("name", flat=True)
        )

    assert [near(1000), near(5000)] == [[], ["North"]]
    assert Station.objects.using(gis).get().geometry.srid == 4326
    with queries(0, using=gis):
        assert [near(1000), near(5000)] == [[], ["North"]]
        assert Station.objects.using(gis).get().geometry.srid == 4326


#: Columns that are called like a function of PostGIS, or one of its types
NAMES = ["text", "path", "json", "jsonb", "point", "polygon", "box", "bytea", "equals", "geometry", "geography"]


@only_dedicated
@only_postgresql
@pytest.mark.parametrize("extension", [None, "postgis_topology"])
def test_a_column_that_is_called_like_a_function_of_the_extension_calls_none(gis, queries, extension):
    columns = ", ".join(f'"{name}" text' for name in NAMES)
    with connections["plain_gis"].cursor() as cursor:
        if extension:
            cursor.execute(f"CREATE EXTENSION {extension}")
        cursor.execute(f"CREATE TABLE named (id int PRIMARY KEY, {columns})")
    try:
        fill(gis)
        read = reads()["values"]
        read(gis)
        connections[gis].close()
        for name in NAMES:
            plan = plan_of(gis, f'SELECT "named"."{name}" FROM "named"')
            assert (plan.bypass_reason, plan.written) == (None, frozenset()), name
            # A topology's values are cast to geometries, so that "row.text" may call PostGIS's function.
            assert plan.relations - ({"spatial_ref_sys"} if extension else set()) == {"named"}, name
            plan = plan_of(gis, f'INSERT INTO "named" ("id", "{name}") VALUES (%s, %s)')
            assert plan.written == {"named"}, name
        with queries(0, using=gis):
            read(gis)
    finally:
        with connections["plain_gis"].cursor() as cursor:
            cursor.execute("DROP TABLE named")
            if extension:
                cursor.execute(f"DROP EXTENSION {extension}")
        connections["plain_gis"].close()


@only_dedicated
@only_postgresql
def test_values_that_a_cast_of_their_type_reads_tables_for_are_not_cached(gis):
    """PostGIS's topology casts its TopoGeometry to a geometry by looking into the tables of a topology."""
    with connections["plain_gis"].cursor() as cursor:
        cursor.execute("CREATE EXTENSION postgis_topology")
        cursor.execute("CREATE TABLE parcels (id int PRIMARY KEY, topo topology.topogeometry)")
    try:
        for sql in (
            "SELECT id, topo FROM parcels",
            "SELECT ST_Area(topo) FROM parcels",
            "SELECT '(1,1,1,3)'::topogeometry::geometry",
        ):
            assert plan_of(gis, sql).bypass_reason == "function", sql
        assert plan_of(gis, "SELECT name FROM gis_tests_place").bypass_reason is None
        assert plan_of(gis, "INSERT INTO parcels (id) VALUES (1)").written == {"parcels"}
    finally:
        with connections["plain_gis"].cursor() as cursor:
            cursor.execute("DROP TABLE parcels")
            cursor.execute("DROP EXTENSION postgis_topology CASCADE")
        connections["plain_gis"].close()


@only_dedicated
@only_sqlite
def test_the_tables_of_a_spatial_index_change_with_their_table(gis):
    def count() -> int:
        with connections[gis].cursor():
            return len(list(index.objects.using(gis).all()))

    from django.db import models

    class Meta:
        app_label = "gis_tests"
        db_table = "idx_gis_tests_place_point"

    members = {"__module__": __name__, "Meta": Meta, "pkid": models.IntegerField(primary_key=True)}
    index: Any = type("Index", (models.Model,), members)
    assert count() == 0
    fill(gis)
    assert count() == 2
    assert sum(ormcache.stats(gis)["bypassed"].values()) == 0


@only_dedicated
@only_sqlite
def test_a_function_of_spatialite_that_changes_tables_changes_what_is_cached(gis):
    fill(gis)
    read = reads()["rows"]
    read(gis)
    for sql in (
        "SELECT UpdateLayerStatistics('gis_tests_place')",
        "SELECT RTreeAlign('idx_gis_tests_place_point', 1, NULL)",
        "SELECT DropTable(NULL, 'gis_tests_place')",
    ):
        assert "*" in plan_of(gis, sql).written, sql
    assert plan_of(gis, "SELECT SetDecimalPrecision(3)").may_set_anything
    written = plan_of(gis, "INSERT INTO gis_tests_place (name) VALUES ('a')").written
    assert written >= {"gis_tests_place", "idx_gis_tests_place_point"}
    assert "*" not in written


@only_dedicated
@only_sqlite
def test_a_column_that_a_function_of_spatialite_adds_is_known_at_once(gis):
    with connections[gis].cursor() as cursor:
        cursor.execute("CREATE TABLE added (id integer PRIMARY KEY)")
    assert plan_of(gis, "INSERT INTO added (id) VALUES (1)").written == {"added"}
    try:
        with connections[gis].cursor() as cursor:
            cursor.execute("SELECT AddGeometryColumn('added', 'point', 4326, 'POINT', 2)")
            cursor.execute("SELECT CreateSpatialIndex('added', 'point')")
        assert plan_of(gis, "INSERT INTO added (id) VALUES (1)").written >= {"added", "idx_added_point"}
    finally:
        with connections["plain_gis"].cursor() as cursor:
            cursor.execute("SELECT DropTable(NULL, 'added')")


@only_dedicated
@only_sqlite
def test_processes_with_other_libraries_share_no_results(gis, queries, monkeypatch):
    """SpatiaLite computes in the process: another version of PROJ can transform otherwise."""
    fill(gis)
    read = reads()["transform"]
    read(gis)
    with queries(0, using=gis):
        read(gis)
    monkeypatch.setattr(sqlite, "_libraries", lambda connection: ("5.1", "3.12", "9.3"))
    connections[gis].close()
    connections[gis].ensure_connection()
    with queries(1, using=gis):
        read(gis)


def test_a_geometry_has_a_form_that_no_other_one_has(libraries):
    from django.contrib.gis.db.backends.postgis.adapter import PostGISAdapter
    from django.contrib.gis.db.backends.spatialite.adapter import SpatiaLiteAdapter
    from django.contrib.gis.geos import Point

    def forms() -> list[str]:
        points = [Point(1, 2, srid=4326), Point(1, 2, srid=3857), Point(1, 2), Point(1, 2, 0, srid=4326), Point(2, 1)]
        values = [
            *(PostGISAdapter(point, geography) for point in points for geography in (False, True)),
            *map(SpatiaLiteAdapter, points),
        ]
        return [exact_text([value]) for value in values]

    assert forms() == forms()
    assert len(set(forms())) == 15
