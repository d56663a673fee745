"""The page of a city once more, as a page that is cached as a whole."""

import os

from . import views

runs = 0  # of the view


def count_runs():
    return runs


def city(request, pk):
    global runs
    runs += 1
    return views.city(request, pk)


if os.environ["DEMO_ENGINE"].startswith("ormcache."):
    import ormcache

    city = ormcache.cache_page()(city)
