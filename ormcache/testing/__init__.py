"""For the tests of projects: switching the cache in a test, and asserting what comes from it.

Works with unittest, Django's test classes and pytest alike.
"""

from ormcache.recording import Read, Recorder, Retired
from ormcache.shadow import StaleRead
from ormcache.testing.asserting import CacheAssertions, assert_bypassed, assert_hits, assert_misses
from ormcache.testing.overriding import override_cache

__all__ = [
    "CacheAssertions",
    "Read",
    "Recorder",
    "Retired",
    "StaleRead",
    "assert_bypassed",
    "assert_hits",
    "assert_misses",
    "override_cache",
]
