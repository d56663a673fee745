"""Hosts, links that are cut, and processes that are killed: what was read is judged at the end."""

from __future__ import annotations

import os

import pytest

from tests import environment
from tests.integration.reading import only_postgresql
from tests.shop.models import Author
from tests.torture.network import is_available
from tests.torture.prepare import prepare
from tests.torture.torture import WORKERS, Torture
from tests.torture.worker import own_authors

pytestmark = [only_postgresql, pytest.mark.timeout(3600)]

#: More of both, to search for faults: ORMCACHE_TORTURE_SEEDS=1-100 ORMCACHE_TORTURE_SECONDS=30
FIRST, _, LAST = os.environ.get("ORMCACHE_TORTURE_SEEDS", "1").partition("-")
SEEDS = range(int(FIRST), int(LAST or FIRST) + 1)
SECONDS = float(os.environ.get("ORMCACHE_TORTURE_SECONDS", "10"))
#: A soak for hours: ORMCACHE_TORTURE_SEEDS=1-30 ORMCACHE_SOAK_SECONDS=150
SOAK_SECONDS = float(os.environ.get("ORMCACHE_SOAK_SECONDS", "90"))


@pytest.fixture
def torture(start_server, tmp_path):
    """``torture(seed, "refuse")``: a run that is about to begin."""
    if not is_available():
        pytest.skip("needs network namespaces, and therefore root")

    def begin(seed, on_outage):
        Author.objects.using("plain").bulk_create(
            Author(pk=author, name="0", email=f"{author}@x") for worker in WORKERS for author in own_authors(worker)
        )
        return Torture(environment.current(), start_server("redis"), tmp_path, seed, on_outage, restarts=True)

    return begin


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stale_where_writes_are_refused_without_a_store(torture, seed):
    run = torture(seed, "refuse")
    verdict = run.run(SECONDS)
    story = "\n".join([*run.events, *map(str, verdict.stale[:5])])

    assert verdict.stale == [], story
    assert verdict.reads > 100, story
    assert verdict.writes > 10, story
    assert run.counts()["hits"] > 0, story


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stale_for_longer_than_an_outage_where_writes_proceed(torture, seed):
    run = torture(seed, "proceed")
    verdict = run.run(SECONDS)
    late = [read for read in verdict.stale if not read.excused]
    story = "\n".join([*run.events, *map(str, late[:5])])

    assert late == [], story
    assert verdict.reads > 100, story


@pytest.fixture
def soak(start_server, tmp_path):
    """``soak(seed, "refuse")``: a run that is about to begin, on servers that are restarted."""
    if not is_available():
        pytest.skip("needs network namespaces, and therefore root")
    database = start_server("postgresql")
    prepare(database)

    def begin(seed, on_outage):
        redis = start_server("redis")
        run = environment.current()
        return Torture(run, redis, tmp_path, seed, on_outage, restarts=True, database=database)

    return begin


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_stale_while_servers_restart_and_deploys_and_schemas_change(soak, seed):
    run = soak(seed, "refuse")
    verdict = run.run(SOAK_SECONDS)
    late = [read for read in verdict.stale if not read.excused]
    counts = run.counts()
    story = "\n".join([*run.events, str(verdict._replace(stale=[])), str(counts), *map(str, late[:5])])
    print(story)  # for whoever runs it for hours, with -s

    assert late == [], story
    assert verdict.reads > 1000, story
    assert verdict.writes > 100, story
    assert counts["hits"] > 100, story
    assert counts["schema changes"] > 0, story
