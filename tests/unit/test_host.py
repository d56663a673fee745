"""What a process can tell of where it runs."""

from __future__ import annotations

import os
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ormcache import host
from ormcache.catalog import sqlite


def made_anew(path: Path) -> None:
    """Delete a file and make another one in its place, as often as it takes for its inode to come back."""
    inode = path.stat().st_ino
    for _ in range(1000):
        path.unlink()
        path.write_bytes(b"")
        if path.stat().st_ino == inode:
            return
    pytest.skip("this file system does not hand out the numbers of deleted files again")


@pytest.mark.skipif(sys.platform != "linux", reason="statx is Linux'")
def test_a_file_that_follows_a_deleted_one_is_another_one(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"")
    birth = host.birth_of(str(path))
    identity = identified(path)
    assert identified(path) == identity
    made_anew(path)
    assert host.birth_of(str(path)) > birth > 0
    assert identified(path) != identity


def identified(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return sqlite.identify(SimpleNamespace(connection=connection, settings_dict={"NAME": str(path)})).identity
    finally:
        connection.close()


def test_a_process_is_known_by_number_and_name() -> None:
    name = Path(f"/proc/{os.getpid()}/comm")
    if not name.exists():
        pytest.skip("no /proc here")
    assert host.runs_here(os.getpid(), name.read_text().strip())
    assert not host.runs_here(os.getpid(), "another name")
    assert not host.runs_here(2**22 + 1, "")  # beyond the largest number that Linux gives


def test_a_container_by_what_its_maker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for marked in (False, True):
        monkeypatch.setattr(os.path, "exists", lambda path, marked=marked: marked and path == "/.dockerenv")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.delenv("container", raising=False)
        host.in_container.cache_clear()
        assert host.in_container() is marked
    monkeypatch.undo()
    host.in_container.cache_clear()
