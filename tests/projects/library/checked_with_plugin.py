"""The site's tests that use ormcache's plugin for pytest."""

from __future__ import annotations

import pytest
from library.models import Shelf

from ormcache.testing import assert_bypassed, assert_hits


@pytest.fixture
def read_before():
    """Of the test: run when the mark holds already."""
    from ormcache.testing import Recorder

    with Recorder() as recorder:
        names()
    return recorder.reads[0].outcome


def names() -> list[str]:
    return list(Shelf.objects.order_by("pk").values_list("name", flat=True))


@pytest.mark.django_db(transaction=True)
def test_recorder(ormcache_recorder):
    names()
    names()
    assert len(ormcache_recorder.reads) == 2
    assert len(ormcache_recorder.hits) >= 1


@pytest.mark.ormcache("off")
@pytest.mark.django_db(transaction=True)
def test_off(read_before):
    assert read_before == "bypass"
    with assert_bypassed("disabled", 1):
        names()


@pytest.mark.ormcache("off")
class TestOff:
    @pytest.mark.django_db(transaction=True)
    def test_of_the_class(self):
        with assert_bypassed("disabled", 1):
            names()

    @pytest.mark.ormcache("on")
    @pytest.mark.django_db(transaction=True)
    def test_of_the_test(self):
        names()
        with assert_hits(1):
            names()


@pytest.mark.ormcache("shadow")
@pytest.mark.django_db(transaction=True)
def test_shadow_that_fails():
    from django.db import connection

    names()
    with connection.cursor() as cursor:
        # As somebody else would: the driver's own cursor is not ormcache's.
        cursor.cursor.execute("INSERT INTO library_shelf (name) VALUES ('past the cache')")
    with pytest.raises(AssertionError):
        names()


@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_the_marks():
    names()
    with assert_hits(1):
        names()
