"""Writes that the store could not be told of."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from ormcache.pending import Pending
from ormcache.stores.base import StoreUnavailable

awake = []

def settle(relations):
    if not awake:
        raise StoreUnavailable
    print(*relations)

pending = Pending(settle, lambda: awake.append(True))
pending.add(frozenset({"shop_author"}))
"""


def test_what_waits_is_told_at_an_orderly_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)

    assert done.stdout == "shop_author\n"
