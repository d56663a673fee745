"""Servers, databases and fixtures for all tests.

``pytest --engine sqlite|postgresql|mysql`` chooses the database of ``tests/integration``.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import django
import hypothesis
import pytest

from tests import environment
from tests.clusters import Cluster
from tests.examples import try_few
from tests.process import OtherProcess, close_nursery, keep_to_this_run
from tests.servers import AnyServer, Server, ServerMissing, Servers

CI = os.environ.get("CI", "").lower() in ("1", "true")

MEMORY = Path("/dev/shm")
#: Bytes; containers have 64 MB often, which a few stores fill
ROOM_FOR_STORES = 2**30
#: Bytes; of databases that are emptied after every test
ROOM_FOR_DATABASES = 2**24

#: The servers that this process has started; None in a worker of pytest-xdist
_servers: Servers | None = None
_shared: dict[str, list[AnyServer]] = {}


# The run ------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engine", choices=environment.ENGINES, default="sqlite", help="database engine of tests/integration (sqlite)"
    )
    parser.addoption("--few", action="store_true", help="try a fifth of the examples of generated tests")


@pytest.hookimpl(tryfirst=True)  # before pytest-django looks whether Django is set up
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("few"):
        try_few()
    if not hasattr(config, "workerinput"):
        _start_run(config.getoption("engine"))
    run = environment.current()
    run.own_folder.mkdir(exist_ok=True)
    # Every test has a store of its own, and some leave it open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Nothing is to land in the folders of the user who runs the tests.
    os.environ["XDG_RUNTIME_DIR"] = os.environ["XDG_CACHE_HOME"] = str(run.own_folder)
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    # The same examples at every run: a gate that may fail by chance says nothing of the change in front of it.
    # "pytest --hypothesis-profile=random" looks for new ones.
    hypothesis.settings.register_profile("random")
    hypothesis.settings.register_profile("same", derandomize=True)
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile("same")
    django.setup()
    keep_to_this_run()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage while tests are collected, which are thousands of objects, and none of them is garbage."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def _start_run(engine: str) -> None:
    """Start the servers before Django reads its settings, which need their addresses."""
    global _servers
    folder, databases = _new_folders(engine)
    _servers = Servers(folder, databases)
    missing = {}
    for kind in ["redis", "memcached", *({engine} - {"sqlite"})]:
        try:
            _shared[kind] = _servers.shared(kind)
        except ServerMissing as error:
            missing[kind] = str(error)
    descriptions = {kind: [server.describe() for server in servers] for kind, servers in _shared.items()}
    environment.Run(engine, folder, descriptions, missing, databases).publish()


def _new_folders(engine: str) -> tuple[Path, Path]:
    """The folder of a run and that of its databases: in memory for SQLite, whose every commit waits for the disk.

    Only the second where there is little of it, which makes most of the difference.
    """
    free = shutil.disk_usage(MEMORY).free if engine == "sqlite" and os.access(MEMORY, os.W_OK) else 0
    folder = Path(tempfile.mkdtemp(prefix="ormcache-tests-", dir=MEMORY if free > ROOM_FOR_STORES else None))
    if ROOM_FOR_DATABASES < free <= ROOM_FOR_STORES:
        return folder, Path(tempfile.mkdtemp(prefix="ormcache-databases-", dir=MEMORY))
    return folder, folder


def pytest_unconfigure() -> None:
    close_nursery()
    if _servers is not None:
        _servers.close()


def pytest_report_header() -> list[str]:
    run = environment.current()
    found = [f"{kind} {server['url']}" for kind, servers in run.servers.items() for server in servers]
    return [f"ormcache: engine {run.engine}, servers: {', '.join(found) or 'none'}"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for kind, reason in environment.current().missing.items():
        terminalreporter.section(f"{kind.upper()} WAS NOT TESTED", red=True)
        terminalreporter.line(reason)


@pytest.fixture(scope="module", autouse=True)
def _spare_garbage_collection() -> None:
    """Leave what is in memory by now out of later collections: with thousands of tests it takes most of their time."""
    gc.collect()
    gc.freeze()


def skip_or_fail(reason: str) -> Any:
    """A skip on somebody's own machine; where all servers are expected, a failure."""
    if CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


