"""What the databases themselves say of real SQL, held against what ormcache makes of it.

The statements are those of Django's own test suite: ``python -m tests.django_suite --modes record`` notes each one that
its tests send, together with the relations that the database touched for it, see :mod:`tests.oracle.recorder`.
``python -m tests.oracle`` compares. The witnesses:

| database | witness | says |
| --- | --- | --- |
| PostgreSQL | ``pg_locks`` | every relation that the statement came to lock: views, triggers, cascades, partitions |
| MariaDB | ``metadata_lock_info`` | the same of metadata locks |
| SQLite | ``set_authorizer`` | every table that the compiled statement reads or writes |
| PostgreSQL | its own parser, in the ``pgparse`` package | relations, functions and kind of a text |

A *miss* is something that the database names and ormcache does not know of. There must be none.
"""
