"""The site's tests for pytest-django. The first ones run before the others have stored anything, or after."""

from __future__ import annotations

import pytest
from library.cases import names
from library.models import Shelf, Volume


@pytest.mark.parametrize("number", range(4))
@pytest.mark.django_db
def test_rolled_back(number):
    assert names() == ["first"]
    Shelf.objects.create(name=str(number))
    assert names() == ["first", str(number)]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_committed(number, django_assert_num_queries):
    assert names() == ["first"]
    with django_assert_num_queries(1):
        assert not Volume.objects.filter(title=str(number))
    with django_assert_num_queries(0):
        assert not Volume.objects.filter(title=str(number))
    Shelf.objects.create(name=str(number))
    assert names() == ["first", str(number)]


def test_blocked(django_db_blocker, django_db_setup):
    with django_db_blocker.unblock():
        for _ in range(2):
            list(Volume.objects.filter(title="warm"))
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        list(Volume.objects.filter(title="warm"))
    assert list(Volume.objects.filter(pk__in=[])) == []


@pytest.mark.parametrize("number", range(2))
def test_served(live_server, number, client):
    import urllib.request

    def get() -> str:
        with urllib.request.urlopen(live_server.url, timeout=20) as answer:
            return answer.read().decode()

    before = get()
    assert before == get()
    Shelf.objects.create(name=f"served {number}")
    assert f"served {number}" in get()
