"""What waits to be purged, and its delivery."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest

from ormcache.purge_settings import PurgerSettings
from ormcache.purging import queue as queue_module
from ormcache.purging.queue import EVERYTHING, PurgeQueue
from tests.waiting import eventually


class Proxy:
    """A reverse proxy that takes notes, may be away, and may take its time."""

    header, separator = "xkey", " "

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.attempts = 0
        self.away = False
        self.may_answer = threading.Event()
        self.may_answer.set()

    def purge(self, tags: Sequence[str]) -> None:
        self.attempts += 1
        self.may_answer.wait(20)
        if self.away:
            raise ConnectionRefusedError("away")
        self.calls.append(sorted(tags))


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    found = Proxy()
    yield found
    found.may_answer.set()
    found.away = False


@pytest.fixture
def make(proxy: Proxy) -> Iterator[Callable[..., PurgeQueue]]:
    made = []

    def make(repeat_after: float = 0) -> PurgeQueue:
        found = PurgeQueue(PurgerSettings("varnish", repeat_after=repeat_after), lambda settings: proxy)
        made.append(found)
        return found

    yield make
    proxy.away = False
    proxy.may_answer.set()
    for one in made:
        one.flush(20)


def test_tags_of_writes_that_follow_each_other_are_delivered_together(make, proxy, monkeypatch) -> None:
    monkeypatch.setattr(queue_module, "BATCH", 3600.0)
    queue = make()
    queue.add(["a", "b"])
    queue.add(["b", "c"])

    assert queue.flush(20)  # which does not wait for more

    assert proxy.calls == [["a", "b", "c"]]
    assert (queue.purges, queue.failures, queue.waiting) == (1, 0, 0)


def test_writes_that_go_on_do_not_put_a_purge_off(make, monkeypatch) -> None:
    """It is sent 20 ms after the first of them: far less than a tenth of a second after the write."""
    now = [0.0]

    def wait_a_moment(seconds: float) -> bool:
        now[0] += min(seconds, 0.003)
        assert now[0] < 1.0
        return True  # another write came

    queue = make()
    with monkeypatch.context() as patched:
        patched.setattr(queue_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        patched.setattr(queue, "_changed", SimpleNamespace(wait=wait_a_moment))
        queue._wait_for_more(threading.current_thread(), failures=0)

    assert now[0] == pytest.approx(queue_module.BATCH)
    assert queue_module.BATCH < 0.1


def test_the_thread_ends_when_nothing_waits(make, proxy) -> None:
    queue = make()
    queue.add(["a"])

    eventually(lambda: proxy.calls and queue._thread is None)
    queue.add(["b"])

    eventually(lambda: proxy.calls == [["a"], ["b"]])


def test_what_fails_is_retried_until_it_succeeds_with_what_came_meanwhile(make, proxy, caplog) -> None:
    proxy.away = True
    queue = make()
    queue.add(["a"])
    eventually(lambda: queue.failures >= 2)
    queue.add(["b"])
    assert queue.waiting >= 1
    proxy.away = False

    eventually(lambda: proxy.calls == [["a", "b"]])
    assert queue.waiting == 0
    assert [record.getMessage() for record in caplog.records] == ["varnish cannot be purged, and is retried: away"]


def test_a_write_during_a_delivery_has_one_of_its_own(make, proxy) -> None:
    """Its page may have been fetched since the CDN has looked."""
    proxy.may_answer.clear()
    queue = make()
    queue.add(["a"])
    eventually(lambda: proxy.attempts == 1)
    queue.add(["a"])
    proxy.may_answer.set()

    eventually(lambda: proxy.calls == [["a"], ["a"]])


def test_tags_are_repeated_once(make, proxy) -> None:
    queue = make(repeat_after=0.01)
    queue.add(["a"])

    eventually(lambda: proxy.calls == [["a"], ["a"]] and queue._thread is None)


def test_a_repetition_that_fails_is_retried(make, proxy, monkeypatch) -> None:
    queue = make(repeat_after=3600.0)
    queue.add(["a"])
    eventually(lambda: proxy.calls == [["a"]])
    proxy.away = True
    with queue._changed:
        queue._repeats = {"a": 0.0}
        queue._changed.notify_all()
    eventually(lambda: queue.failures)
    proxy.away = False

    eventually(lambda: proxy.calls == [["a"], ["a"]])
    with queue._changed:
        queue._repeats.clear()
        queue._changed.notify_all()


def test_too_many_tags_become_everything(make, proxy, monkeypatch) -> None:
    monkeypatch.setattr(queue_module, "MOST_TAGS", 10)
    proxy.away = True
    queue = make(repeat_after=0.01)
    for number in range(100):
        queue.add([f"tag{number}"])
        assert queue.waiting <= 10
    proxy.away = False

    eventually(lambda: proxy.calls)
    assert EVERYTHING in proxy.calls[0]
    assert len(proxy.calls[0]) <= 10


def test_repetitions_have_a_bound(make, proxy, monkeypatch) -> None:
    monkeypatch.setattr(queue_module, "MOST_TAGS", 10)
    queue = make(repeat_after=3600.0)
    for number in range(4):
        queue.add([f"tag{number}.{each}" for each in range(6)])
        eventually(lambda number=number: len(proxy.calls) == number + 1)
        eventually(lambda: not queue._delivering)
        assert len(queue._repeats) <= 10
    assert EVERYTHING in queue._repeats
    with queue._changed:
        queue._repeats.clear()
        queue._changed.notify_all()


def test_a_purger_that_cannot_be_made_counts_as_failing(caplog) -> None:
    queue = PurgeQueue(PurgerSettings("no.such.Purger", repeat_after=0))
    queue.add(["a"])

    eventually(lambda: "no.such.Purger cannot be purged" in caplog.text)
    assert queue.failures
    queue.forget()


def test_the_end_waits_no_longer_than_it_may(make, proxy) -> None:
    proxy.away = True
    queue = make()
    queue.add(["a"])

    assert not queue.flush(0.05)
    assert queue.waiting == 1


@pytest.mark.parametrize(
    "options, run",
    [({}, False), ({"enable-threads": True}, True), ({b"threads": b"2"}, True), ({"master": True}, False)],
)
def test_under_uwsgi_without_threads_who_writes_delivers(make, proxy, monkeypatch, options, run) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=options))
    assert queue_module.threads_run() is run
    if run:
        return
    queue = make()
    proxy.away = True
    queue.add(["a"])
    assert queue._thread is None
    proxy.away = False
    queue.add(["b"])

    assert proxy.calls == [["a", "b"]]
    proxy.away = True
    queue.add(["c"])
    proxy.away = False
    assert queue.flush(20)
    assert proxy.calls == [["a", "b"], ["c"]]


def test_where_no_thread_can_be_started_who_writes_delivers(make, proxy, monkeypatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    queue = make()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        queue.add(["a"])

    assert proxy.calls == [["a"]]


def test_what_comes_from_outside_is_not_swallowed_and_loses_nothing(make, proxy, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt={}))
    queue = make()

    def purge(tags: Sequence[str]) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(proxy, "purge", purge)
        with pytest.raises(MemoryError):
            queue.add(["a"])

    queue.add(["b"])
    assert proxy.calls == [["a", "b"]]


PROGRAM = """
import os, sys
sys.path.insert(0, {root!r})
from ormcache.purge_settings import PurgerSettings
from ormcache.purging.queue import PurgeQueue

