"""The names of bypass reasons, of rejection reasons, and of the causes of misses.

``ormcache.stats()`` counts by them, and the signals carry them. ``docs/reasons.md`` explains every reason, and what can
be done about it.
"""

from __future__ import annotations

# The query -------------------------------------------------------------------
LOCKING = "locking"  # select_for_update, FOR SHARE, LOCK IN SHARE MODE
EXPLAIN = "explain"
NOT_A_READ = "not a read"  # it writes, changes the session or the schema
CLOCK = "clock"  # now(), CURRENT_DATE, 'today'
RANDOM = "random"  # random(), gen_random_uuid(), TABLESAMPLE
SEQUENCE = "sequence"  # nextval(), LAST_INSERT_ID(), changes()
SESSION_FUNCTION = "session function"  # current_user, current_setting(), @@variables, advisory locks
FUNCTION = "function"  # a function that is not known to give the same answer again
OWN_COMPILER = "own compiler"  # the query has a compiler class of its own, which does not look anything up
NOT_UNDERSTOOD = "not understood"  # the SQL does not lex cleanly, or has several statements
PARAMETER = "parameter"  # a parameter of a type whose value has no exact form
# The relations ---------------------------------------------------------------
BLACKLISTED = "blacklisted"
TEMPORARY = "temporary table"
SYSTEM_CATALOG = "system catalog"  # or what only the database itself writes: sqlite_sequence, ctid
UNKNOWN_RELATION = "unknown relation"
FOREIGN_TABLE = "foreign table"
UNLOGGED = "unlogged table"  # PostgreSQL empties it after a crash, without a write that could be seen
NOT_TRANSACTIONAL = "not transactional"  # a storage engine whose rows change before COMMIT
# The connection ----------------------------------------------------------------
DISABLED = "disabled"  # inside ormcache.disabled(), ENABLED is False, or a view is exempt
NO_STORE = "no store"  # a database on another host and no STORE named
UNIDENTIFIED = "unidentified"  # the server's identity could not be read; the log has the error
UNCONFIRMED = "unconfirmed"  # the server may have been replaced: it did not answer, or is another one
REPLICA = "replica"  # a server in recovery whose PRIMARY is not named
DIRTY = "dirty"  # this transaction has written one of the relations
SNAPSHOT = "snapshot"  # an isolation level above READ COMMITTED, or SQLite in mid-transaction
UNCOMMITTED = "uncommitted"  # READ UNCOMMITTED shows rows that may never be committed
UNTRACKED_SESSION = "untracked session"  # a setting was changed in a way that cannot be tracked
INTERCEPTED = "intercepted"  # unknown code acts between Django's cursors and the driver
CONVERTERS = "converters"  # unknown code converts values in the driver
BROKEN_TRANSACTION = "broken transaction"
# The cost ----------------------------------------------------------------------
CURRENT_TIME = "current time"  # a parameter is the current time: no two executions are alike
ADAPTIVE_BYPASS = "adaptive bypass"  # the cache cost more than it saved; see ormcache.adaptive_bypasses()
# The store ---------------------------------------------------------------------
STORE_UNAVAILABLE = "store unavailable"
STORE_FULL = "store full"  # it has no room for what it lacks; also of a result that is not stored
PENDING = "pending"  # a write to one of the relations is still to be published to the store

# Rejected results: read, and not stored ----------------------------------------
CHUNKED = "chunked"  # .iterator() with more rows than one chunk: they are streamed, and none is stored
TOO_MANY_ROWS = "too many rows"
TOO_LARGE = "too large"
UNSERIALIZABLE = "unserializable"  # a value that would not come back equal in value and type
MARKED = "marked"  # a writer was committing to one of the relations
OPEN_CURSOR = "open cursor"  # SQLite: an unfinished SELECT holds an older snapshot open
PIPELINE = "pipeline"  # psycopg's pipeline mode: statements run later, in one transaction
ON_REPLICA = "on replica"  # a replica's rows may be older than the primary's stamps
REPLICA_BEHIND = "replica behind"  # it had not replayed what the stamps stand for

# Tracked blocks: functions, fragments and pages that were computed, and not stored --
WRITTEN_MEANWHILE = "written meanwhile"  # what it has read was written before it came to its end
WRITES = "writes"  # it writes, which a hit would not do
STATEMENT = "statement"  # it reads through a cursor, not through the ORM
SEVERAL_SESSIONS = "several sessions"  # settings of the session, or the tenant, changed between two of its reads
SEVERAL_STORES = "several stores"  # it reads from databases that have different stores
EXPIRED_MEANWHILE = "expired meanwhile"  # the timeout of something in it ended before it came to its end
FAILED = "failed"  # the database has reported an error, which it may have handled
OVERLAPPING = "overlapping"  # a tracked block within it, of a generator, had not ended at its end
VARIABLE = "variable"  # a fragment uses a variable that has no exact form, or changes one
TEMPLATE_STATE = "template state"  # a fragment uses what {% cycle %} or {% ifchanged %} remember, or a {% block %}
OBSERVE = "observe"  # ENABLED is "observe": nothing is served
UNCACHED_DATABASE = "uncached database"  # it reads from a database whose ENGINE is none of ormcache's

# Pages: requests that are answered without the cache, and responses that are not stored --
AUTHORIZATION = "authorization"  # the request has an Authorization header
LOGGED_IN = "logged in"  # per="anonymous", and the visitor is logged in
UNNAMED = "unnamed"  # the function given as per returned None, or an object on the request has no exact form
REQUEST_BODY = "request body"  # a GET or HEAD request with a body
SESSION = "session"  # the view has used the session, and the page is not named by it
USER = "user"  # the view has used a user whom neither Django's session nor the page's name names
LATE_MIDDLEWARE = "late middleware"  # the middleware of sessions or users comes after the one that caches pages
MESSAGES = "messages"  # there are messages for the visitor, or the view has added one
CSRF = "csrf token"  # the page has a CSRF token, which is one visitor's
NONCE = "nonce"  # the page has a nonce of the Content-Security-Policy, which is one response's
COOKIE = "cookie"  # the response sets a cookie
PRIVATE = "private"  # the response's Cache-Control says private, no-store or no-cache
VARY = "vary"  # the response's Vary is "*", or the view reads all headers or cookies
STATUS = "status"  # the response's status is none of the statuses
STREAMING = "streaming"  # a streaming response, which is not in memory
NOT_RENDERED = "not rendered"  # a response of Django REST framework before it is rendered


class Miss:
    """The causes of misses: why a lookup found nothing to serve."""

    COLD = "cold"  # there was no entry
    INVALIDATED = "invalidated"  # a write invalidated the result
    MARKED = "marked"  # a writer was committing to one of the relations
    EXPIRED = "expired"  # the result was older than TIMEOUT
    LOST = "lost"  # the store has lost the stamps of its relations
