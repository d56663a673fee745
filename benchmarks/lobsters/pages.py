"""The site's pages: what its views read and write, without templates. The same code for every candidate."""

from __future__ import annotations

import datetime
from typing import Any

from django.db import transaction
from django.db.models import Count, F
from django.utils import timezone

from benchmarks.lobsters.models import (
    Comment,
    HiddenStory,
    ReadRibbon,
    SavedStory,
    Session,
    Story,
    Tag,
    TagFilter,
    Tagging,
    User,
    Vote,
)

Page = dict[str, Any]

LISTED = 51  # stories: two pages of 25, and whether there is a third


def reader_of(token: str) -> User | None:
    """Who is logged in with this cookie."""
    session = Session.objects.select_related("user").filter(token=token).first()
    return session.user if session else None


# Reading --------------------------------------------------------------------------------


def story(reader: User | None, short_id: str) -> Page:
    story = Story.objects.select_related("user").get(short_id=short_id)
    seen = mark_read(reader, story) if reader else None
    return {"seen": seen, **story_content(reader, story)}


def mark_read(reader: User, story: Story) -> datetime.datetime | None:
    """Note that it is read now; when it was read before."""
    ribbon, is_new = ReadRibbon.objects.get_or_create(user=reader, story=story)
    if is_new:
        return None
    before = ribbon.updated_at
    ribbon.save(update_fields=["updated_at"])
    return before


def story_content(reader: User | None, story: Story) -> Page:
    page: Page = {
        "story": story,
        "comments": list(story.comments.ranked().select_related("user").prefetch_related("votes")),
        "taggings": list(story.taggings.select_related("tag").order_by("pk")),
    }
    if reader:
        votes = Vote.objects.filter(user=reader, story=story).order_by("pk")
        page["own votes"] = {vote.comment_id or 0: vote.vote for vote in votes}
        page["hidden"] = HiddenStory.objects.filter(user=reader, story=story).exists()
        page["saved"] = SavedStory.objects.filter(user=reader, story=story).exists()
    return page


def front(reader: User | None) -> Page:
    return _stories(reader, list(Story.objects.hottest().for_a_list()[:LISTED]))


def recent(reader: User | None) -> Page:
    return _stories(reader, list(Story.objects.recent().for_a_list()[:LISTED]))


def _stories(reader: User | None, stories: list[Story]) -> Page:
    if reader is None:
        return {"stories": stories}
    hidden = set(HiddenStory.objects.filter(user=reader).values_list("story_id", flat=True))
    filtered = set(TagFilter.objects.filter(user=reader).values_list("tag_id", flat=True))
    stories = [
        one
        for one in stories
        if one.pk not in hidden and filtered.isdisjoint(tagging.tag_id for tagging in one.taggings.all())
    ]
    votes = Vote.objects.filter(user=reader, story__in=stories, comment=None).order_by("pk")
    return {
        "stories": stories,
        "own votes": {vote.story_id: vote.vote for vote in votes},
        "saved": sorted(SavedStory.objects.filter(user=reader, story__in=stories).values_list("story_id", flat=True)),
    }


def comments(reader: User | None) -> Page:
    newest = list(Comment.objects.newest().select_related("user", "story__user")[:40])
    if reader is None:
        return {"comments": newest}
    hidden = set(HiddenStory.objects.filter(user=reader).values_list("story_id", flat=True))
    votes = Vote.objects.filter(user=reader, comment__in=newest).order_by("pk")
    return {
        "comments": newest,
        "hidden": sorted({one.pk for one in newest if one.story_id in hidden}),
        "own votes": {vote.comment_id or 0: vote.vote for vote in votes},
    }


def user(reader: User | None, username: str) -> Page:
    user = User.objects.get(username=username)
    favourites = Tag.objects.filter(stories__user=user).annotate(used=Count("pk")).order_by("-used", "name")
    return {
        "user": user,
        "stories": user.stories.count(),
        "comments": user.comments.count(),
        "favourite": favourites.first(),
    }


# Writing --------------------------------------------------------------------------------
# A transaction locks the story first, then the comment, then changes a user: in one order, so that no two of them wait
# for each other. Those that change a story return it as it is after them.


def vote_on_story(reader: User, short_id: str, vote: int) -> Story | None:
    """None: there is that vote already."""
    story = Story.objects.get(short_id=short_id)
    if Vote.objects.filter(user=reader, story=story, comment=None).exists():
        return None
    with transaction.atomic():
        story = Story.objects.select_for_update().get(pk=story.pk)
        Vote.objects.create(user=reader, story=story, vote=vote)
        _count_vote(story, vote)
        _save_hotness(story, "upvotes", "downvotes")
        User.objects.filter(pk=story.user_id).update(karma=F("karma") + vote)
    return story


def vote_on_comment(reader: User, short_id: str, vote: int) -> Comment | None:
    comment = Comment.objects.get(short_id=short_id)
    if Vote.objects.filter(user=reader, comment=comment).exists():
        return None
    with transaction.atomic():
        story = Story.objects.select_for_update().get(pk=comment.story_id)
        comment = Comment.objects.select_for_update().get(pk=comment.pk)
        Vote.objects.create(user=reader, story=story, comment=comment, vote=vote)
        _count_vote(comment, vote)
        comment.recalculate_confidence()
        comment.save(update_fields=["upvotes", "downvotes", "confidence"])
        _save_hotness(story)
        User.objects.filter(pk=comment.user_id).update(karma=F("karma") + vote)
    return comment


def _count_vote(voted: Story | Comment, vote: int) -> None:
    if vote > 0:
        voted.upvotes += 1
    else:
        voted.downvotes += 1


def _save_hotness(story: Story, *changed: str) -> None:
    story.recalculate_hotness()
    story.save(update_fields=["hotness", *changed])


def comment_on(reader: User, story: Story, short_id: str, parent: Comment | None = None) -> tuple[Story, Comment]:
    with transaction.atomic():
        story = Story.objects.select_for_update().get(pk=story.pk)
        comment = Comment(short_id=short_id, story=story, user=reader, parent=parent, created_at=timezone.now())
        comment.text = "I have something to say about that as well."
        comment.upvotes = 1
        comment.recalculate_confidence()
        comment.save()
        Vote.objects.create(user=reader, story=story, comment=comment, vote=1)
        story.comments_count += 1
        _save_hotness(story, "comments_count")
    return story, comment


def comment(reader: User, story_id: str, short_id: str) -> tuple[Story, Comment]:
    return comment_on(reader, Story.objects.get(short_id=story_id), short_id)


def reply(reader: User, comment_id: str, short_id: str) -> tuple[Story, Comment]:
    parent = Comment.objects.select_related("story").get(short_id=comment_id)
    return comment_on(reader, parent.story, short_id, parent)


def submit(reader: User, short_id: str, tag: str) -> Story:
    url = f"https://example.org/{short_id}"
    if Story.objects.filter(url=url).exists():
        raise ValueError(f"{url} was submitted before")
    story = Story(short_id=short_id, user=reader, title=f"Story {short_id}", url=url, created_at=timezone.now())
    story.upvotes = 1
    story.recalculate_hotness()
    with transaction.atomic():
        story.save()
        Tagging.objects.create(story=story, tag=Tag.objects.get(name=tag))
        Vote.objects.create(user=reader, story=story, vote=1)
    return story


def login(username: str, token: str) -> Session:
    user = User.objects.get(username=username)
    session, _ = Session.objects.get_or_create(token=token, defaults={"user": user})
    return session


def logout(token: str) -> None:
    Session.objects.filter(token=token).delete()