# Servers ------------------------------------------------------------------------


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """``start_server("redis")``: a server for one test, that may stop, kill, pause and restart it.

    PgBouncer needs to know what it is for: ``start_server("pgbouncer", behind=server, pool_mode="transaction")``.
    """
    servers = _servers or Servers(Path(tempfile.mkdtemp(prefix="ormcache-tests-")))
    started = []

    def start(kind: str, **options: Any) -> Server:
        try:
            server = servers.start(kind, **options)
        except ServerMissing as error:
            skip_or_fail(str(error))
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()
    if servers is not _servers:
        servers.close()


@pytest.fixture(scope="session")
def postgresql_server() -> AnyServer:
    return _of_run("postgresql")[0]


@pytest.fixture(scope="session")
def mysql_server() -> AnyServer:
    return _of_run("mysql")[0]


@pytest.fixture(scope="session")
def redis_server() -> AnyServer:
    return _of_run("redis")[0]


@pytest.fixture(scope="session")
def valkey_server() -> AnyServer:
    return _of_run("valkey")[0]


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[Cluster]:
    """Three nodes that all tests of this run share. Stopping one is for ``start_cluster``."""
    servers = _servers or Servers(Path(tempfile.mkdtemp(prefix="ormcache-tests-")))
    try:
        cluster = Cluster(servers.start)
    except ServerMissing as error:
        skip_or_fail(str(error))
    yield cluster
    cluster.close()
    if servers is not _servers:
        servers.close()


@pytest.fixture
def start_cluster(start_server: Callable[..., Server]) -> Iterator[Callable[..., Cluster]]:
    """``start_cluster()``: a cluster of three nodes for one test, which may do with it as it likes."""
    started = []

    def start(**options: Any) -> Cluster:
        started.append(Cluster(start_server, **options))
        return started[-1]

    yield start
    for cluster in started:
        cluster.close()


@pytest.fixture(scope="session")
def memcached_servers() -> list[AnyServer]:
    return _of_run("memcached")


def _of_run(kind: str) -> list[AnyServer]:
    """The servers of this kind that all tests of this run share. Stopping one is for ``start_server``."""
    if kind not in _shared:
        attached: list[AnyServer] = list(environment.current().attached(kind))
        if not attached:  # no cache, and not the engine under test: started for the first test that asks
            try:
                servers = _servers or Servers(Path(tempfile.mkdtemp(prefix="ormcache-tests-")))
                attached = servers.shared(kind)
            except ServerMissing as error:
                skip_or_fail(str(error))
        _shared[kind] = attached
    return _shared[kind]


# Databases ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def engine() -> str:
    """``"sqlite"``, ``"postgresql"`` or ``"mysql"``."""
    return environment.current().engine


@pytest.fixture(scope="session")
def django_db_setup(django_db_blocker: Any, engine: str) -> Iterator[None]:
    """In place of pytest-django's: two aliases share one database here, and no name gets a ``test_`` before it."""
    from tests import databases

    run = environment.current()
    if engine in run.missing:
        skip_or_fail(run.missing[engine])
    with django_db_blocker.unblock():
        databases.create(run)
    yield
    with django_db_blocker.unblock():
        databases.drop(run)


@pytest.fixture
def store_folder() -> Iterator[str]:
    """A folder with an empty embedded store. It is removed at once, because other processes give it 17 MB of blocks.

    This process does not: that would take longer than most tests. ``tests/stores`` has the store as it is.
    """
    from ormcache.stores.embedded import files

    folder = tempfile.mkdtemp(prefix="store-", dir=environment.current().own_folder)
    with mock.patch.object(files, "_allocate"):
        _make_store(Path(folder))
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _make_store(folder: Path) -> None:
    """Make the files of an embedded store without the wait until all processes have left files of before.

    Nobody can have any from a folder that is new, and each test would wait longer than most of them take.
    """
    from ormcache.conf import OPTIONS
    from ormcache.stores.embedded import files
    from ormcache.stores.embedded.presence import NamespaceLock

    lock = NamespaceLock(folder)
    with mock.patch.object(files, "CHECK_INTERVAL", 0):
        files.open_files(folder, OPTIONS["MAX_SIZE"].default, lock).close()
    lock.release()