class Printed:
    def purge(self, tags):
        os.write(1, f"{{who}} {{' '.join(tags)}}\\n".encode())

who = "parent"
queue = PurgeQueue(PurgerSettings("varnish", repeat_after={repeat_after}), lambda settings: Printed())
queue.add(["a"])
{rest}
"""


def run(rest: str = "", repeat_after: float = 0) -> list[str]:
    root = str(queue_module.__file__).rpartition("/ormcache/")[0]
    program = PROGRAM.format(root=root, rest=rest, repeat_after=repeat_after)
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_what_waits_is_delivered_at_an_orderly_end() -> None:
    assert run() == ["parent a"]
    assert run(repeat_after=0.1) == ["parent a", "parent a"]


def test_after_a_fork_the_parent_goes_on() -> None:
    """Its thread ends before the fork. What it waits for then is delivered without another write."""
    found = run(
        """
import time
while queue._tags or queue._delivering or not queue._repeats:
    time.sleep(0.001)
child = os.fork()
if child == 0:
    os._exit(0)
os.waitpid(child, 0)
while queue._thread is not None:
    time.sleep(0.001)
os.write(1, b"nothing waits\\n")
assert not queue._repeats
""",
        repeat_after=0.2,
    )

    assert found == ["parent a", "parent a", "nothing waits"]


def test_a_forked_child_delivers_what_it_writes_and_nothing_else() -> None:
    found = run(
        """
child = os.fork()
if child == 0:
    who = "child"
    queue.add(["b"])
    sys.exit()
os.waitpid(child, 0)
queue.add(["c"])
"""
    )

    assert [line for line in found if line.startswith("child")] == ["child b"]
    assert " ".join(line for line in found if line.startswith("parent")).split() in (
        ["parent", "a", "parent", "c"],
        ["parent", "a", "c"],
    )
