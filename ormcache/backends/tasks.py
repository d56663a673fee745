"""Names what the background thread does for the databases of every engine, beside the marks that all must have."""

from __future__ import annotations

from ormcache.background.worker import Task
from ormcache.outside.outbox import outbox_settler
from ormcache.telemetry.publisher import publisher

#: What every engine of this package names
TASKS: tuple[Task, ...] = (outbox_settler, publisher)