@pytest.fixture
def database(
    django_db_setup: None, django_db_blocker: Any, store_folder: str, configure: Callable[..., None]
) -> Iterator[None]:
    """Empty databases with real commits, an empty embedded store, new connections. All of tests/integration has it."""
    from tests import databases

    configure(LOCATION=store_folder)
    with django_db_blocker.unblock():
        yield
        databases.forget_connections()
        databases.flush()
        databases.forget_connections()
        databases.forget_pending()


@pytest.fixture
def configure() -> Iterator[Callable[..., None]]:
    """``configure(STORE="redis", CACHE="redis", BLACKLIST=["shop.Review"])``: settings of ormcache for this test.

    They count for both databases under test and for processes started from now on; a cache that is named is emptied.
    """
    from django.conf import settings
    from django.core.cache import caches
    from django.test.signals import setting_changed

    dicts = [settings.DATABASES[alias]["ORMCACHE"] for alias in ("default", "second")]
    before = [dict(values) for values in dicts]
    changed: dict[str, Any] = {}

    def tell() -> None:
        setting_changed.send(sender=None, setting="ORMCACHE", value=getattr(settings, "ORMCACHE", None), enter=True)

    def set_keys(**keys: Any) -> None:
        if "CACHE" in keys:
            caches[keys["CACHE"]].clear()
        changed.update(keys)
        for values in dicts:
            values.update(keys)
        os.environ[environment.OVERRIDES] = json.dumps(changed)
        tell()

    yield set_keys
    for values, old in zip(dicts, before, strict=True):
        values.clear()
        values.update(old)
    os.environ.pop(environment.OVERRIDES, None)
    tell()


class Queries(list[str]):
    """The statements that reached the driver, in order."""

    connecting = False

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        # Django asks MariaDB for its properties again when the first query is compiled before there is a connection.
        if not self.connecting and "@@sql_auto_is_null" not in str(sql):
            self.append(str(sql))
        return execute(sql, params, many, context)

    @contextlib.contextmanager
    def of(self, connection: Any) -> Iterator[Queries]:
        set_up = connection.init_connection_state

        def set_up_unseen() -> None:
            self.connecting = True
            try:
                set_up()
            finally:
                self.connecting = False

        connection.init_connection_state = set_up_unseen
        try:
            # Appended, and so the innermost of all wrappers: what ormcache answers by itself does not come here.
            with connection.execute_wrapper(self):
                yield self
        finally:
            del connection.init_connection_state


@pytest.fixture
def queries() -> Callable[..., contextlib.AbstractContextManager[Queries]]:
    """``with queries(0): list(Book.objects.all())``: how many statements reach the database itself.

    Without a number it only collects them: ``with queries() as seen: ...``. Counts what this thread runs on
    ``using``; BEGIN, COMMIT, ROLLBACK and what Django runs to set up a new connection are not counted.
    """
    from django.db import connections

    @contextlib.contextmanager
    def count(expected: int | None = None, *, using: str = "default") -> Iterator[Queries]:
        with Queries().of(connections[using]) as seen:
            yield seen
        if expected is not None and len(seen) != expected:
            listed = "\n".join(f"  {number}. {sql}" for number, sql in enumerate(seen, 1)) or "  none"
            pytest.fail(f"{len(seen)} queries reached the database instead of {expected}:\n{listed}")

    return count


class StartProcess:
    """What the fixture ``other_process`` is."""

    def __init__(self) -> None:
        self.started: list[OtherProcess] = []

    def __call__(self, function: str, *args: Any, **kwargs: Any) -> Any:
        return self.start(function, *args, **kwargs).result()

    def start(self, function: str, *args: Any, stops: tuple[str, ...] | list[str] = (), **kwargs: Any) -> OtherProcess:
        process = OtherProcess(function, args, kwargs, stops)
        self.started.append(process)
        return process


@pytest.fixture
def other_process() -> Iterator[StartProcess]:
    """A function, by its dotted name, in a new process of the same site.

    ``other_process("tests.integration.calls.names")`` returns its result.
    ``other_process.start("tests.integration.calls.names", stops=[...])`` returns an
    :class:`tests.process.OtherProcess` that
    stops where the function calls ``tests.process.stop("name")``, and before or after any function that is
    named like ``"after:ormcache.stores.base.Store.mark"``.
    """
    start = StartProcess()
    yield start
    for process in start.started:
        process.close()
