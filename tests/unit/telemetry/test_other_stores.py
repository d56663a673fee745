"""Notes of the stores that processes use: whoever may have written them, they are bounded and checked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from ormcache.telemetry import other_stores
from ormcache.telemetry.other_stores import StoreUse

NAME = b"name of a database"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(other_stores, "shared_folder", lambda: tmp_path)
    return tmp_path


def use(**fields: object) -> StoreUse:
    given = {
        "stamp": "53" + "0" * 32,
        "place": "embedded /x",
        "host": "web",
        "user": 33,
        "process": 7,
        "at": time.time(),
    }
    return StoreUse(**given | fields)  # type: ignore[arg-type]


def path_of(folder: Path, rest: str = "x") -> Path:
    return folder / f"ormcache-store-{NAME.hex()}-{rest}"


def test_a_note_is_found_by_all_users_of_the_host(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        other_stores._write(folder, NAME, use())
    finally:
        os.umask(before)
    (path,) = folder.iterdir()
    assert path.stat().st_mode & 0o777 == 0o644
    (found,) = other_stores._on_host(NAME)
    assert found == use(user=os.geteuid(), at=found.at)  # whose it is, the file system says


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff\x00",
        b"{}",
        b"7",
        b"[7]",
        b"[" * 4096,
        b"[[]]",
        b"9" * 4000,
        json.dumps([use()[:5]]).encode(),
        json.dumps([use(process=-1)]).encode(),
        json.dumps([use(process=True)]).encode(),
        json.dumps([use(process=2**64)]).encode(),
        json.dumps([use(at=float("nan"))]).encode(),
        json.dumps([use(at=float("inf"))]).encode(),
        json.dumps([use(at=1)]).encode(),
        json.dumps([use(place="a\nERROR a line of its own in the log")]).encode(),
        json.dumps([use(place="\x1b[2J")]).encode(),
        json.dumps([use(place="x" * 257)]).encode(),
        json.dumps([use(host=None)]).encode(),
        json.dumps([use()]).encode() + b" " * 4096,
    ],
)
def test_forged_notes_say_nothing(folder: Path, value: bytes) -> None:
    assert list(other_stores._decoded(value)) == []
    path_of(folder).write_bytes(value)
    assert other_stores._on_host(NAME) == []


def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(path_of(folder, "pipe"))
    path_of(folder, "folder").mkdir()
    (folder / "elsewhere").write_bytes(json.dumps([use()]).encode())
    path_of(folder, "link").symlink_to(folder / "elsewhere")
    path_of(folder, "gone").symlink_to(folder / "nothing")
    assert other_stores._on_host(NAME) == []


def test_only_so_many_are_looked_at(folder: Path) -> None:
    for number in range(100):
        path_of(folder, str(number)).write_bytes(json.dumps([use()] * 10).encode())
    assert len(other_stores._on_host(NAME)) == 320
    assert len(list(other_stores._decoded(json.dumps([["", "", "", 1, 1, 1.0]] * 100).encode()))) == 32


def test_what_is_carried_has_a_bound() -> None:
    uses = [use(place="x" * 256, process=number) for number in range(32)]
    value = other_stores._encoded(uses)
    assert len(value) <= 4096
    assert list(other_stores._decoded(value)) == uses[: len(list(other_stores._decoded(value)))] != []


def test_old_notes_of_this_user_are_taken_away(folder: Path) -> None:
    old, new, foreign = path_of(folder, "old"), path_of(folder, "new"), folder / "ormcache-0"
    for path in (old, new, foreign):
        path.write_bytes(b"")
    for path in (old, foreign):
        os.utime(path, (time.time() - 3601,) * 2)
    other_stores._sweep(folder)
    assert set(folder.iterdir()) == {new, foreign}


def test_what_counts() -> None:
    now = time.time()
    stamp = b"S" + int((now - 100) * 1e6).to_bytes(8, "big") + bytes(8)
    other = use(at=now - 50)
    assert other_stores._others(stamp, [other]) == [other]
    assert other_stores._others(stamp, [use(stamp=stamp.hex(), at=now - 50)]) == []
    assert other_stores._others(stamp, [use(at=now - 150)]) == []  # the store may have been emptied since
    assert other_stores._others(None, [use(at=now - 3700)]) == []
    assert other_stores._others(None, [use(at=now + 3700)]) == []
    assert other_stores._others(None, [other]) == [other]
