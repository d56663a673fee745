"""The servers of the tests themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.process import ROOT
from tests.waiting import eventually

CRASH = """
import os, pathlib, signal, tempfile
from tests.servers import Servers

servers = Servers(pathlib.Path(tempfile.mkdtemp(prefix="ormcache-tests-")))
print(servers.start("redis").pid, servers.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "kind", ["redis", "memcached", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("postgresql", "mysql"))]
)
def test_a_server_comes_back_where_it_was(start_server, kind):
    server = start_server(kind)
    url, pid = server.url, server.pid
    server.kill()
    assert not server.running
    assert not psutil.pid_exists(pid)

    server.start()
    assert server.ready()
    assert server.url == url
    assert server.pid != pid

    server.restart()
    assert server.ready()


def test_a_paused_server_does_not_answer(start_server):
    server = start_server("redis")
    client = redis.Redis(unix_socket_path=server.unix_socket, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
    client.ping()
    server.pause()
    with pytest.raises(redis.TimeoutError):
        client.ping()

    server.resume()
    assert client.ping()
    client.close()


def test_redis_keeps_what_was_saved(start_server):
    server = start_server("redis")
    with redis.Redis(port=server.port) as client:
        client.set("saved", 1)
        client.save()
        client.set("not saved", 1)
        server.kill()
        server.start()

        assert client.keys() == [b"saved"]


def test_shared_servers(redis_server, memcached_servers):
    assert redis_server.kind == "redis"
    assert len(memcached_servers) > 0


def test_nothing_outlives_tests_that_crash(redis_server):
    crashed = subprocess.run([sys.executable, "-c", CRASH], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    pid, folder = crashed.stdout.split()

    eventually(lambda: not _alive(int(pid)) and not Path(folder).exists())


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
