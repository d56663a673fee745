"""One process of a deployment leads, and another one when it is gone."""

from __future__ import annotations

import time

import pytest
from django.db import connection

from ormcache.outside.leader import Leader
from tests.shop.models import Author
from tests.waiting import eventually

STORES = {
    "embedded": {},
    "redis": {"STORE": "redis", "CACHE": "redis"},
    "memcached": {"STORE": "memcached", "CACHE": "memcached"},
    "django": {"STORE": "django", "CACHE": "file"},
}


@pytest.fixture(params=STORES)
def subject(request, configure):
    configure(**STORES[request.param], NAME=request.node.name)
    Author.objects.count()
    return connection.ormcache.database


def test_one_leads_and_stays_the_leader(subject):
    first, second = Leader("test", 30), Leader("test", 30)

    assert [one.leads(subject) for one in (first, second, first, second)] == [True, False, True, False]
    assert Leader("another task", 30).leads(subject)


def test_a_leader_that_dies_is_replaced(subject):
    assert Leader("test", 0.2).leads(subject)
    second = Leader("test", 30)

    eventually(lambda: second.leads(subject))


@pytest.mark.parametrize("subject", ["embedded", "redis"], indirect=True)  # the others count whole seconds
def test_a_claim_is_renewed_in_time(subject):
    """For longer than it lasts."""
    first, second = Leader("test", 0.6), Leader("test", 0.6)
    until, asked = time.monotonic() + 1.5, set()
    while time.monotonic() < until:
        asked.add((first.leads(subject), second.leads(subject)))
        time.sleep(0.02)

    assert asked == {(True, False)}
