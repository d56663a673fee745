"""What is asked of the site, by whom and of what: drawn from the published distributions. Knows nothing of Django."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DATA = Path(__file__).with_name("data")

#: Lines of requests.dat → the page, in :mod:`benchmarks.lobsters.pages`
PAGES = {
    "GET /stories/X": "story",
    "GET /": "front",
    "GET /u/X": "user",
    "GET /comments[/X]": "comments",
    "GET /recent[/X]": "recent",
    "POST /comments/X/upvote": "upvote_comment",
    "POST /stories/X/upvote": "upvote_story",
    "POST /comments": "comment",
    "POST /login": "login",
    "POST /comments/X": "reply",
    "POST /comments/X/downvote": "downvote_comment",
    "POST /stories": "submit",
    "POST /stories/X/downvote": "downvote_story",
    "POST /logout": "logout",
}


def mix() -> dict[str, int]:
    """Page → how often it was asked for."""
    lines = [line.split() for line in (DATA / "requests.dat").read_text(encoding="utf-8").splitlines()]
    return {PAGES[f"{method} {path}"]: int(count) for count, _, method, path in lines}


def histogram(name: str) -> list[tuple[int, int]]:
    """Least value of each group, and how many are in it."""
    lines = (DATA / f"{name}.dat").read_text(encoding="utf-8").splitlines()
    return [(int(least), int(count)) for least, count in map(str.split, lines)]


def spread(name: str, count: int, *, within: int) -> list[int]:
    """So many values distributed like those of a file, in an order that only depends on their number.

    ``within``: a value is drawn from so many that begin with the least of its group.
    """
    groups = histogram(name)
    sums = list(itertools.accumulate(size for _, size in groups))
    chance = random.Random(f"{name} {count}")
    values = [
        groups[bisect_right(sums, (number + 0.5) / count * sums[-1])][0] + chance.randrange(within)
        for number in range(count)
    ]
    chance.shuffle(values)
    return values


@dataclass(frozen=True)
class Site:
    """How much there is: at scale 1, 40,000 stories, 282,000 comments and 9,000 users."""

    scale: float

    @property
    def stories(self) -> int:
        return max(60, round(40_000 * self.scale))  # the front page has 51

    @property
    def users(self) -> int:
        return max(50, round(9_000 * self.scale))

    # An author's own vote is always there. Votes are the least of their groups: a number in the middle of each would
    # be more than all users together have given.

    @cached_property
    def comments_of(self) -> list[int]:
        return spread("comments_per_story", self.stories, within=10)

    @cached_property
    def story_votes(self) -> list[int]:
        return [max(1, votes) for votes in spread("votes_per_story", self.stories, within=1)]

    @cached_property
    def comment_votes(self) -> list[int]:
        return [max(1, votes) for votes in spread("votes_per_comment", sum(self.comments_of), within=1)]

    @cached_property
    def activity(self) -> list[int]:
        """Votes that each user has given: who votes a lot also reads, writes and submits a lot."""
        return spread("votes_per_user", self.users, within=100)


class Popular:
    """Numbers from 1 on, each drawn in proportion to its weight."""

    def __init__(self, weights: Sequence[int]) -> None:
        self._sums = list(itertools.accumulate(weights))

    def draw(self, chance: random.Random) -> int:
        return 1 + bisect_right(self._sums, chance.randrange(self._sums[-1]))


@dataclass(frozen=True)
class Request:
    page: str
    reader: int
    #: number of the story, the comment or the user that it is about; 0: of none
    about: int = 0


class Traffic:
    """Requests as they come, for one process and one round: the same ones for every candidate."""

    def __init__(self, site: Site) -> None:
        self._pages = mix()
        self._readers = Popular(site.activity)
        voted = Popular(site.story_votes)
        commented = Popular([1 + comments for comments in site.comments_of])
        comments = Popular(site.comment_votes)
        self._about = {
            "story": voted,
            "user": self._readers,
            "upvote_story": voted,
            "downvote_story": voted,
            "upvote_comment": comments,
            "downvote_comment": comments,
            "comment": commented,
            "reply": comments,
        }

    def requests(self, count: int, seed: str) -> Iterator[Request]:
        chance = random.Random(seed)
        for page in chance.choices(list(self._pages), weights=list(self._pages.values()), k=count):
            about = self._about.get(page)
            yield Request(page, self._readers.draw(chance), about.draw(chance) if about else 0)


def name_of(number: int) -> str:
    """The short id of a story or a comment that is there from the beginning."""
    return f"{number:06x}"


def token_of(user: int) -> str:
    return f"session-{user}"
