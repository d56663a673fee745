"""Adds a fixture and a mark to pytest. Django is not imported before a test uses one of them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ormcache.testing import Recorder

_MARK = "ormcache"
_KEY = pytest.StashKey[AbstractContextManager[None]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f'{_MARK}(mode): run this test with the cache "on", "off" or in "shadow", see ormcache.testing'
    )


@pytest.fixture
def ormcache_recorder() -> Iterator[Recorder]:
    """Record what becomes of the test's reads and writes, in an ``ormcache.testing.Recorder``."""
    with import_module("ormcache.testing").Recorder() as recorder:
        yield recorder


# Around setup and teardown, so that the fixtures of a test, of any scope, run inside.


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    mark = item.get_closest_marker(_MARK)
    if mark is not None:
        override = import_module("ormcache.testing").override_cache(*mark.args, **mark.kwargs)
        override.__enter__()
        item.stash[_KEY] = override
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    try:
        return (yield)
    finally:
        override = item.stash.get(_KEY, None)
        if override is not None:
            del item.stash[_KEY]
            override.__exit__(None, None, None)
