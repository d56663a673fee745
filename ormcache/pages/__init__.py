"""Derived caches: functions, fragments and pages, computed once, until what they read is written."""
