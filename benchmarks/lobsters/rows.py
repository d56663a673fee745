"""The rows of the site: the same ones in every run, made inside PostgreSQL from drawn numbers."""

from __future__ import annotations

import random
from typing import Any

from benchmarks.lobsters.models import WINDOW
from benchmarks.lobsters.traffic import Popular, Site

TAGS = 60
READERS = 10_007  # drawn once, by what users do; a prime, so that remainders by it look unrelated

_EPOCH = "timestamptz '2018-01-01 00:00+00'"
_CREATED = f"{_EPOCH} + n * interval '53 minutes'"
_SCORE = "votes - 2 * (votes / 20) + comments / 2.0"


def _reader(number: str) -> str:
    return f"(%(readers)s::int[])[1 + {number} %% {READERS}]"


#: In an order in which what a row refers to is there. Of what is not published there is little: a tenth of the users
#: filter a tag; of the stories that a user has read, one in a hundred is saved and one in two hundred hidden.
_FILL = (
    f"""
    INSERT INTO lobsters_user (id, username, email, about, karma, is_admin, is_moderator, created_at)
    SELECT n, 'user' || n, 'user' || n || '@example.org', repeat('About me. ', (n %% 9)::int), karma, false, n = 1,
        {_EPOCH} - n * interval '1 hour'
    FROM unnest(%(activity)s::int[]) WITH ORDINALITY AS each (karma, n)
    """,
    f"""
    INSERT INTO lobsters_session (id, token, user_id, created_at)
    SELECT id, 'session-' || id, id, {_EPOCH} FROM lobsters_user
    """,
    f"""
    INSERT INTO lobsters_tag (id, name, description, is_media)
    SELECT n, 'tag' || n, 'All about ' || n, n %% 20 = 0 FROM generate_series(1, {TAGS}) n
    """,
    f"""
    INSERT INTO lobsters_tagfilter (user_id, tag_id)
    SELECT id, id %% {TAGS} + 1 FROM lobsters_user WHERE id %% 10 = 0
    """,
    f"""
    INSERT INTO lobsters_story (id, short_id, user_id, title, url, description, created_at, upvotes, downvotes,
        comments_count, hotness, is_expired)
    SELECT n, lpad(to_hex(n), 6, '0'), {_reader("n * 7919")}, 'The story of number ' || n,
        'https://example.org/' || n, repeat('It is long. ', (n %% 7)::int), {_CREATED}, votes - votes / 20,
        votes / 20, comments,
        -round(log(greatest({_SCORE}, 1)) + extract(epoch FROM {_CREATED}) / {WINDOW}, 7), false
    FROM unnest(%(story_votes)s::int[], %(comments_of)s::int[]) WITH ORDINALITY AS each (votes, comments, n)
    """,
    f"""
    INSERT INTO lobsters_tagging (story_id, tag_id)
    SELECT id, (id * 7 + k * 11) %% {TAGS} + 1
    FROM lobsters_story, generate_series(0, 1) k WHERE k = 0 OR id %% 3 > 0
    """,
    f"""
    INSERT INTO lobsters_comment (id, short_id, story_id, user_id, parent_id, text, created_at, upvotes, downvotes,
        confidence, is_deleted, is_moderated)
    SELECT n, lpad(to_hex(n), 6, '0'), story, {_reader("n * 104729")}, CASE WHEN k > 2 THEN n - 1 END,
        repeat('This is what I think of it. ', (n %% 8 + 1)::int), {_EPOCH} + n * interval '7 minutes', votes, 0,
        votes / (votes + 1.64), false, false
    FROM (
        SELECT row_number() OVER (ORDER BY id, k) AS n, id AS story, k
        FROM lobsters_story, generate_series(1, comments_count) k
    ) AS numbered
    JOIN unnest(%(comment_votes)s::int[]) WITH ORDINALITY AS each (votes, n) USING (n)
    """,
    # An author's own vote is the first; a user who was drawn twice has voted once.
    f"""
    INSERT INTO lobsters_vote (user_id, story_id, vote)
    SELECT DISTINCT ON (voter, id) voter, id, CASE WHEN k > upvotes THEN -1 ELSE 1 END
    FROM (
        SELECT id, k, upvotes, CASE WHEN k = 1 THEN user_id ELSE {_reader("(id * 15485863 + k * 7919)")} END AS voter
        FROM lobsters_story, generate_series(1, upvotes + downvotes) k
    ) AS drawn
    ORDER BY voter, id, k
    """,
    f"""
    INSERT INTO lobsters_vote (user_id, story_id, comment_id, vote)
    SELECT DISTINCT voter, story_id, id, 1
    FROM (
        SELECT id, story_id, CASE WHEN k = 1 THEN user_id ELSE {_reader("(id * 32452843 + k * 104729)")} END AS voter
        FROM lobsters_comment, generate_series(1, upvotes) k
    ) AS drawn
    """,
    # Who has voted on a story has read it.
    f"""
    INSERT INTO lobsters_readribbon (user_id, story_id, is_following, created_at, updated_at)
    SELECT user_id, story_id, true, {_EPOCH}, {_EPOCH} FROM lobsters_vote WHERE comment_id IS NULL
    """,
    """
    INSERT INTO lobsters_savedstory (user_id, story_id, created_at)
    SELECT user_id, story_id, created_at FROM lobsters_readribbon WHERE id %% 100 = 0
    """,
    """
    INSERT INTO lobsters_hiddenstory (user_id, story_id, created_at)
    SELECT user_id, story_id, created_at FROM lobsters_readribbon WHERE id %% 200 = 1
    """,
)


def create(scale: float) -> dict[str, int]:
    """Make all tables and fill them; how many rows are in each. Runs in a worker, on the database that is copied."""
    from django.apps import apps
    from django.db import connection

    site = Site(scale)
    chance, popular = random.Random(0), Popular(site.activity)
    parameters: dict[str, Any] = {
        "readers": [popular.draw(chance) for _ in range(READERS)],
        "activity": site.activity,
        "story_votes": site.story_votes,
        "comments_of": site.comments_of,
        "comment_votes": site.comment_votes,
    }
    models = list(apps.get_app_config("lobsters").get_models())
    counts = {}
    with connection.schema_editor() as editor:
        for model in models:
            editor.create_model(model)
    with connection.cursor() as cursor:
        for statement in _FILL:
            cursor.execute(statement, parameters)
        for model in models:
            table = model._meta.db_table
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), greatest(max(id), 1)) FROM {table}")
            cursor.execute(f"SELECT count(*) FROM {table}")
            counts[model.__name__] = cursor.fetchone()[0]
        # Else the first readers would set hint bits, and autovacuum would come while something is measured.
        cursor.execute("VACUUM (ANALYZE, FREEZE)")
    connection.close()
    return counts
