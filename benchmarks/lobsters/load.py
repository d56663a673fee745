"""The experiment: the same requests for every candidate, by several processes at once.

Requests a second, CPU of a request, and how many of plain Django's SELECTs a candidate did not need. Whether a page
shows less than was committed before it was begun is seen by :class:`~benchmarks.lobsters.witness.Witness`; at the end
plain Django, on the same database, is asked for pages that each process has shown as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, closing
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.candidates import CANDIDATES, REFERENCE, Candidate
from benchmarks.lobsters.traffic import Request, Site, Traffic, name_of, token_of
from benchmarks.lobsters.witness import COMMENTS, NEWEST, VOTES, Witness, make_board
from benchmarks.suite import Suite, explain
from benchmarks.worker import Worker, WorkerError, environment_for

if TYPE_CHECKING:
    from benchmarks.lobsters.models import Story

APP = "benchmarks.lobsters"
TEMPLATE = "benchmark_lobsters"
NOT_HERE = ("by-hand",)  # nothing invalidates its entries: on pages that write it could only be wrong
COMPARED = ("story", "front", "recent", "comments", "user")  # pages, at the end
SHOWN = 10  # of each kind, by the requests of another round
WARM_UP = "warm-up"
OVERTAKEN = 0.5  # seconds between which two processes that note a visit of the same user may do so in the other order


def run(suite: Suite) -> dict[str, Any]:
    """What there was, and candidate → rounds, and pages that were wrong at the end."""
    size = suite.size
    suite.say(f"the rows of lobste.rs at scale {size.lobsters_scale:g}")
    plain = next(one for one in CANDIDATES if one.name == REFERENCE)
    suite.bench.make_database(TEMPLATE)
    with _process(suite, plain, TEMPLATE) as loader:
        rows = loader.call("benchmarks.lobsters.rows.create", scale=size.lobsters_scale)
    with ExitStack() as stack:
        teams: dict[str, list[Worker]] = {}

        def one_round(candidate: Candidate, name: str) -> dict[str, Any]:
            if candidate.name not in teams:
                suite.bench.make_database(_database(candidate), TEMPLATE)
                stories = Site(size.lobsters_scale).stories
                make_board(_board(suite, candidate), stories=stories, processes=size.lobsters_processes)
                teams[candidate.name] = [
                    stack.enter_context(_process(suite, candidate, _database(candidate)))
                    for _ in range(size.lobsters_processes)
                ]
            return _slice(suite, candidate, teams[candidate.name], name)

        broken: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for name in (WARM_UP, *(f"round {number}" for number in range(size.lobsters_rounds))):
            suite.say(f"the requests of lobste.rs, {name}")
            answers = suite.by_turns(
                1,
                lambda candidate, name=name: one_round(candidate, name),
                leave_out=lambda one: one.name in NOT_HERE or one.name in broken,
            )
            for each, answer in answers.items():
                if "failed" in answer:
                    broken[each] = answer
                elif name != WARM_UP:
                    results.setdefault(each, {"rounds": []})["rounds"] += answer["rounds"]
        results |= broken
        for candidate in suite.candidates:
            if candidate.name in results and candidate.name not in broken:
                suite.say(f"the pages of {candidate.title} beside the database")
                results[candidate.name] |= _compare(suite, candidate, plain, teams[candidate.name])
    circumstances = {"scale": size.lobsters_scale, "processes": size.lobsters_processes, "rows": rows}
    return circumstances | {"results": results, "floor": _floor(suite, plain)}


def _database(candidate: Candidate) -> str:
    return f"{TEMPLATE}_{candidate.name.replace('-', '_')}"


def _board(suite: Suite, candidate: Candidate) -> Path:
    return suite.bench.places.folder / f"lobsters-{candidate.name}"


def _process(suite: Suite, candidate: Candidate, database: str) -> closing[Worker]:
    """A process of a candidate on a database of this experiment."""
    settings = candidate.settings(suite.bench.places)
    settings["DATABASES"]["default"]["NAME"] = database
    settings["INSTALLED_APPS"].append(APP)
    return closing(Worker(environment_for(settings)))


def _slice(suite: Suite, candidate: Candidate, team: list[Worker], name: str) -> dict[str, Any]:
    meter = suite.meter(candidate)
    before = meter.read()
    for number, worker in enumerate(team):
        worker.begin(
            "benchmarks.lobsters.load.work",
            number=number,
            processes=len(team),
            scale=suite.size.lobsters_scale,
            requests=suite.size.lobsters_requests,
            name=name,
            board=str(_board(suite, candidate)),
            lag=candidate.lag,
        )
    try:
        answers = [worker.finish() for worker in team]
    except WorkerError:
        for worker in team:
            worker.close()  # it has no more rounds, and must not go on working
        raise
    summed = {key: sum(answer[key] for answer in answers) for key in answers[0]}
    return summed | {"wall": max(answer["wall"] for answer in answers)} | meter.since(before)


def _floor(suite: Suite, plain: Candidate) -> dict[str, float]:
    """What a request takes with rows that are there already, beside what it takes with the database."""
    suite.say("the requests of lobste.rs with rows that are there already")
    database = f"{TEMPLATE}_floor"
    suite.bench.make_database(database, TEMPLATE)
    with _process(suite, plain, database) as worker:
        found: dict[str, float] = worker.call(
            "benchmarks.lobsters.floor.measure",
            scale=suite.size.lobsters_scale,
            requests=suite.size.lobsters_requests,
            board=str(suite.bench.places.folder / "lobsters-floor"),
        )
    return found


def _compare(suite: Suite, candidate: Candidate, plain: Candidate, team: list[Worker]) -> dict[str, Any]:
    """Pages that a process shows otherwise than plain Django on the same database, now that nothing writes."""
    time.sleep(candidate.lag)
    with _process(suite, plain, _database(candidate)) as judge:
        asked = [judge, *team]
        try:
            for worker in asked:
                worker.begin("benchmarks.lobsters.load.shown", scale=suite.size.lobsters_scale)
            right, *others = [worker.finish() for worker in asked]
        except WorkerError as error:
            return {"rounds": [], "failed": explain(error)}
    wrong = sorted({page for pages in others for page in right if pages[page] != right[page]})
    return {"compared": len(right), "wrong": wrong}


# In the worker --------------------------------------------------------------------------


@cache
def traffic_of(scale: float) -> Traffic:
    return Traffic(Site(scale))


def work(
    number: int, processes: int, scale: float, requests: int, name: str, board: str, lag: float
) -> dict[str, float]:
    """Answer so many requests."""
    from benchmarks.tasks import counted

    asked = list(traffic_of(scale).requests(requests, f"{name}, {number}"))
    with Witness(Path(board), stories=Site(scale).stories, processes=processes, number=number, lag=lag) as witness:
        visits = Visits(witness, f"{name.replace(' ', '')}-{number}")
        with counted() as statements:
            began, cpu = time.perf_counter(), time.process_time()
            for request in asked:
                visits.answer(request)
            wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    done = {"wall": wall, "application": cpu, "calls": requests, "reads": statements.reads, "writes": statements.writes}
    return done | {"checked": visits.checked, "stale": visits.stale, "writing": visits.writing}


#: User and story → when this process last began to show it to them, in nanoseconds since the epoch
_visited: dict[tuple[int, str], int] = {}


class Visits:
    """Answers requests, and sees whether what they show is what was committed before."""

    def __init__(self, witness: Witness, prefix: str) -> None:
        self._witness = witness
        self._prefix = prefix  # of the short ids of what is new
        self._serial = 0
        self.checked = 0  # pages
        self.stale = 0  # of them
        self.writing = 0  # requests that changed something

    def answer(self, request: Request) -> None:
        from benchmarks.lobsters import pages

        token = token_of(request.reader)
        if request.page == "login":
            pages.login(f"user{request.reader}", token)
            self.writing += 1
            return
        reader = pages.reader_of(token)
        if request.page == "logout":
            pages.logout(token)
            self.writing += 1
        elif request.page in COMPARED:
            self._show(request, reader)
        elif reader is not None:  # the others are sent to the page for logging in
            self._change(request, reader)

    def _show(self, request: Request, reader: Any) -> None:
        from benchmarks.lobsters import pages

        began = time.monotonic_ns()
        if request.page == "story":
            short_id, visited = name_of(request.about), time.time_ns()
            page = pages.story(reader, short_id)
            least = [
                (self._witness.least(VOTES, page["story"].pk, began), _votes(page["story"])),
                (self._witness.least(COMMENTS, page["story"].pk, began), len(page["comments"])),
            ]
            unread = reader is not None and self._ribbon_is_stale(reader.pk, short_id, visited, page["seen"])
            self._see(least, is_stale=unread)
            self.writing += reader is not None
        elif request.page in ("front", "recent"):
            page = getattr(pages, request.page)(reader)
            self._see((self._witness.least(VOTES, one.pk, began), _votes(one)) for one in page["stories"])
        elif request.page == "comments":
            page = pages.comments(reader)
            self._see([(self._witness.least(COMMENTS, NEWEST, began), page["comments"][0].pk)])
        else:
            pages.user(reader, f"user{request.about}")

    def _ribbon_is_stale(self, reader: int, story: str, began: int, seen: datetime | None) -> bool:
        """Is what was shown as the time of their last visit before the one that this process has answered?"""
        before = _visited.get((reader, story))
        _visited[reader, story] = began
        return before is not None and (seen is None or seen.timestamp() < before / 1e9 - OVERTAKEN)

    def _see(self, least: Iterable[tuple[int, int]], *, is_stale: bool = False) -> None:
        self.checked += 1
        self.stale += is_stale or any(shown < due for due, shown in least)

    def _change(self, request: Request, reader: Any) -> None:
        from benchmarks.lobsters import pages

        about = name_of(request.about)
        if request.page in ("upvote_story", "downvote_story"):
            story = pages.vote_on_story(reader, about, 1 if request.page == "upvote_story" else -1)
            if story is not None:
                self._witness.note(VOTES, story.pk, _votes(story))
                self.writing += 1
        elif request.page in ("upvote_comment", "downvote_comment"):
            voted = pages.vote_on_comment(reader, about, 1 if request.page == "upvote_comment" else -1)
            self.writing += voted is not None
        elif request.page == "submit":
            pages.submit(reader, self._new_id(), f"tag{1 + request.reader % 60}")
            self.writing += 1
        else:
            story, comment = getattr(pages, request.page)(reader, about, self._new_id())
            self._witness.note(COMMENTS, story.pk, story.comments_count)
            self._witness.note(COMMENTS, NEWEST, comment.pk)
            self.writing += 1

    def _new_id(self) -> str:
        self._serial += 1
        return f"{self._prefix}-{self._serial}"


def _votes(story: Story) -> int:
    """That only grows; the score does not."""
    return story.upvotes + story.downvotes


def shown(scale: float) -> dict[str, str]:
    """Page and reader → a digest of what is shown, without writing anything."""
    from benchmarks.answers import digest
    from benchmarks.lobsters import pages

    found: dict[str, str] = {}
    left = dict.fromkeys(COMPARED, SHOWN)
    for request in traffic_of(scale).requests(100 * SHOWN, "at the end"):
        if left.get(request.page):
            left[request.page] -= 1
            reader = pages.reader_of(token_of(request.reader))
            about = f"{request.page} {request.about}" if request.about else request.page
            found[f"{about} for {request.reader}"] = digest([reader, _content(request, reader)])
    return found


def _content(request: Request, reader: Any) -> Any:
    from benchmarks.lobsters import pages
    from benchmarks.lobsters.models import ReadRibbon, Story

    if request.page == "user":
        return pages.user(reader, f"user{request.about}")
    if request.page != "story":
        return getattr(pages, request.page)(reader)
    story = Story.objects.select_related("user").get(short_id=name_of(request.about))
    try:
        ribbon = ReadRibbon.objects.get(user=reader, story=story)
    except ReadRibbon.DoesNotExist:
        ribbon = None
    return [ribbon, pages.story_content(reader, story)]
