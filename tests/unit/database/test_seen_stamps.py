"""Which stamps were seen before a moment."""

from __future__ import annotations

import os

from ormcache.cache.stamps import new_stamp
from ormcache.database.seen_stamps import MOST_SLOTS, MOST_USED, MOST_VECTORS, SeenStamps, tick


def test_only_what_was_seen_before_counts() -> None:
    seen_stamps, first, second = SeenStamps(), new_stamp(), new_stamp()
    seen_stamps.record([b"a"], first)
    moment = tick()
    seen_stamps.record([b"b"], second)

    assert seen_stamps.held_before([b"a"], first, moment)
    assert not seen_stamps.held_before([b"b"], second, moment)
    assert not seen_stamps.held_before([b"a", b"b"], first + second, moment)
    assert not seen_stamps.held_before([b"c"], first, moment)  # seen, but elsewhere
    later = tick()
    assert seen_stamps.held_before([b"a", b"b"], first + second, later)


def test_a_new_stamp_is_not_the_old_one() -> None:
    seen_stamps, old, new = SeenStamps(), new_stamp(), new_stamp()
    seen_stamps.record([b"a"], old)
    moment = tick()
    assert not seen_stamps.held_before([b"a"], new, moment)
    assert seen_stamps.held_before([b"a"], new, tick())  # it was noted by being asked for


def test_what_is_noted_late_is_noted_again() -> None:
    """A thread that looked up before a write, and goes on after it."""
    seen_stamps, old, new = SeenStamps(), new_stamp(), new_stamp()
    seen_stamps.record([b"a"], new)
    seen_stamps.record([b"a"], old)
    assert not seen_stamps.held_before([b"a"], new, tick())
    assert seen_stamps.held_before([b"a"], new, tick())


def test_what_is_seen_again_stays_as_old_as_it_is() -> None:
    seen_stamps, stamp, other = SeenStamps(), new_stamp(), new_stamp()
    seen_stamps.record([b"a"], stamp)
    moment = tick()
    seen_stamps.record([b"a", b"b"], stamp + other)
    assert seen_stamps.held_before([b"a"], stamp, moment)


def test_it_stays_small() -> None:
    seen_stamps = SeenStamps()
    for _ in range(2 * MOST_SLOTS):
        slot = os.urandom(16)
        seen_stamps.record([slot], new_stamp())
        seen_stamps.record_use([slot])
    assert len(seen_stamps._seen) <= MOST_SLOTS
    assert len(seen_stamps._vectors) <= MOST_VECTORS
    assert len(seen_stamps.slots_before_snapshot([b"a"])) <= MOST_USED + 1
    assert seen_stamps.slots_before_snapshot([b"a"])[0] == b"a"
