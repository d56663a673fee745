"""Explanations: what ormcache makes of a statement, and why."""
