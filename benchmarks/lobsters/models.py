"""The tables of the site, as far as its pages use them."""

from __future__ import annotations

import math

from django.db import models
from django.db.models import F

WINDOW = 22 * 3600  # seconds by which a story has to be newer to be as hot as one with ten times the votes


class User(models.Model):
    username = models.CharField(max_length=50, unique=True)
    email = models.EmailField()
    about = models.TextField()
    karma = models.IntegerField(default=0)
    is_admin = models.BooleanField(default=False)
    is_moderator = models.BooleanField(default=False)
    created_at = models.DateTimeField()


class Session(models.Model):
    """Who is logged in."""

    token = models.CharField(max_length=50, unique=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="sessions")
    created_at = models.DateTimeField(auto_now_add=True)


class Tag(models.Model):
    name = models.CharField(max_length=25, unique=True)
    description = models.CharField(max_length=100)
    is_media = models.BooleanField(default=False)


class StoryQuerySet(models.QuerySet["Story"]):
    def visible(self) -> StoryQuerySet:
        return self.filter(merged_into=None, is_expired=False)

    def hottest(self) -> StoryQuerySet:
        return self.visible().filter(upvotes__gte=F("downvotes")).order_by("hotness")

    def recent(self) -> StoryQuerySet:
        return self.visible().filter(upvotes__lte=F("downvotes") + 5).order_by("-pk")

    def for_a_list(self) -> StoryQuerySet:
        return self.select_related("user").prefetch_related("taggings__tag")


class Story(models.Model):
    short_id = models.CharField(max_length=20, unique=True)
    user = models.ForeignKey(User, models.CASCADE, related_name="stories")
    title = models.CharField(max_length=150)
    url = models.CharField(max_length=250, db_index=True)
    description = models.TextField()
    created_at = models.DateTimeField()
    upvotes = models.IntegerField(default=0)
    downvotes = models.IntegerField(default=0)
    comments_count = models.IntegerField(default=0)
    hotness = models.FloatField(default=0, db_index=True)  # the hottest has the least
    is_expired = models.BooleanField(default=False)
    merged_into = models.ForeignKey("self", models.SET_NULL, null=True, related_name="merged_stories")
    tags = models.ManyToManyField(Tag, through="Tagging", related_name="stories")

    objects = StoryQuerySet.as_manager()

    def recalculate_hotness(self) -> None:
        score = self.upvotes - self.downvotes + self.comments_count / 2
        order = math.log10(max(abs(score), 1))
        age = self.created_at.timestamp() / WINDOW
        self.hotness = -round(math.copysign(order, score) + age, 7)


class Tagging(models.Model):
    story = models.ForeignKey(Story, models.CASCADE, related_name="taggings")
    tag = models.ForeignKey(Tag, models.CASCADE, related_name="taggings")


class CommentQuerySet(models.QuerySet["Comment"]):
    def ranked(self) -> CommentQuerySet:
        return self.order_by("-confidence", "pk")

    def newest(self) -> CommentQuerySet:
        return self.filter(is_deleted=False, is_moderated=False).order_by("-pk")


class Comment(models.Model):
    short_id = models.CharField(max_length=20, unique=True)
    story = models.ForeignKey(Story, models.CASCADE, related_name="comments")
    user = models.ForeignKey(User, models.CASCADE, related_name="comments")
    parent = models.ForeignKey("self", models.SET_NULL, null=True, related_name="replies")
    text = models.TextField()
    created_at = models.DateTimeField()
    upvotes = models.IntegerField(default=0)
    downvotes = models.IntegerField(default=0)
    confidence = models.FloatField(default=0)
    is_deleted = models.BooleanField(default=False)
    is_moderated = models.BooleanField(default=False)

    objects = CommentQuerySet.as_manager()

    def recalculate_confidence(self) -> None:
        """The lower bound of Wilson's interval, which the site sorts by."""
        count, z = self.upvotes + self.downvotes, 1.281551565545
        if not count:
            self.confidence = 0.0
            return
        part = self.upvotes / count
        around = z * math.sqrt((part * (1 - part) + z * z / (4 * count)) / count)
        self.confidence = (part + z * z / (2 * count) - around) / (1 + z * z / count)


class Vote(models.Model):
    """Of a user on a story, or on a comment of it."""

    user = models.ForeignKey(User, models.CASCADE, related_name="votes")
    story = models.ForeignKey(Story, models.CASCADE, related_name="votes")
    comment = models.ForeignKey(Comment, models.CASCADE, null=True, related_name="votes")
    vote = models.SmallIntegerField()

    class Meta:
        indexes = (models.Index(fields=["user", "story"]), models.Index(fields=["user", "comment"]))


class ReadRibbon(models.Model):
    """How far a user has read the comments of a story."""

    user = models.ForeignKey(User, models.CASCADE, related_name="ribbons")
    story = models.ForeignKey(Story, models.CASCADE, related_name="ribbons")
    is_following = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        unique_together = ("user", "story")


class Mark(models.Model):
    """What a user has done with a story."""

    user = models.ForeignKey(User, models.CASCADE)
    story = models.ForeignKey(Story, models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True
        unique_together = ("user", "story")


class HiddenStory(Mark):
    pass


class SavedStory(Mark):
    pass


class TagFilter(models.Model):
    """A tag of which a user wants to see no stories."""

    user = models.ForeignKey(User, models.CASCADE, related_name="filters")
    tag = models.ForeignKey(Tag, models.CASCADE)
