"""Other people's test runs: Django's own runner and pytest, on a site whose only engine is one of ormcache."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests import databases, environment
from tests.projects.running import PLUGIN, Library

pytestmark = pytest.mark.slow

TESTS = ("test", "--top-level-directory=.", "--pattern=cases.py", "--noinput")
NUMBER = 16  # tests in library/cases.py


@pytest.fixture
def library(tmp_path) -> Iterator[Library]:
    site = Library(tmp_path)
    yield site
    run = environment.current()
    if run.engine != "sqlite":
        force = " WITH (FORCE)" if run.engine == "postgresql" else ""
        with databases._administration(run) as execute:
            for suffix in ("", "_1", "_2", "_gw0", "_gw1"):
                execute(f"DROP DATABASE IF EXISTS {site.test_database}{suffix}{force}")


def assert_ran(output: str, number: int = NUMBER) -> None:
    assert re.search(rf"Ran {number} tests in .*\n\nOK\n", output), output


def test_djangos_test_classes(library):
    """On SQLite in memory, as its test databases are by default."""
    assert_ran(library.manage(*TESTS))


def test_djangos_test_classes_in_another_order(library):
    assert_ran(library.manage(*TESTS, "--reverse"))


def test_in_parallel(library):
    """SQLite in memory: each worker inherits a copy of the whole database under the same name."""
    assert_ran(library.manage(*TESTS, "--parallel=2"))


@pytest.mark.parametrize("arguments", [(), ("--parallel=2",)])
def test_a_new_test_database_of_an_old_name(library, engine, arguments):
    """Workers' databases are copied from a template behind our back, each time under the same name."""
    if engine == "sqlite":
        library.database["TEST"] = {"NAME": str(library.folder / "test.sqlite3")}
    for first in ("one", "two"):
        library.environment["LIBRARY_FIRST"] = first
        assert_ran(library.manage(*TESTS, *arguments, "-k", "ReadOnly"), 2)


def test_kept_databases(library, engine):
    if engine == "sqlite":
        library.database["TEST"] = {"NAME": str(library.folder / "test.sqlite3")}
    for _ in range(2):
        # Those of the tests that can live with what others have left behind
        assert_ran(library.manage(*TESTS, "--keepdb", "-k", "Fixtures"), 3)
    library.environment["LIBRARY_FIRST"] = "anew"
    assert_ran(library.manage(*TESTS))


def test_in_memory_by_name(library, engine):
    if engine != "sqlite":
        pytest.skip("SQLite only")
    library.database["NAME"] = ":memory:"
    assert_ran(library.manage(*TESTS))


def test_the_plugin_for_pytest(library):
    """What a mark in shadow has found and the test has swallowed is an error of its teardown."""
    output = library.pytest("-q", "-p", PLUGIN, file="checked_with_plugin.py", fails=True)
    assert "6 passed, 1 error" in output
    assert "ERROR library/checked_with_plugin.py::test_shadow_that_fails" in output
    assert "StaleRead: the cache would have served other rows than the database has" in output


def test_pytest_django(library):
    assert "11 passed" in library.pytest("-q")


def test_pytest_django_reusing_its_database(library, engine):
    if engine == "sqlite":
        library.database["TEST"] = {"NAME": str(library.folder / "test.sqlite3")}
    for _ in range(2):
        assert "5 passed" in library.pytest("-q", "--reuse-db", "-k", "rolled_back or blocked")


def test_xdist(library, engine):
    if engine == "sqlite":
        library.database["TEST"] = {"NAME": str(library.folder / "test.sqlite3")}
    assert "11 passed" in library.pytest("-q", "-n2")
