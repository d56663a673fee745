"""What each reason means and what to do about it: the words of ``docs/reasons.md``, for programs to show."""

from __future__ import annotations

from typing import NamedTuple

from ormcache import reasons


class Meaning(NamedTuple):
    """The words for one reason, each without a full stop and beginning with a lower-case letter."""

    text: str
    remedy: str


#: Reason → its row in the documentation, without links and code marks
MEANINGS = {
    reasons.LOCKING: Meaning(
        "the query locks rows, by select_for_update(), FOR SHARE or LOCK IN SHARE MODE, and has to reach the "
        "database for that",
        "nothing",
    ),
    reasons.EXPLAIN: Meaning(
        ".explain() asks for the query's execution plan",
        "nothing",
    ),
    reasons.NOT_A_READ: Meaning(
        "the statement writes, or changes the session or the schema",
        "nothing",
    ),
    reasons.CLOCK: Meaning(
        "the query reads the clock, as now(), CURRENT_DATE and 'today' do, or converts a text to a date or a time "
        "of day to a timestamp, which may depend on it",
        "compute the time in Python and pass it as a parameter, rounded as far as the page allows: in place of "
        "Now(), timezone.now().replace(second=0, microsecond=0) for a DateTimeField, timezone.localdate() for a "
        "DateField",
    ),
    reasons.RANDOM: Meaning(
        'the answer is random: order_by("?"), random(), a new UUID, TABLESAMPLE',
        "choose at random in Python, from a cached list of ids",
    ),
    reasons.SEQUENCE: Meaning(
        "the query reads or advances a counter of the database: nextval(), NEXT VALUE FOR, LAST_INSERT_ID(), "
        "changes(), SQL_CALC_FOUND_ROWS",
        "nothing",
    ),
    reasons.SESSION_FUNCTION: Meaning(
        "the answer depends on the session: current_user, current_setting(), @@variables, advisory locks",
        "pass the value as a parameter",
    ),
    reasons.FUNCTION: Meaning(
        "the query calls a function that is not known to give the same answer for the same arguments: one of your "
        "own, or one of an extension",
        "PostgreSQL: declare your function IMMUTABLE, if that is true; it must not read tables then",
    ),
    reasons.OWN_COMPILER: Meaning(
        "the query overrides get_compiler(), as in some packages (django-tree-queries, django-cte before 2), and "
        "does not use the engine's compiler",
        "nothing; for a query class of your own, use the compiler class from connection.ops.compiler()",
    ),
    reasons.NOT_UNDERSTOOD: Meaning(
        "the SQL could not be read to its end, consists of several statements, or is huge: more than a million "
        "characters, or more than 100,000 tokens",
        "nothing; or write the raw SQL in it in a simpler way",
    ),
    reasons.PARAMETER: Meaning(
        "a parameter has a type without an exact representation: a geometry, a time zone class of your own, a "
        "subclass of str or int with another meaning",
        "pass a plain type",
    ),
    reasons.BLACKLISTED: Meaning(
        "one of the tables is in BLACKLIST, or not in ONLY",
        "nothing; the settings say so",
    ),
    reasons.TEMPORARY: Meaning(
        "this session has a temporary table, which may hide another table of that name",
        "nothing; it ends with the table (PostgreSQL), with DISCARD ALL, or with the connection",
    ),
    reasons.SYSTEM_CATALOG: Meaning(
        "the query reads the database's own tables and columns (pg_…, information_schema, sqlite_…, PostgreSQL's "
        "ctid), which change without a visible write",
        "nothing",
    ),
    reasons.UNKNOWN_RELATION: Meaning(
        "the query names something that is no table or view which this user can see in the database",
        "qualify it with its schema; on MySQL, tables of another database are not cached",
    ),
    reasons.FOREIGN_TABLE: Meaning(
        "the rows are outside of this database, where they change without a visible write; on SQLite, a virtual "
        "table of a module other than FTS and R*Tree",
        "name it in FOREIGN_TABLES if rows that are out of date for a while do no harm",
    ),
    reasons.UNLOGGED: Meaning(
        "PostgreSQL empties the table, or a partition of it, after a crash, without a visible write",
        "ALTER TABLE … SET LOGGED",
    ),
    reasons.NOT_TRANSACTIONAL: Meaning(
        "the storage engine of the table (MyISAM, MEMORY, Aria) changes rows before COMMIT",
        "ALTER TABLE … ENGINE=InnoDB",
    ),
    reasons.DISABLED: Meaning(
        "the read is inside ormcache.disabled(), or ENABLED is False; or a view is exempt by cache_page_exempt",
        "nothing; the code or the settings say so",
    ),
    reasons.NO_STORE: Meaning(
        "no STORE is set and the database may be on another host; or the embedded store is not available on this "
        "platform; or the connection leads to no database",
        "set STORE to one that all hosts reach",
    ),
    reasons.UNIDENTIFIED: Meaning(
        "the server could not be identified, or its catalog could not be read",
        "see the log of ormcache for the error, often a missing privilege",
    ),
    reasons.UNCONFIRMED: Meaning(
        "it was time to confirm that this is still the server whose results are cached, and it did not answer, or "
        "was another one",
        "nothing after a restart or a failover: the next reads are cached again; otherwise find out why it does not "
        "answer",
    ),
    reasons.REPLICA: Meaning(
        "the server is a replica or read-only, and PRIMARY is not set, or leads to a database that is not cached or "
        "not reachable",
        "set PRIMARY",
    ),
    reasons.DIRTY: Meaning(
        "this transaction has written one of the tables, so the query has to see the transaction's own writes",
        "read before the first write, and keep transactions short; with ATOMIC_REQUESTS, a whole request is one "
        "transaction",
    ),
    reasons.SNAPSHOT: Meaning(
        "the transaction may see older rows than the cache has: its level is above READ COMMITTED; or, on SQLite, a "
        "table was written, or first read in this process, since the transaction began",
        "use READ COMMITTED where that is enough; on SQLite nothing, the next transaction hits",
    ),
    reasons.UNCOMMITTED: Meaning(
        "READ UNCOMMITTED shows rows that may never be committed",
        "use another isolation level",
    ),
    reasons.UNTRACKED_SESSION: Meaning(
        "something was set in this session that cannot be tracked: by a procedure, by DISCARD, by an SQL_MODE that "
        "changes how SQL is read, or by replacing the driver's connection",
        "use SET name = value or SELECT set_config(name, value, false); a new connection is cached again",
    ),
    reasons.INTERCEPTED: Meaning(
        "unknown code acts between Django and the driver, and could set a tenant or change the query: an execute "
        "wrapper, an engine, a patched method of the connection, a cursor class",
        "name it in TRANSPARENT if it neither changes which rows a query returns nor sets anything in the session",
    ),
    reasons.CONVERTERS: Meaning(
        "code of the project converts values in the driver (a loader, a typecaster, sqlite3's register_converter), "
        "and may do so differently in another process",
        "convert in a field's from_db_value(), or register a converter that comes with the driver",
    ),
    reasons.BROKEN_TRANSACTION: Meaning(
        "an error has ended the transaction, and Django allows no queries until it is rolled back",
        "nothing",
    ),
    reasons.CURRENT_TIME: Meaning(
        "a parameter is the current time, as in filter(until__gt=timezone.now()), so no two executions are alike "
        "and no result can be used again. This is noticed after eight misses in a row; executions with another time "
        "are still cached",
        "round the time as far as the page allows: to the minute, the hour or the day. For Django's sessions, set "
        'SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"',
    ),
    reasons.ADAPTIVE_BYPASS: Meaning(
        "lookups of this query have cost more time than its hits saved: its tables are written all the time, or the "
        "query is faster than the store",
        "nothing; probes find out when it pays again. ormcache.adaptive_bypasses() has the numbers, and PINNED "
        "overrides it",
    ),
    reasons.STORE_UNAVAILABLE: Meaning(
        "the store did not answer, or answered with an error",
        "see the log of ormcache, and what this means for writes",
    ),
    reasons.STORE_FULL: Meaning(
        "the store had no room for a new value: a Redis or a memcached that evicts nothing, or a full disk. What it "
        "holds is still served",
        "give it more room or an eviction policy: maxmemory-policy allkeys-lru, memcached without -M",
    ),
    reasons.PENDING: Meaning(
        "this process wrote the table while the store did not answer, and its invalidation waits for the store",
        "see the log of ormcache",
    ),
    reasons.CHUNKED: Meaning(
        ".iterator() found more rows than fit in one chunk, and streams them",
        "nothing; or drop .iterator(), or pass a larger chunk_size, to have the result cached",
    ),
    reasons.TOO_MANY_ROWS: Meaning(
        "the result has more than MAX_ROWS rows",
        "read fewer rows, or raise MAX_ROWS",
    ),
    reasons.TOO_LARGE: Meaning(
        "the result is larger than MAX_BYTES, than an item of memcached may be, or than about a twentieth of the "
        "embedded store",
        "read fewer columns, or raise the limit",
    ),
    reasons.UNSERIALIZABLE: Meaning(
        "the result has a value that would not come back equal in value and type",
        "nothing; or cast it in the query",
    ),
    reasons.MARKED: Meaning(
        "a writer was committing to one of the tables, or the schema was changing, at that moment",
        "nothing; if it happens often with one table, consider BLACKLIST",
    ),
    reasons.PIPELINE: Meaning(
        "in psycopg's pipeline mode (connection.pipeline()), statements run later than they return, in one transaction",
        "read outside of the pipeline",
    ),
    reasons.OPEN_CURSOR: Meaning(
        "SQLite: an unfinished SELECT of this connection holds an older state of the database",
        "fetch results to their end, close cursors, and let .iterator() run out",
    ),
    reasons.ON_REPLICA: Meaning(
        "the rows of a replica may be older than the stamps: REPLICA_FILLS is off, or the replica does not say up to "
        "where it has replayed",
        "PostgreSQL: set REPLICA_FILLS, and connect to the replica without a pooler; else nothing, the primary fills "
        "the cache",
    ),
    reasons.REPLICA_BEHIND: Meaning(
        "the replica had not replayed all writes that the stamps stand for, or the primary could not be asked how far "
        "that is",
        "nothing; the result is stored once the replica has caught up",
    ),
    reasons.WRITTEN_MEANWHILE: Meaning(
        "something that it has read was written before it had come to its end, so it may mix two states",
        "nothing; the next use computes it again",
    ),
    reasons.WRITES: Meaning(
        "it writes to a database, invalidates something, or sets something for the rest of the session, which a hit "
        "would not do",
        "do so outside of it",
    ),
    reasons.STATEMENT: Meaning(
        "it reads through a cursor, or calls a procedure: what that depends on is not tracked",
        "read through the ORM",
    ),
    reasons.SEVERAL_SESSIONS: Meaning(
        "settings of the session, or the tenant, changed between two of its reads",
        "set them before it begins",
    ),
    reasons.SEVERAL_STORES: Meaning(
        "it reads from databases that have different stores",
        "give them the same store, or split it",
    ),
    reasons.EXPIRED_MEANWHILE: Meaning(
        "the timeout of something that is part of it ended before it had come to its end",
        "nothing; or a longer timeout",
    ),
    reasons.FAILED: Meaning(
        "the database reported an error, or could not be reached; what was computed may be what stands in for an "
        "answer",
        "nothing, if that is rare; or handle the error outside of it",
    ),
    reasons.OVERLAPPING: Meaning(
        "a generator with a cached part of its own was left in the middle, so that its reads cannot be distinguished",
        "let the generator run out, or close it",
    ),
    reasons.VARIABLE: Meaning(
        "a fragment uses a variable of its template that has no exact form, such as the request, or changes one",
        'give the fragment what it needs of it: {% ormcache "name" page=request.GET.page %}',
    ),
    reasons.TEMPLATE_STATE: Meaning(
        "a fragment uses what {% cycle %} or {% ifchanged %} remember outside of it, or has a {% block %} in it",
        "put the fragment inside of the block, or the whole loop into the fragment",
    ),
    reasons.OBSERVE: Meaning(
        'ENABLED is "observe": nothing is served, and functions, fragments and pages are not stored either',
        "set it to True",
    ),
    reasons.UNCACHED_DATABASE: Meaning(
        "it reads from a database whose ENGINE is none of ormcache's",
        "give it one",
    ),
    reasons.AUTHORIZATION: Meaning(
        "the request has an Authorization header",
        "nothing; or name whom the page is for by another header, and by per as a function",
    ),
    reasons.LOGGED_IN: Meaning(
        'per="anonymous", and the visitor is logged in',
        'nothing, or per="user"',
    ),
    reasons.UNNAMED: Meaning(
        "the function given as per returned None; or the page cannot be named: the host is not allowed, or"
        " what the view uses of what middleware has set on the request, or an argument of the view, or what the view"
        " encloses, has no exact form",
        "nothing; or read the object in the view, and pass plain values",
    ),
    reasons.REQUEST_BODY: Meaning(
        "the request has a body, on which its page may depend",
        "use POST, or put what the body says into the query string",
    ),
    reasons.SESSION: Meaning(
        "the view has used or changed the session, or shows its key, and the page is not named by what is in it",
        'per="session", or leave out what comes from the session and fetch it by a request of its own',
    ),
    reasons.USER: Meaning(
        "the view has used a user whom the page is not named by: one who is not from Django's session, or, "
        "where per is a function, one of whom that function has read nothing",
        "let per be a function that names the user",
    ),
    reasons.LATE_MIDDLEWARE: Meaning(
        "the middleware that finds the session or the user comes after the one that caches pages, which therefore does "
        "not know whose page it is",
        "move CachePageMiddleware to the end of MIDDLEWARE",
    ),
    reasons.MESSAGES: Meaning(
        "there are messages for this visitor to see, or the view has added one",
        "nothing; the next request is served from the cache",
    ),
    reasons.CSRF: Meaning(
        "the page has a CSRF token, which is one visitor's own",
        "fetch the form by a request of its own, or read the token from its cookie in JavaScript",
    ),
    reasons.NONCE: Meaning(
        "the page has a nonce of the Content-Security-Policy, which is one response's own",
        "allow scripts by hashes or by their files, in place of nonces",
    ),
    reasons.COOKIE: Meaning(
        "the response sets a cookie",
        "set it in another view, or in middleware around the page",
    ),
    reasons.PRIVATE: Meaning(
        "the response's Cache-Control says private, no-store or no-cache",
        "nothing; the view says so",
    ),
    reasons.VARY: Meaning(
        "the response's Vary is *, or the view reads all headers or cookies, or more than 32 of them",
        "read those by their names that the page depends on",
    ),
    reasons.STATUS: Meaning(
        "the response's status is none of statuses",
        "nothing; or pass statuses=(200, 404)",
    ),
    reasons.STREAMING: Meaning(
        "a streaming response, which is never in memory as a whole",
        "return an HttpResponse",
    ),
    reasons.NOT_RENDERED: Meaning(
        "the response is rendered only after the decorator has returned it",
        'decorate the view\'s dispatch: method_decorator(cache_page(), name="dispatch")',
    ),
}
