"""A third party's cache in DynamoDB as the store of a site, with what the guide adds to it.

The site runs in processes of its own: the third party's package looks for its own server wherever it finds pytest.
"""

from __future__ import annotations

import importlib.util
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.reading import shown_on_sqlite
from tests.projects.running import Library
from tests.servers import Server

pytestmark = [
    pytest.mark.slow,
    shown_on_sqlite,
    pytest.mark.skipif(
        importlib.util.find_spec("django_dynamodb_cache") is None, reason="no such package for this version of Django"
    ),
]

GUIDE = Path(__file__).parents[3] / "docs" / "guide.md"
THEIRS = "django_dynamodb_cache.backend.DjangoCacheBackend"
MENDED = "caches.ConsistentDynamoDB"


def documented_backend() -> str:
    found = re.search(r"^```python\n# shop/caches\.py\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def folder_of_backend(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backend")
    (folder / "caches.py").write_text(documented_backend(), encoding="utf-8")
    return folder


@pytest.fixture
def site(start_server: Callable[..., Server], tmp_path: Path, folder_of_backend: Path) -> Callable[[str], Library]:
    """``site(backend)``: one whose store is this cache, with a table of its own."""
    server = start_server("dynamodb")

    def make(backend: str) -> Library:
        library = Library(tmp_path)
        library.environment = {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
        }
        library.path = [str(folder_of_backend)]
        library.settings["INSTALLED_APPS"] = ["library", "django_dynamodb_cache"]
        library.settings["ALLOWED_HOSTS"] = ["*"]
        library.settings["CACHES"] = {
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "dynamodb": {"BACKEND": backend, "LOCATION": "shop-cache"},
        }
        library.settings["ORMCACHE"] |= {
            "STORE": "django",
            "CACHE": "dynamodb",
            "MAX_BYTES": 300_000,
            "LOCAL_SIZE": 0,
            "SHARE": "always",
            "ADAPTIVE": False,
            "STATISTICS_INTERVAL": 0,
        }
        library.call("scenes.prepare")
        return library

    return make


def page(address: str) -> str:
    with urllib.request.urlopen(address) as answer:
        return str(answer.read().decode()).removeprefix("<body>").removesuffix("</body>")


@pytest.mark.parametrize("backend", [THEIRS, MENDED])
def test_reads_are_hits_and_a_write_is_seen_by_other_processes(site: Callable[[str], Library], backend: str) -> None:
    library = site(backend)
    with library.serving() as address:
        assert page(address) == "first"
        assert library.call("scenes.counted_names") == [["first"], 0]  # which the other one has stored
        assert library.call("scenes.read_write_read") == [["first"], 0, ["first", "second"]]
        assert page(address) == "first,second"
        assert page(f"{address}/add/?name=third") == "first,second,third"
        assert library.call("scenes.counted_names") == [["first", "second", "third"], 0]


def test_checks_say_what_it_cannot_promise(site: Callable[[str], Library]) -> None:
    found = site(MENDED).manage("check")
    assert re.findall(r"ormcache\.[EW]\d+", found) == ["ormcache.W006", "ormcache.W010"]
    assert "one mark can be lost" in " ".join(found.split())


def test_what_the_guide_adds(site: Callable[[str], Library]) -> None:
    library = site(MENDED)
    assert library.call("scenes.add_at_once", "dynamodb", 3) == {"added": 1, "consistent": True, "after expiry": True}
    # With MAX_BYTES as the guide says, what is too large for an item is no outage of the store.
    assert library.call("scenes.counted_large_names", 600_000) == [600_000, 1, ["first"], 0]
    requests = library.call("scenes.requests_to_dynamodb")
    assert requests["hit"] == {"GetItem": 3}
    assert 20 < sum(requests["write"].values()) < 40


def test_what_the_third_partys_lacks(site: Callable[[str], Library]) -> None:
    """The guide says so. A version that lacks nothing needs no subclass."""
    found = site(THEIRS).call("scenes.add_at_once", "dynamodb", 3)
    assert found.pop("added") > 1
    assert found == {"consistent": False, "after expiry": False}
