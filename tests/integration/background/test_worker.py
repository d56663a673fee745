"""The thread that does what is due every few seconds."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from django.db import connection

from ormcache.background.worker import BackgroundWorker
from tests.integration.reading import shown_on_sqlite
from tests.shop.models import Author
from tests.waiting import eventually

pytestmark = pytest.mark.any_engine


class Counting:
    """A task that counts its runs, and what it was run for."""

    title = "counting"

    def __init__(self, seconds, error=None):
        self.seconds, self.error = seconds, error
        self.runs = []

    def interval(self, databases):
        return self.seconds if databases else None

    def run(self, databases):
        self.runs.append(dict(databases))
        if self.error is not None:
            raise self.error

    def reset(self):
        self.runs.clear()


@pytest.fixture
def worker():
    one = BackgroundWorker()
    yield one
    one.reset()


@pytest.fixture
def identified():
    Author.objects.count()
    return connection.ormcache.database


def test_there_is_no_thread_where_nothing_is_due(worker, identified):
    worker.add_task(Counting(None))
    worker.register("default", identified)

    assert worker._thread is None


def test_a_task_may_come_after_the_first_connection(worker, identified):
    late = Counting(0.001)
    worker.register("default", identified)
    assert worker._thread is None
    worker.add_task(late)

    eventually(lambda: late.runs)
    assert late.runs[0] == {"default": identified}


OF_ALL = {"marking of excluded tables", "publishing of the statistics", "settling of the outbox"}
OF_SERVERS = {"listening for recorded writes", "search for writes of other programs"}


@shown_on_sqlite
@pytest.mark.parametrize("kind", ["sqlite3", "spatialite", "postgresql", "postgis", "mysql", "wrap"])
def test_an_engine_brings_all_tasks_along(kind):
    """The process of a site imports nothing else of ormcache, unless its settings or its code say so."""
    expected = OF_ALL if kind in ("sqlite3", "spatialite") else OF_ALL | OF_SERVERS
    use = "engine.wrap('django.db.backends.sqlite3')" if kind == "wrap" else "engine.DatabaseWrapper"
    code = (
        "import sys, django; from django.conf import settings; settings.configure(); django.setup()\n"
        "try: import pymysql; pymysql.install_as_MySQLdb()\n"
        "except ImportError: pass\n"
        f"import ormcache.backends.{kind}.base as engine; from ormcache.background.worker import worker\n"
        f"{use}\n"
        "print(*sorted(task.title for task in worker._tasks), sep='|')\n"
        "print('ormcache.outside.listener' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "GDAL" in done.stderr:
        pytest.skip("needs GDAL")
    titles, imports_listener = done.stdout.splitlines() or ("", "")
    assert titles.split("|") == sorted(expected), done.stderr
    assert imports_listener == str(expected != OF_ALL)


def test_an_engine_that_names_no_tasks_marks_excluded_tables():
    code = (
        "from django.conf import settings; settings.configure()\n"
        "from django.db.backends.sqlite3 import base; from ormcache.connection.mixins import ConnectionMixin\n"
        "type('DatabaseWrapper', (ConnectionMixin, base.DatabaseWrapper), {})\n"
        "from ormcache.background.worker import worker; print(*(task.title for task in worker._tasks), sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "marking of excluded tables", done.stderr


def test_a_task_is_added_once(worker, identified):
    task = Counting(None)
    worker.add_task(task)
    worker.add_task(task)

    assert worker._tasks == [task]


def test_each_task_runs_after_its_own_interval(worker, identified):
    often, seldom = Counting(0.001), Counting(3600)
    worker.add_task(seldom)
    worker.add_task(often)
    worker.register("default", identified)

    eventually(lambda: len(often.runs) > 3)
    assert often.runs[0] == {"default": identified}
    assert seldom.runs == []


def test_a_task_that_fails_is_run_again_and_stops_no_other_one(worker, identified):
    failing, other = Counting(0.001, ZeroDivisionError()), Counting(0.001)
    worker.add_task(failing)
    worker.add_task(other)
    worker.register("default", identified)

    eventually(lambda: len(failing.runs) > 2 and len(other.runs) > 2)


def test_the_thread_ends_when_nothing_is_due_any_more(worker, identified):
    task = Counting(0.001)
    worker.add_task(task)
    worker.register("default", identified)
    thread = worker._thread
    task.seconds = None
    thread.join(30)

    assert not thread.is_alive()
    task.seconds = 0.001
    worker.resume()
    eventually(lambda: worker._thread is not None and len(task.runs) > 1)


def test_a_paused_worker_has_no_thread_until_it_is_resumed(worker, identified):
    worker.add_task(Counting(3600))
    worker.register("default", identified)
    thread = worker._thread
    worker.pause()

    assert thread not in threading.enumerate()
    assert worker.is_paused
    worker.resume()
    assert worker._thread in threading.enumerate()


def test_an_interval_that_becomes_shorter_counts_from_now_on(worker, identified):
    task = Counting(3600)
    worker.add_task(task)
    worker.register("default", identified)
    worker.pause()
    task.seconds = 0.001
    worker.resume()

    eventually(lambda: task.runs)


def test_a_database_whose_tasks_are_due_earlier_does_not_wait_for_the_others(worker, database):
    task = Counting(3600)
    worker.add_task(task)
    worker.register("default", database)
    task.seconds = 0.001
    worker.register("second", database)

    eventually(lambda: task.runs)


def test_nothing_but_the_tasks_outlives_a_reset(worker, identified):
    task = Counting(0.001)
    worker.add_task(task)
    worker.register("default", identified)
    eventually(lambda: task.runs)
    worker.reset()

    assert worker.databases() == {}
    assert worker._thread is None
    worker.register("default", identified)
    eventually(lambda: task.runs)
