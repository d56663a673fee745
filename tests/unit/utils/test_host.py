"""What a process can tell of where it runs."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ormcache.catalog import sqlite
from ormcache.utils import host


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
    birth = host.creation_time(str(path))
    identity = identified(path)
    assert identified(path) == identity
    made_anew(path)
    assert host.creation_time(str(path)) > birth > 0
    assert identified(path) != identity


@pytest.mark.skipif(sys.platform != "linux", reason="statx is Linux'")
def test_one_file_under_two_paths_is_one_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers that have a volume in different places."""
    path, other = tmp_path / "db.sqlite3", tmp_path / "other.sqlite3"
    path.write_bytes(b"")
    other.hardlink_to(path)
    assert identified(path) == identified(other)
    monkeypatch.setattr(sqlite, "creation_time", lambda path: 0)
    assert identified(path) != identified(other)


def test_a_file_of_a_copied_disk_is_another_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a machine made from an image, or after a crash in which SQLite lost what was committed last."""
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"")
    before = identified(path)
    assert identified(path) == before
    monkeypatch.setattr(sqlite, "boot", lambda: "another boot")
    assert identified(path) != before


def identified(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        return sqlite.identify(
            SimpleNamespace(connection=connection, ormcache=SimpleNamespace(settings={"NAME": str(path)}))
        ).identity
    finally:
        connection.close()


@pytest.fixture
def sleeping() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started = []

    def start(*before: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*before, "exec sleep 60"] if before else ["sleep", "60"])
        started.append(process)
        path = Path(f"/proc/{process.pid}/comm")
        while path.read_text() != "sleep\n":
            assert process.poll() is None
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


needs_proc = pytest.mark.skipif(not host.HAS_PROC, reason="no /proc here")


@needs_proc
def test_a_server_is_known_by_number_name_and_start(sleeping: Callable[..., subprocess.Popen[bytes]]) -> None:
    now = time.time()
    pid = sleeping().pid
    assert host.is_on_this_host(pid, "sleep", now, within=5)
    assert host.is_on_this_host(pid, "", now, within=5)
    assert not host.is_on_this_host(pid, "postgres", now, within=5)
    assert not host.is_on_this_host(pid, "sleep", now - 60, within=5)
    assert not host.is_on_this_host(pid, "sleep", now + 60, within=5)
    assert not host.is_on_this_host(2**22 + 1, "", now, within=5)  # beyond the largest number that Linux gives
    assert pid in host.pids_of("sleep", "another")
    assert pid not in host.pids_of("slee")


@needs_proc
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts, which takes root")
def test_a_server_with_a_shared_memory_of_its_own_is_not_beside(
    sleeping: Callable[..., subprocess.Popen[bytes]],
) -> None:
    if subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/dev/shm"], check=False).returncode:
        pytest.skip("this machine makes no mount namespaces")
    now = time.time()
    contained = sleeping("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /dev/shm && exec sleep 60 #")
    assert not host.is_on_this_host(contained.pid, "sleep", now, within=5)
    bare = sleeping("unshare", "--mount", "sh", "-c", "exec sleep 60 #")
    assert host.is_on_this_host(bare.pid, "sleep", now, within=5)


def test_the_port_at_this_end_of_a_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as ours:
        theirs, address = listening.accept()
        assert host.local_port(ours.fileno()) == address[1]
        theirs.close()
    one, other = socket.socketpair()
    with one, other:
        assert host.local_port(one.fileno()) is None
        assert one.send(b"x") == 1  # it is still open


def test_a_container_by_what_its_maker_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    for marked in (False, True):
        monkeypatch.setattr(os.path, "exists", lambda path, marked=marked: marked and path == "/.dockerenv")
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        monkeypatch.delenv("container", raising=False)
        host.in_container.cache_clear()
        assert host.in_container() is marked
    monkeypatch.undo()
    host.in_container.cache_clear()


def test_when_a_file_was_created_is_read_as_the_system_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"")
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_birthtime=12.5, st_ctime=20.5))
    assert host.creation_time(str(path)) == 12_500_000_000  # macOS
    monkeypatch.setattr(os, "stat", lambda path: SimpleNamespace(st_ctime=20.5))
    with monkeypatch.context() as patching:
        patching.setattr(sys, "platform", "win32")
        assert host.creation_time(str(path)) == 20_500_000_000  # Windows before Python 3.12
    monkeypatch.setattr(host.ctypes, "CDLL", lambda name: SimpleNamespace())
    assert host.creation_time(str(path)) == 0  # a C library without statx


def test_what_a_system_does_not_say_is_shared_with_no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc no two processes take their addresses and paths for the same."""

    def fail(*arguments: object, **options: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(os, "stat", fail)
    monkeypatch.setattr(Path, "read_text", fail)
    boot, viewpoint = host.boot.__wrapped__, host.viewpoint.__wrapped__  # neither remembers
    assert boot() == ""
    assert viewpoint() != viewpoint()


def test_processes_that_end_meanwhile_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path(f"/proc/{os.getpid()}/comm")
    if not own.exists():
        pytest.skip("this system has no /proc")
    name = own.read_text().strip()
    read = Path.read_text

    def fail_elsewhere(path: Path) -> str:
        if path != own:
            raise ProcessLookupError
        return read(path)

    monkeypatch.setattr(Path, "read_text", fail_elsewhere)
    assert host.pids_of(name) == [os.getpid()]
