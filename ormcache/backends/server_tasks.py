"""Names what the background thread does for the databases of engines that may lead to a server.

In a module of its own: SQLite's engines do not import what listens to servers.
"""

from __future__ import annotations

from ormcache.backends.tasks import TASKS
from ormcache.background.worker import Task
from ormcache.outside.listening import listener_task
from ormcache.outside.write_watch import write_watch

#: What such an engine names
SERVER_TASKS: tuple[Task, ...] = (*TASKS, listener_task, write_watch)
