"""The example of the documentation, its services run as namespaces of this machine."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.compose import Composed, services
from tests.containers.running import is_available
from tests.integration.reading import only_postgresql
from tests.servers import Server
from tests.waiting import eventually

pytestmark = [only_postgresql, pytest.mark.slow, pytest.mark.timeout(300)]


#: Prints what the page says, and how many hits and misses that took
READ = """
import os, django; os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"; django.setup()
import ormcache
from shop.urls import products
print(products(None).content.decode(), ormcache.stats("default")["hits"], ormcache.stats("default")["misses"])
"""


@pytest.fixture
def composed(start_server: Callable[..., Server]) -> Iterator[Composed]:
    if not is_available():
        pytest.skip("needs namespaces and overlayfs, and therefore root on Linux")
    folder = Path(tempfile.mkdtemp(prefix="ormcache-tests-"))
    folder.chmod(0o755)
    with Composed(folder, start_server) as found:
        yield found
        print(found.logs())
    shutil.rmtree(folder)


def page(composed: Composed) -> str:
    address = f"http://{composed.address('web')}:8000/"

    def ask() -> str:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return str(answer.read().decode())

    return composed.as_client(ask)


def redis(composed: Composed, *words: str) -> Any:
    """One command, and its answer; a list is as long as two texts."""
    from redis import Redis

    def ask() -> Any:
        with Redis(composed.address("redis"), db=1) as client:
            return client.execute_command(*words)

    return composed.as_client(ask)


def answers(call: Callable[[], Any]) -> bool:
    with contextlib.suppress(Exception):
        call()
        return True
    return False


def up(composed: Composed) -> None:
    for service in ("database", "redis"):
        composed.up(service)
    eventually(lambda: answers(lambda: redis(composed, "PING")), 60)

    def connects() -> None:
        with socket.create_connection((composed.address("database"), 5432), 1):
            pass

    eventually(lambda: answers(lambda: composed.as_client(connects)), 60)
    assert composed.run("migrate").wait() == 0, composed.logs()
    for service in ("web", "worker"):
        composed.up(service)
    eventually(lambda: answers(lambda: page(composed)), 60)


def set_price(composed: Composed, price: int) -> None:
    """Have the worker write, and return when it has."""
    redis(composed, "RPUSH", "prices", f"tea {price}")
    assert redis(composed, "BLPOP", "done", "30")[1].decode() == f"tea {price}"


def test_the_site(composed: Composed) -> None:
    up(composed)
    for price in range(1, 21):
        set_price(composed, price)
        # Two workers of gunicorn, and results that one of them has stored are served by the other.
        assert [page(composed) for _ in range(4)] == [f"tea {price}"] * 4

    # Another container finds in the store what these have read.
    assert composed.run("web", "python", "-c", READ).output().split() == ["tea", "20", "1", "0"]

    for service in ("web", "worker", "migrate"):
        write = composed.run(service, "python", "-c", "open('/anything', 'w')")
        assert "Read-only file system" in write.output()
        # What Docker gives, or what the file says
        sizes = "import shutil; print(shutil.disk_usage('/dev/shm').total, shutil.disk_usage('/tmp').total)"
        printed = composed.run(service, "python", "-c", sizes).output().split()
        assert list(map(int, printed)) == [64 * 2**20, 16 * 2**20]
    checked = composed.run("web", "python", "manage.py", "ormcache", "check")
    printed = checked.output()
    assert checked.wait() == 0, printed


def test_stopping_leaves_nothing_stale(composed: Composed) -> None:
    up(composed)
    set_price(composed, 1)
    assert page(composed) == "tea 1"

    # Between its write and its COMMIT for longer than the time that it has to end
    composed["worker"].given.stop_grace_period = 1
    redis(composed, "RPUSH", "prices", "tea 2 60")
    redis(composed, "BLPOP", "written", "30")
    assert redis(composed, "BLPOP", "written", "30")[1].decode() == "tea 2 60"
    assert page(composed) == "tea 1"
    assert composed["worker"].stop() != 0
    assert page(composed) == "tea 1"

    composed.up("worker")
    set_price(composed, 3)
    assert page(composed) == "tea 3"
    assert composed["web"].stop() == 0  # gunicorn ends when its requests have
    set_price(composed, 4)
    composed.up("web")
    eventually(lambda: answers(lambda: page(composed)), 60)
    assert page(composed) == "tea 4"

    # The store goes and comes, empty
    composed["redis"].stop()
    assert page(composed) == "tea 4"
    composed.up("redis")
    eventually(lambda: answers(lambda: redis(composed, "PING")), 60)
    eventually(lambda: composed["worker"].running or composed.up("worker"))
    assert page(composed) == "tea 4"


def test_the_file_says_what_the_page_about_containers_says() -> None:
    found = services()
    sites = {name for name, service in found.items() if "build" in service}
    assert sites == {"web", "worker", "migrate"}
    assert all(service["read_only"] for service in found.values())
    assert len({json.dumps(found[name]["environment"], sort_keys=True) for name in sites}) == 1
    assert found["worker"]["init"] is True
    assert "--maxmemory-policy allkeys-lru" in found["redis"]["command"]
