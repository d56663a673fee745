"""What one test run is made of, as all of its processes see it.

The process that runs pytest starts the servers and publishes them in an environment variable; pytest-xdist's workers
and the processes that tests start find them there. Nothing here needs Django.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.servers import Attached

VARIABLE = "ORMCACHE_TEST_RUN"
#: Below the folder of a worker: what processes note for all others of the host, which are to be those of one worker
NOTES = "notes"
#: What a test has set for ormcache, as JSON, for the processes that it starts: see ``configure`` in tests/conftest.py
OVERRIDES = "ORMCACHE_TEST_OVERRIDES"
ENGINES = ("sqlite", "postgresql", "mysql")


@dataclass(frozen=True)
class Run:
    """One run of pytest."""

    engine: str
    folder: Path  # the run's own; removed at its end
    #: kind of server → the running ones; a missing kind is not there
    servers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    #: kind of server → why there is none
    missing: dict[str, str] = field(default_factory=dict)
    #: where SQLite's databases are, if not in ``folder``
    databases: Path | None = None

    @property
    def worker(self) -> str:
        """Workers of pytest-xdist have databases of their own; the processes that they start share them."""
        return os.environ.get("PYTEST_XDIST_WORKER", "main")

    @property
    def own_folder(self) -> Path:
        return self.folder / self.worker

    def database_name(self, alias: str) -> str:
        """The name of the physical database that this alias leads to."""
        if self.engine == "sqlite":
            return str((self.databases or self.folder) / f"{self.worker}-{alias}.sqlite3")
        # The folder's name is random: runs that share a server do not meet.
        return f"{self.folder.name}_{self.worker}_{alias}".replace("-", "_").lower()

    def attached(self, kind: str) -> list[Attached]:
        return [Attached(**description) for description in self.servers.get(kind, ())]

    def first(self, kind: str) -> Attached:
        """The first server of this kind; where there is none, an address that refuses connections."""
        found = self.attached(kind)
        return found[0] if found else Attached(kind, f"{kind}://127.0.0.1:1")

    def publish(self) -> None:
        self.own_folder.mkdir(exist_ok=True)
        os.environ[VARIABLE] = json.dumps(asdict(self), default=str)


def current() -> Run:
    """The run that this process belongs to, or one without servers for a process outside any run."""
    published = os.environ.get(VARIABLE)
    if published is None:
        return Run("sqlite", Path(tempfile.gettempdir()) / "ormcache-tests")
    values = json.loads(published)
    folders = {name: Path(values[name]) for name in ("folder", "databases") if values[name] is not None}
    return Run(**values | folders)
