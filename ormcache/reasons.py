"""Why a query went to the database although the cache was on: the names that users count and look up.

Each is one word or two, as ``ormcache.stats()`` and the ``bypassed`` signal spell them;
``docs/reasons.md`` explains every one.
"""

from __future__ import annotations

# The query -------------------------------------------------------------------
CHUNKED = "chunked"  # .iterator(): rows are streamed, not kept
LOCKING = "locking"  # select_for_update, FOR SHARE, LOCK IN SHARE MODE
EXPLAIN = "explain"
NOT_A_READ = "not a read"  # it writes, changes the session or the schema
CLOCK = "clock"  # now(), CURRENT_DATE, 'today'
RANDOM = "random"  # random(), gen_random_uuid(), TABLESAMPLE
SEQUENCE = "sequence"  # nextval(), LAST_INSERT_ID(), changes()
SESSION_FUNCTION = "session function"  # current_user, current_setting(), @@variables, advisory locks
FUNCTION = "function"  # a function that is not known to give the same answer again
NOT_UNDERSTOOD = "not understood"  # the text does not lex cleanly, or has several statements
PARAMETER = "parameter"  # a parameter of a type whose value cannot be told exactly
# The relations ---------------------------------------------------------------
BLACKLISTED = "blacklisted"
TEMPORARY = "temporary table"
SYSTEM_CATALOG = "system catalog"  # or what only the database itself writes: sqlite_sequence, ctid
UNKNOWN_RELATION = "unknown relation"
FOREIGN_TABLE = "foreign table"
UNLOGGED = "unlogged table"  # PostgreSQL empties it after a crash, which nobody is told
NOT_TRANSACTIONAL = "not transactional"  # a storage engine whose rows change before COMMIT
# The connection ----------------------------------------------------------------
DISABLED = "disabled"  # inside ormcache.disabled(), or ENABLED is False
NO_STORE = "no store"  # a database on another host and no STORE named
UNIDENTIFIED = "unidentified"  # the server did not tell who it is; the log has the error
REPLICA = "replica"  # a server in recovery whose PRIMARY is not named
DIRTY = "dirty"  # this transaction has written one of the relations
SNAPSHOT = "snapshot"  # an isolation level above READ COMMITTED, or SQLite in mid-transaction
UNCOMMITTED = "uncommitted"  # READ UNCOMMITTED shows rows that may never be
SESSION = "session"  # something was set that cannot be followed
BROKEN_TRANSACTION = "broken transaction"
# The cost ----------------------------------------------------------------------
NOT_WORTH = "not worth it"  # asking the cache has cost more than it saved; see ormcache.left_alone()
# The store ---------------------------------------------------------------------
STORE_AWAY = "store away"
PENDING = "pending"  # a write could not be told to the store and still waits to be

# Results that were read but not kept -------------------------------------------
TOO_MANY_ROWS = "too many rows"
TOO_LARGE = "too large"
UNENCODABLE = "unencodable"  # a value that would not come back equal in value and type
MARKED = "marked"  # a writer was committing to one of the relations
OPEN_CURSOR = "open cursor"  # SQLite: an unfinished SELECT holds an older snapshot open
ON_REPLICA = "on replica"  # a replica's rows may be older than the primary's stamps
