"""Models with geometries. Their tables are made by the tests that use them; no INSTALLED_APPS names this module."""

from __future__ import annotations

from django.contrib.gis.db import models


class Place(models.Model):
    name = models.CharField(max_length=20)
    point = models.PointField(srid=4326)
    area = models.PolygonField(srid=3857, null=True)

    class Meta:
        app_label = "gis_tests"


class Station(models.Model):
    """With a column that is called like a type, and one on the globe."""

    name = models.CharField(max_length=20)
    geometry = models.PointField(srid=4326, geography=True)

    class Meta:
        app_label = "gis_tests"
