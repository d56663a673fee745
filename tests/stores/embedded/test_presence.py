"""Processes of two PID namespaces never have the files of the embedded store open together, and none goes on alone."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ormcache.exceptions import StoreUnavailable
from ormcache.stores.embedded import presence as module
from ormcache.stores.embedded.presence import NamespaceLock, pid_namespace
from ormcache.stores.embedded.store import EmbeddedStore
from tests.stores.helpers import Child, Partner, name, stamp, writer
from tests.waiting import eventually

MIB = 2**20
CLONE_NEWPID = 0x20000000


@pytest.fixture
def make(folder: Path, closed_at_end: Callable[[EmbeddedStore], EmbeddedStore]) -> Callable[[], EmbeddedStore]:
    return lambda: closed_at_end(EmbeddedStore(folder, 8 * MIB))


def elsewhere(**functions: Callable[..., Any]) -> Partner:
    """A process that takes itself for one of another namespace."""

    def move() -> None:
        module.pid_namespace = lambda: "another"  # type: ignore[assignment]  # in that process alone

    partner = Partner(move=move, **functions)
    partner("move")
    return partner


def refused(store: EmbeddedStore) -> bool:
    store.retry_now()
    with pytest.raises(StoreUnavailable, match="PID namespace"):
        store.look_up(None, [name()])
    return True


def serves(store: EmbeddedStore) -> bool:
    store.retry_now()
    try:
        store.look_up(None, [name()])
    except StoreUnavailable:
        return False
    return True


def test_both_sides_are_refused_and_begin_anew_when_one_is_gone(make: Callable[[], EmbeddedStore]) -> None:
    store, other = make(), make()
    slot, entry, old = name(), name(), stamp()
    partner = elsewhere(refused=lambda: refused(other), serves=lambda: serves(other))
    store.fill_slots([slot], old)
    store.put_entry(entry, b"rows", None)
    assert store.look_up(entry, [slot]) == (b"rows", [old])

    partner("refused")  # by now nobody uses the files any more
    with pytest.raises(StoreUnavailable, match="PID namespace"):
        store.look_up(entry, [slot])
    refused(store)
    partner("refused")

    partner.kill()
    assert serves(store)
    # What the other one has written was told to nobody.
    assert store.look_up(entry, [slot]) == (None, [None])
    assert store.fill_slots([slot], old) == [old]


def test_who_came_second_goes_on_when_the_first_one_is_gone(make: Callable[[], EmbeddedStore]) -> None:
    store, other = make(), make()
    partner = elsewhere(fill=lambda slot: other.fill_slots([slot], stamp()), close=other.close)
    slot = name()
    partner("fill", slot)
    refused(store)
    partner("close")
    assert serves(store)
    assert store.look_up(None, [slot])[1] == [None]
    partner.end()


def test_processes_of_one_namespace_share_it(make: Callable[[], EmbeddedStore], folder: Path) -> None:
    store, other = make(), make()
    partner = Partner(look_up=other.look_up)
    slot, old = name(), stamp()
    store.fill_slots([slot], old)
    assert partner("look_up", None, [slot])[1] == [old]
    assert len([path for path in folder.iterdir() if path.name.startswith("users-")]) == 1
    partner.end()


def test_a_process_that_reads_leaves_before_another_namespace_writes(make: Callable[[], EmbeddedStore]) -> None:
    """The second one is held up until the first has noticed, however that one is occupied."""
    store, other = make(), make()
    slot, old = name(), stamp()
    partner = elsewhere(refused=lambda: refused(other))
    store.fill_slots([slot], old)
    seen = []

    def read() -> bool:
        try:
            seen.append(store.look_up(None, [slot])[1])
        except StoreUnavailable:
            return True
        return False

    partner._asking.send(("refused", ()))
    eventually(read)
    assert partner._asking.recv() == (True, True)
    assert read()
    partner.end()


def test_what_the_dead_have_left_is_cleared_up(make: Callable[[], EmbeddedStore], folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / "users-gone").write_text("")
    store = make()
    assert serves(store)
    assert not (folder / "users-gone").exists()


def test_a_forked_child_that_moves_counts_for_its_own_namespace(folder: Path) -> None:
    folder.mkdir()
    presence = NamespaceLock(folder)
    presence.acquire()
    assert presence.is_alone()

    def move() -> bool:
        module.pid_namespace = lambda: "another"  # type: ignore[assignment]  # in that process alone
        presence.acquire()
        return presence.is_alone()

    assert Child(move).result() is False
    presence.release()


def test_a_link_in_its_place_is_not_followed(make: Callable[[], EmbeddedStore], folder: Path, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / f"users-{pid_namespace()}").symlink_to(tmp_path / "target")
    assert not serves(make())
    assert not (tmp_path / "target").exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="makes a PID namespace, which takes root")
def test_real_namespaces(make: Callable[[], EmbeddedStore]) -> None:
    store, other = make(), make()
    before = pid_namespace()

    def isolated() -> Any:
        if ctypes.CDLL(None).unshare(CLONE_NEWPID):
            pytest.skip("this machine makes no PID namespaces")
        # The next child is in it, and number 1 there.
        return Child(lambda: (os.getpid(), pid_namespace(), refused(other))).result()

    store.fill_slots([name()], stamp())
    number, there, was_refused = Child(isolated).result()
    assert (number, was_refused) == (1, True)
    assert there != before
    assert serves(store)


def test_marks_of_before_are_gone_as_well(make: Callable[[], EmbeddedStore]) -> None:
    store, other = make(), make()
    slot, who = name(), writer()
    partner = elsewhere(refused=lambda: refused(other))
    store.mark([slot], who, 600)
    partner("refused")
    partner.kill()
    store.retry_now()
    assert store.look_up(None, [slot])[1] == [None]


def test_a_folder_that_was_moved_away_is_no_presence_in_the_next_one(folder: Path) -> None:
    folder.mkdir()
    presence = NamespaceLock(folder)
    presence.acquire()
    folder.rename(folder.with_name("moved"))
    folder.mkdir()
    presence.acquire()
    assert [path.name for path in folder.iterdir()] == [f"users-{pid_namespace()}"]
    presence.release()


def test_a_system_that_does_not_say_in_which_namespace_a_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: str) -> None:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patching:  # which pytest itself does not outlive
        patching.setattr(os, "stat", fail)
        patching.setattr(sys, "platform", "linux")
        with pytest.raises(StoreUnavailable, match="PID namespace"):
            pid_namespace()
        patching.setattr(sys, "platform", "darwin")  # it has none
        assert pid_namespace() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user, which takes root")
def test_a_lock_of_another_users_is_not_taken(folder: Path) -> None:
    folder.mkdir()
    path = folder / f"users-{pid_namespace()}"
    path.touch()
    os.chown(path, 65534, 65534)
    presence = NamespaceLock(folder)
    descriptors = os.listdir("/dev/fd")
    with pytest.raises(StoreUnavailable, match="belongs to user 65534"):
        presence.acquire()
    assert os.listdir("/dev/fd") == descriptors


def test_a_lock_that_goes_meanwhile_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    presence = NamespaceLock(folder)
    presence.acquire()
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([path / "users-gone"]))
    assert presence.is_alone()
    presence.release()
