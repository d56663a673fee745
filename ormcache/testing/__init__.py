"""Helps projects to test with the cache: switches it in a test, and asserts what comes from it.

Works with unittest, Django's test classes and pytest alike.
"""

from ormcache.exceptions import StaleRead
from ormcache.telemetry.recorder import RecordedInvalidation, RecordedRead, RecordedUse, Recorder
from ormcache.testing.asserting import CacheAssertions, assert_bypassed, assert_hits, assert_misses
from ormcache.testing.overriding import override_cache

__all__ = [
    "CacheAssertions",
    "RecordedInvalidation",
    "RecordedRead",
    "RecordedUse",
    "Recorder",
    "StaleRead",
    "assert_bypassed",
    "assert_hits",
    "assert_misses",
    "override_cache",
]
