"""The public exceptions: one root, the tree that its module draws, and the names that the package offers."""

from __future__ import annotations

import re

import pytest

import ormcache
from ormcache import exceptions
from ormcache.exceptions import OrmcacheError

CLASSES = [one for one in vars(exceptions).values() if isinstance(one, type) and one.__module__ == exceptions.__name__]


def drawn() -> dict[str, set[str]]:
    """Class → its bases, as the tree in the docstring has them."""
    tree: dict[str, set[str]] = {}
    path: list[str] = []
    for line in (exceptions.__doc__ or "").splitlines():
        found = re.match(r"    ([│ ]*)([├└]── )?(\w+) *(?:\((\w+)\))?(?:  |$)", line)
        if found is None:
            continue
        depth = 0 if found[2] is None else len(found[1]) // 4 + 1
        path[depth:] = [found[3]]
        tree[found[3]] = {name for name in (path[depth - 1] if depth else "Exception", found[4]) if name}
    return tree


def test_the_tree_is_drawn_as_it_is():
    assert drawn() == {one.__name__: {base.__name__ for base in one.__bases__} for one in CLASSES}


@pytest.mark.parametrize("one", CLASSES, ids=lambda one: one.__name__)
def test_all_have_one_root(one: type):
    assert issubclass(one, OrmcacheError)
    assert one.__doc__


def test_the_package_offers_those_that_programs_catch():
    offered = {name for name in ormcache.__all__ if isinstance(getattr(ormcache, name), type)} - {"disabled"}

    assert {name for name in offered if name in vars(exceptions)} >= {
        "NotCached",
        "OrmcacheError",
        "StoreUnavailable",
        "UnknownTable",
        "WriteRefused",
    }
    assert all(getattr(ormcache, name) is getattr(exceptions, name) for name in offered if name in vars(exceptions))
