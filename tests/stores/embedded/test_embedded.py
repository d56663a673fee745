"""What only the embedded store has: files, their owner, their room, their damage."""

from __future__ import annotations

import contextlib
import mmap
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ormcache.exceptions import StoreFull, StoreUnavailable
from ormcache.stores.base import ROW_SLOT_LENGTH, decode_marks, is_stamp
from ormcache.stores.embedded import files
from ormcache.stores.embedded import store as embedded
from ormcache.stores.embedded.store import EmbeddedStore
from tests.stores.helpers import Child, Clock, Partner, name, names, row_names, stamp, writer
from tests.waiting import eventually

MIB = 2**20
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users, which takes root")


@pytest.fixture
def make(folder: Path, closed_at_end: Callable[[EmbeddedStore], EmbeddedStore]) -> Callable[..., EmbeddedStore]:
    def make(**arguments: Any) -> EmbeddedStore:
        return closed_at_end(EmbeddedStore(**{"folder": folder, "max_size": 64 * MIB} | arguments))

    return make


@pytest.fixture
def store(make: Callable[..., EmbeddedStore]) -> EmbeddedStore:
    return make()


def data_file(folder: Path, what: str) -> Path:
    (path,) = (path for path in folder.iterdir() if path.name.startswith(what) and not path.name.endswith("-lock"))
    return path


def in_new_process(function: Callable[[], Any]) -> Any:
    return Child(function).result()


# Where and whose ----------------------------------------------------------------


def test_files_are_for_their_owner_alone(store: EmbeddedStore, folder: Path) -> None:
    store.fill_slots([name()], stamp())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_the_default_folder_follows_from_the_user_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = files.default_folder()
    for variable in ("TMPDIR", "HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert files.default_folder() == before
    assert str(os.geteuid()) in before.name


def refused(store: EmbeddedStore, why: str) -> None:
    for call in (lambda: store.look_up(None, [name()]), lambda: store.mark([name()], writer(), 60)):
        with pytest.raises(StoreUnavailable, match=why):
            call()
        store._failures = 0


@needs_root
def test_refuses_a_folder_of_another_user(store: EmbeddedStore, folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    refused(store, f"{folder} belongs to user 12345")
    assert list(folder.iterdir()) == []


@needs_root
@pytest.mark.parametrize("which", ["slots", "slots-lock", "entries", "entries-lock", "guard"])
def test_refuses_a_file_of_another_user(make: Callable[..., EmbeddedStore], folder: Path, which: str) -> None:
    make().fill_slots([name()], stamp())
    what, _, lock = which.partition("-")
    path = folder / "guard" if which == "guard" else data_file(folder, what)
    path = path.with_name(path.name + ("-lock" if lock else ""))
    make().close()
    in_new_process(lambda: os.chown(path, 12345, 12345))
    before = path.read_bytes()[:100]
    in_new_process(lambda: refused(make(), "belongs to user 12345"))
    assert path.read_bytes()[:100] == before


def test_refuses_a_symbolic_link_for_a_folder(store: EmbeddedStore, folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path)
    refused(store, "symbolic link")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["slots", "entries"])
def test_refuses_a_symbolic_link_for_a_file(
    make: Callable[..., EmbeddedStore], folder: Path, tmp_path: Path, what: str
) -> None:
    store = make()
    store.fill_slots([name()], stamp())
    path = data_file(folder, what)
    store.close()
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    path.unlink()
    path.symlink_to(target)
    refused(make(), "symbolic link")
    assert target.read_bytes() == b"precious"


def test_refuses_a_symbolic_link_for_the_guard(store: EmbeddedStore, folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "guard").symlink_to(tmp_path / "elsewhere")
    refused(store, "symbolic link")
    assert not (tmp_path / "elsewhere").exists()


def test_refuses_a_folder_that_everybody_may_write_to(store: EmbeddedStore, folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    refused(store, "every user")


def test_a_folder_that_cannot_be_made_is_an_outage_not_a_crash(
    make: Callable[..., EmbeddedStore], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refused(make(folder=tmp_path / "file" / "store"), "Not a directory")


# Room ---------------------------------------------------------------------------


def used(folder: Path) -> int:
    """Bytes that the files really take."""
    return sum(path.stat().st_blocks * 512 for path in folder.iterdir() if not path.name.endswith("-lock"))


def test_old_entries_go_when_it_is_full_and_stamps_stay(make: Callable[..., EmbeddedStore], folder: Path) -> None:
    store = make(max_size=8 * MIB)
    slots, old, who = names(50), stamp(), writer()
    store.fill_slots(slots, old)
    store.mark(slots[:1], who, 600)
    first = name()
    store.put_entry(first, b"first", None)
    last = first
    kept = []
    for number in range(6000):
        last = name()
        assert store.put_entry(last, os.urandom(number * 37 % 9000), None)
        kept.append(last)
    assert used(folder) <= 8 * MIB
    assert store.look_up(first, [])[0] is None
    assert store.look_up(last, [])[0] is not None
    # What was stored last is still there, and that is a good part of the room.
    found = [store.look_up(entry, [])[0] is not None for entry in kept]
    assert all(found[-200:])
    assert not any(found[:1000])
    held = store.look_up(None, slots)[1]
    assert held[1:] == [old] * 49
    assert [other for other, _ in decode_marks(held[0])] == [who]
    store.settle(slots[:1], who, old)
    assert store.look_up(None, slots)[1] == [old] * 50


def test_claims_of_leaders_that_died_go_as_entries_do(make: Callable[..., EmbeddedStore], folder: Path) -> None:
    store = make(max_size=8 * MIB)
    first, entry, value = name(), name(), os.urandom(2000)
    assert store.claim(first, b"dead", 3600) == b"dead"
    for _ in range(4000):
        store.claim(name(), os.urandom(16), 3600)
        assert store.put_entry(entry, value, None)
        store.put_entry(name(), value, None)
    assert used(folder) <= 8 * MIB
    assert store.claim(first, b"next", 3600) == b"next"


def test_room_is_found_for_values_of_all_sizes_again_and_again(
    make: Callable[..., EmbeddedStore], folder: Path
) -> None:
    store = make(max_size=8 * MIB)
    refused_sizes = []
    for number in range(4000):
        entry, size = name(), (50, 3000, 500, 20_000, 100, 150_000, 4090)[number % 7]
        if not store.put_entry(entry, bytes(size), None):
            refused_sizes.append(size)
        else:
            assert store.look_up(entry, [])[0] == bytes(size)
        if number % 50 == 0:
            store.settle([name()], writer(), stamp())
    assert refused_sizes == []
    assert used(folder) <= 8 * MIB


def test_an_entry_that_would_push_out_most_others_is_refused(make: Callable[..., EmbeddedStore]) -> None:
    store = make(max_size=8 * MIB)
    assert store.put_entry(name(), bytes(200_000), None) is True
    assert store.put_entry(name(), bytes(2 * MIB), None) is False
    assert store.is_available


def test_processes_agree_which_entries_are_the_old_ones(make: Callable[..., EmbeddedStore]) -> None:
    store = make(max_size=8 * MIB)

    def put_many() -> None:
        for _ in range(500):
            store.put_entry(name(), os.urandom(2000), None)

    partner = Partner(put_many=put_many, put=store.put_entry, look_up=store.look_up)
    entry = name()
    for number in range(30):  # over several turns of the generations
        ours, theirs = b"ours %d" % number, b"theirs %d" % number
        assert store.put_entry(entry, ours, None)
        assert partner("look_up", entry, [])[0] == ours
        partner("put_many")
        partner("put", entry, theirs, None)
        assert store.look_up(entry, [])[0] == theirs
    partner.end()


def test_more_slots_than_there_is_room_for_are_a_new_beginning_not_a_refusal(
    make: Callable[..., EmbeddedStore],
) -> None:
    store = make(max_size=4 * MIB)
    old, first = stamp(), names(10)
    store.fill_slots(first, old)
    store.put_entry(b"entry", b"rows", None)
    lost = 0
    for _ in range(300):
        batch, who = names(100), writer()
        store.mark(batch, who, 60)
        store.settle(batch, who, old)
        held = store.look_up(None, batch)[1]
        lost += held.count(None)
        assert {value for value in held if value is not None} <= {old}
    assert store.look_up(None, first)[1] == [None] * 10  # 30,000 slots do not fit; the first are gone
    assert lost == 0  # but never those just written
    assert store.is_available


def test_no_number_of_rows_takes_room_from_relations(make: Callable[..., EmbeddedStore]) -> None:
    store = make(max_size=4 * MIB)
    relations, old, who = names(50), stamp(), writer()
    store.fill_slots(relations, old)
    store.mark(relations[:1], who, 600)
    entry = name()
    store.put_entry(entry, b"rows", None)
    opened = store._files
    for batch in [100] * 400 + [3000] * 20:  # many times as many as there are places
        rows, other, new = [os.urandom(ROW_SLOT_LENGTH) for _ in range(batch)], writer(), stamp()
        store.mark([*rows, *relations[1:2]], other, 60)
        store.settle([*rows, *relations[1:2]], other, new)
        assert store.look_up(None, rows)[1] == [new] * batch
    assert store._files is opened  # no new beginning
    assert store.look_up(entry, relations[2:]) == (b"rows", [old] * 48)
    assert [other for other, _ in decode_marks(store.look_up(None, relations)[1][0])] == [who]
    (server,) = store.describe().servers
    assert server.details["relations"] == 50
    assert int(server.details["rows"]) == MIB // files.SLOTS_FILE_PER_PLACE  # all of them


def in_one_place(store: EmbeddedStore) -> tuple[bytes, bytes]:
    """The names of two rows that share a place."""
    store.look_up(None, [])
    assert store._files is not None
    first: dict[bytes, bytes] = {}
    while True:
        row = os.urandom(ROW_SLOT_LENGTH)
        other = first.setdefault(store._files.place_of(row), row)
        if other != row:
            return row, other


def test_rows_in_one_place_are_written_together_and_marked_each_for_itself(store: EmbeddedStore) -> None:
    one, other = in_one_place(store)
    who, second, old, new = writer(), writer(), stamp(), stamp()
    assert store.fill_slots([one, other], old) == [old, old]
    store.settle([other], writer(), old)
    assert store.look_up(None, [one, other])[1] == [old, old]
    store.mark([one, other], who, 60)
    store.mark([other], second, 60)
    store.settle([one], who, stamp())
    assert {who, second} == {other for other, _ in decode_marks(store.look_up(None, [other])[1][0])}
    store.settle([other], second, stamp())
    assert [who] == [other for other, _ in decode_marks(store.look_up(None, [other])[1][0])]
    assert not is_stamp(store.look_up(None, [one])[1][0])
    store.settle([one, other], who, new)
    assert store.look_up(None, [one, other])[1] == [new, new]
    store.clear_slots([one])
    assert store.look_up(None, [one, other])[1] == [None, None]


def test_a_full_disk_empties_the_cache_but_takes_stamps(make: Callable[..., EmbeddedStore], tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", mounted], check=False).returncode
    ):
        pytest.skip("needs to mount a small file system")
    try:
        store = make(folder=mounted / "store", max_size=256 * MIB)
        slot, old = name(), stamp()
        store.fill_slots([slot], old)
        assert used(mounted / "store") <= 12 * MIB  # leaves half of the disk to others
        for _ in range(1500):
            assert store.put_entry(name(), os.urandom(5000), None)
        assert used(mounted / "store") <= 12 * MIB
        entry = name()
        store.put_entry(entry, b"rows", None)
        with (mounted / "ballast").open("wb") as ballast, pytest.raises(OSError, match="space"):
            while True:
                ballast.write(bytes(MIB))
                ballast.flush()
        cached = store.look_up(entry, [])[0]

        def put() -> bool:
            with contextlib.suppress(StoreFull):
                return store.put_entry(name(), os.urandom(5000), None)
            return False

        for _ in range(300):
            who, new = writer(), stamp()
            put()
            store.mark([slot], who, 60)
            store.settle([slot], who, new)
            assert store.look_up(None, [slot])[1] == [new]
        assert store.is_available
        assert cached == b"rows"
        (mounted / "ballast").unlink()
        eventually(put)
        assert store.is_available
        store.close()
    finally:
        subprocess.run(["umount", "--lazy", mounted], check=True)  # what has failed may not have closed its files


def test_processes_with_different_max_size_share_the_files(make: Callable[..., EmbeddedStore]) -> None:
    (row,), slot, old, entry = row_names(1), name(), stamp(), name()
    large, small = make(max_size=64 * MIB), make(max_size=8 * MIB)

    def put_many() -> None:
        for _ in range(8000):
            assert large.put_entry(name(), os.urandom(5000), None)

    partner = Partner(put_many=put_many, put=large.put_entry, look_up=large.look_up)
    small.fill_slots([slot], old)
    small.put_entry(entry, b"rows", None)
    opened = small._files
    assert partner("look_up", entry, [slot]) == (b"rows", [old])
    partner("put_many")
    partner("put", entry, b"new rows", None)
    assert small._files is opened
    assert small.look_up(entry, [slot]) == (b"new rows", [old])
    assert small.put_entry(entry, b"newest", None)
    assert partner("look_up", entry, [slot]) == (b"newest", [old])
    partner.end()
    smallest = make(max_size=4 * MIB)
    assert in_new_process(lambda: smallest.look_up(entry, [slot])) == (b"newest", [old])
    small.settle([row], writer(), new := stamp())
    assert in_new_process(lambda: smallest.look_up(None, [row])) == (None, [new])


# Boots and damage ---------------------------------------------------------------


def test_a_new_boot_begins_empty_and_clears_up(
    make: Callable[..., EmbeddedStore], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make()
    slot, entry = name(), name()
    store.fill_slots([slot], stamp())
    store.put_entry(entry, b"rows", None)
    store.close()
    before = set(folder.iterdir())
    monkeypatch.setattr(files, "boot_id", lambda: "anotherboot")
    assert store.look_up(entry, [slot]) == (None, [None])
    left = {path.name.partition("-")[0] for path in set(folder.iterdir()) & before}
    assert left == {"guard", "users"}


def test_a_boot_has_one_name() -> None:
    assert files.boot_id() == files.boot_id()
    assert files.boot_id().isalnum()
    assert len(files.boot_id()) >= 8


def spoil_truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // mmap.PAGESIZE * mmap.PAGESIZE)


def spoil_cut_header(path: Path) -> None:
    os.truncate(path, 100)


def spoil_empty(path: Path) -> None:
    os.truncate(path, 0)


def spoil_garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def spoil_zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def spoil_foreign(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + bytes(100_000))


def spoil_version(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in (0, mmap.PAGESIZE):
        struct.pack_into("=I", content, page + 20, 77)
    path.write_bytes(content)


def spoil_root(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in (0, mmap.PAGESIZE):
        struct.pack_into("=Q", content, page + 16 + 24 + 48 + 40, 2**40)
    path.write_bytes(content)


DAMAGE = (
    spoil_truncate,
    spoil_cut_header,
    spoil_empty,
    spoil_garbage,
    spoil_zeros,
    spoil_foreign,
    spoil_version,
    spoil_root,
)


@pytest.mark.parametrize("what", ["slots", "entries"])
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_an_empty_cache(
    make: Callable[..., EmbeddedStore], folder: Path, damage: Callable[[Path], None], what: str
) -> None:
    store = make()
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    for _ in range(2000):
        store.put_entry(name(), os.urandom(1000), None)
    store.put_entry(entry, b"rows", None)
    store.close()
    damage(data_file(folder, what))

    def look() -> Any:
        fresh = make()
        answer = fresh.look_up(entry, [slot])
        new, who = stamp(), writer()
        fresh.mark([slot], who, 60)
        fresh.settle([slot], who, new)
        assert fresh.put_entry(entry, b"new rows", None)
        assert fresh.look_up(entry, [slot]) == (b"new rows", [new])
        return answer

    found, (held,) = in_new_process(look)  # in a process of its own: what is tested for is a crash
    assert (found is None) if what == "entries" else (held is None)


def test_damage_that_only_shows_later_begins_anew(make: Callable[..., EmbeddedStore], folder: Path) -> None:
    """LMDB itself finds it: the pages are there, but they are not what they should be."""
    store = make()
    slots = names(3000)
    store.fill_slots(slots, stamp())
    store.close()
    path = data_file(folder, "slots")
    content = bytearray(path.read_bytes())
    # Every page but the two that begin the file says that it is of a kind that there is not.
    for page in range(2, len(content) // mmap.PAGESIZE):
        struct.pack_into("=H", content, page * mmap.PAGESIZE + 10, 0)
    path.write_bytes(content)

    def look() -> Any:
        fresh, new = make(), stamp()
        fresh.settle(slots[:1], writer(), new)
        return fresh.look_up(None, slots[:2])[1] == [new, None]

    assert in_new_process(look)


@pytest.mark.parametrize("deletion", ["data", "all", "folder", "moved"])
def test_all_processes_leave_files_that_were_deleted(
    make: Callable[..., EmbeddedStore], folder: Path, deletion: str
) -> None:
    """One process goes on with a store whose files somebody deletes, another begins after that."""
    first, second = make(), make()
    slot, entry, old, new = name(), name(), stamp(), stamp()

    def write() -> float:
        who = writer()
        second.mark([slot], who, 60)
        second.settle([slot], who, new)
        return time.monotonic()

    partner = Partner(write=write)
    first.fill_slots([slot], old)
    first.put_entry(entry, b"rows", None)
    assert first.look_up(entry, [slot]) == (b"rows", [old])
    stop = threading.Event()
    seen = []

    def read() -> None:
        while not stop.is_set():
            began = time.monotonic()
            seen.append((began, first.look_up(entry, [slot])[1]))

    reader = threading.Thread(target=read)
    reader.start()
    eventually(lambda: len(seen) > 10)
    if deletion == "folder":
        shutil.rmtree(folder)
    elif deletion == "moved":
        folder.rename(folder.with_name("moved"))
    else:
        for path in folder.iterdir():
            if deletion == "all" or not path.name.endswith(("-lock", "guard")):
                path.unlink()
    written = partner("write")
    eventually(lambda: seen[-1][0] > written)
    stop.set()
    reader.join()
    # No look-up that began after the write sees the stamp from before it.
    assert [held for began, held in seen if began > written and held != [new]] == []
    assert first.look_up(entry, [slot])[1] == [new]
    assert first.is_available
    partner.end()


def test_a_file_that_is_cut_while_open_is_left(store: EmbeddedStore, folder: Path) -> None:
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    store.look_up(None, [slot])
    assert store._files is not None
    os.truncate(data_file(folder, "entries"), 5 * mmap.PAGESIZE)
    store._files.next_check = 0
    before = store._files
    assert store.look_up(name(), [slot]) == (None, [old])
    assert store._files is not before
    assert store.put_entry(b"entry", b"rows", None)


@pytest.mark.parametrize("moved", [True, False], ids=["moved over it", "made after it was deleted"])
def test_a_copy_that_is_put_back_is_an_empty_cache(
    make: Callable[..., EmbeddedStore], folder: Path, tmp_path: Path, moved: bool
) -> None:
    store = make()
    slot, entry, old = name(), name(), stamp()
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows", None)
    path = data_file(folder, "slots")
    shutil.copy2(path, tmp_path / "copy")
    store.settle([slot], writer(), stamp())
    store.close()
    if moved:
        shutil.copy2(tmp_path / "copy", folder / "new")
        (folder / "new").replace(path)
    else:
        path.unlink()
        shutil.copy2(tmp_path / "copy", path)
    again = make()
    assert again.look_up(entry, [slot])[1] == [None]
    assert again.fill_slots([slot], old) == [old]
    again.close()
    assert make().look_up(None, [slot])[1] == [old]


def test_a_copy_that_is_written_over_the_open_file_is_noticed(make: Callable[..., EmbeddedStore], folder: Path) -> None:
    store = make()
    slot, old, new = name(), stamp(), stamp()
    store.fill_slots([slot], old)
    path = data_file(folder, "slots")
    content = path.read_bytes()
    for _ in range(2):  # LMDB looks by turns at two places for what is the newest
        store.settle([slot], writer(), new)
    assert store._files is not None
    store._files.next_check = 0
    assert store.look_up(None, [slot])[1] == [new]
    with path.open("r+b") as file:
        file.write(content)
    store._files.next_check = 0
    assert store.look_up(None, [slot])[1] == [None]


# Processes ----------------------------------------------------------------------


def test_many_processes_open_at_once(make: Callable[..., EmbeddedStore]) -> None:
    slot = name()
    start = time.monotonic() + 0.3

    def open_and_fill() -> bytes | None:
        while time.monotonic() < start:
            time.sleep(0.001)
        return make().fill_slots([slot], stamp())[0]

    answers = {child.result() for child in [Child(open_and_fill) for _ in range(24)]}
    assert len(answers) == 1
    assert is_stamp(answers.pop())


def test_many_processes_find_the_damage_at_once(make: Callable[..., EmbeddedStore], folder: Path) -> None:
    store = make()
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    store.close()
    spoil_truncate(data_file(folder, "slots"))
    start = time.monotonic() + 0.3

    def open_and_fill() -> bytes | None:
        while time.monotonic() < start:
            time.sleep(0.001)
        return make().fill_slots([slot], stamp())[0]

    answers = {child.result() for child in [Child(open_and_fill) for _ in range(16)]}
    assert len(answers) == 1
    assert old not in answers


def test_readers_that_were_killed_do_not_use_up_the_places(
    make: Callable[..., EmbeddedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_READERS", 8)
    store = make()
    store.look_up(None, [name()])
    store.close()

    def read_and_die() -> None:
        fresh = make()
        fresh.look_up(None, [name()])
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(20):
        Child(read_and_die).killed()
    assert make().look_up(None, [name()]) == (None, [None])


def test_readers_that_are_killed_while_it_is_open_make_room(
    make: Callable[..., EmbeddedStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_READERS", 8)
    store, other = make(), make()
    held = []

    def take_all_places() -> int:
        other.look_up(None, [name()])
        assert other._files is not None
        with contextlib.suppress(lmdb.ReadersFullError):
            while True:
                held.append(other._files.slots.begin())
        return len(held)

    partner = Partner(take=take_all_places)
    slot, old = name(), stamp()
    store.fill_slots([slot], old)  # open, but it has read nothing yet
    assert partner("take") >= 8
    partner.kill()
    assert store.look_up(name(), [slot]) == (None, [old])
    assert store.is_available


def test_a_reader_that_was_killed_while_it_read_does_not_fill_the_file(make: Callable[..., EmbeddedStore]) -> None:
    """Its snapshot keeps every page that is freed from then on."""
    store, other = make(max_size=4 * MIB), make(max_size=4 * MIB)
    held = []

    def read() -> None:
        other.look_up(None, [name()])
        assert other._files is not None
        held.append(other._files.slots.begin())

    partner = Partner(read=read)
    slots, old = names(10), stamp()
    store.fill_slots(slots, old)
    partner("read")
    partner.kill()
    for _ in range(3000):
        store.settle(slots[:1], writer(), stamp())
    assert store.look_up(None, slots)[1][1:] == [old] * 9  # no new beginning


def test_nor_does_one_that_was_held_up(make: Callable[..., EmbeddedStore], monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = make(max_size=4 * MIB), make(max_size=4 * MIB)
    held = []

    def read() -> None:
        other.look_up(None, [name()])
        assert other._files is not None
        held.append(other._files.slots.begin())

    partner = Partner(read=read, go_on=lambda: held.pop().abort())
    slots, old = names(10), stamp()
    store.fill_slots(slots, old)
    sleep, pauses = time.sleep, []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            partner("go_on")
        sleep(seconds)

    monkeypatch.setattr(embedded.time, "sleep", pause)
    partner("read")
    for _ in range(3000):
        store.settle(slots[:1], writer(), stamp())
    assert len(pauses) == 3
    assert store.look_up(None, slots)[1][1:] == [old] * 9  # no new beginning
    partner.end()


def test_a_writer_killed_in_the_middle_leaves_the_files_whole(make: Callable[..., EmbeddedStore]) -> None:
    store = make()
    slot, old = name(), stamp()
    store.fill_slots([slot], old)

    def die_in_a_transaction() -> None:
        fresh = make()
        fresh.look_up(None, [slot])
        assert fresh._files is not None
        txn = fresh._files.slots.begin(write=True)
        txn.put(slot, b"never committed")
        os.kill(os.getpid(), signal.SIGKILL)

    for _ in range(3):
        Child(die_in_a_transaction).killed()
        who, new = writer(), stamp()
        assert store.look_up(None, [slot])[1] == [old]
        store.mark([slot], who, 60)
        store.settle([slot], who, new)
        assert store.look_up(None, [slot])[1] == [new]
        old = new


def test_a_fork_unknown_to_python(make: Callable[..., EmbeddedStore], tmp_path: Path) -> None:
    """uWSGI forks in C, and tells Python only with py-call-osafterfork."""
    program = f"""
import ctypes, os, sys, time
from pathlib import Path
import django.conf
django.conf.settings.configure()
from ormcache.stores.embedded.store import EmbeddedStore
store = EmbeddedStore(Path({str(tmp_path / "store")!r}), {8 * MIB})
old, new = b"S" * 17, b"S" + b"n" * 16
store.fill_slots([b"slot"], old)
parents = store._files
pid = ctypes.PyDLL(None).fork()  # keeps the GIL and runs no hook
if pid == 0:
    time.sleep(0.06)  # the process id is looked at with the files
    held = store.look_up(None, [b"slot"])[1]
    store.settle([b"slot"], b"writer12", new)
    os._exit(0 if held == [old] and store._files is not parents else 1)
_, status = os.waitpid(pid, 0)
assert status == 0, status
assert store.look_up(None, [b"slot"])[1] == [new]
print("well")
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.stdout == "well\n", answer.stderr


def test_children_do_not_use_what_their_parent_has_open(store: EmbeddedStore) -> None:
    store.look_up(None, [name()])
    before = store._files
    assert before is not None

    def child() -> bool:
        return store._files is None

    assert in_new_process(child)
    with pytest.raises(lmdb.Error):
        before.slots.begin()


def test_threads_go_on_while_it_is_closed_again_and_again(store: EmbeddedStore) -> None:
    problems: list[Any] = []
    stop = threading.Event()

    def work() -> None:
        slot = name()  # one for all: as many as fit in the time would fill the file
        try:
            while not stop.is_set():
                who, new = writer(), stamp()
                store.mark([slot], who, 60)
                assert who in (store.look_up(None, [slot])[1][0] or b"")
                store.settle([slot], who, new)
                assert store.look_up(None, [slot])[1] == [new]
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        store.close()
        time.sleep(0.002)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []


# Times --------------------------------------------------------------------------


def test_leases_and_timeouts_are_exact(store: EmbeddedStore) -> None:
    lasted: list[float] = []
    while not lasted or (min(lasted) >= 0.6 and len(lasted) < 20):  # a busy machine may stop this process meanwhile
        slot, entry = name(), name()
        began = time.monotonic()
        store.mark([slot], writer(), 0.3)
        store.put_entry(entry, b"rows", 0.3)
        assert store.look_up(entry, [slot])[0] == b"rows" or time.monotonic() - began > 0.3
        eventually(lambda: store.look_up(entry, [slot]) == (None, [None]))  # noqa: B023
        lasted.append(time.monotonic() - began)
    assert 0.3 <= min(lasted) < 0.6


def test_an_open_guard_is_not_waited_for_for_ever(
    make: Callable[..., EmbeddedStore], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.1)
    clock = Clock()
    store = make(clock=clock)
    folder.mkdir(mode=0o700)
    with files._guard(folder) as guard:
        files._lock(guard)
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="does not release"):
            store.look_up(None, [])
        assert time.monotonic() - began < 1
    clock.advance(60)
    assert store.look_up(None, [name()])[1] == [None]


def test_rubbish_among_the_entries_is_no_error(store: EmbeddedStore) -> None:
    store.put_entry(b"entry", b"rows", None)
    assert store._files is not None
    with store._files.entries.begin(write=True) as txn:
        for generation in store._files.generations:
            txn.put(b"entry", b"\x01", db=generation)
        txn.put(embedded.NEWER, b"rubbish")
    value = store.look_up(b"entry", [])[0]
    assert value in (None, b"")
    assert store.put_entry(b"entry", b"rows", None)
    assert store.look_up(b"entry", [])[0] == b"rows"
