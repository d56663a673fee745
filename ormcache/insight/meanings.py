"""What each reason means and what one can do about it: the words of ``docs/reasons.md``, for programs to show."""

from __future__ import annotations

from typing import NamedTuple

from ormcache import reasons


class Meaning(NamedTuple):
    text: str
    remedy: str


#: Reason → its row in the documentation, without links and code marks
MEANINGS = {
    reasons.CHUNKED: Meaning(
        ".iterator() streams its rows and does not keep them",
        "nothing, or leave .iterator() out where the result is small",
    ),
    reasons.LOCKING: Meaning(
        "select_for_update(), FOR SHARE or LOCK IN SHARE MODE: the lock has to be taken",
        "nothing; that is what it is for",
    ),
    reasons.EXPLAIN: Meaning(
        ".explain() asks about the query",
        "nothing",
    ),
    reasons.NOT_A_READ: Meaning(
        "the statement writes, or changes the session or the schema",
        "nothing",
    ),
    reasons.CLOCK: Meaning(
        "it reads the time: now(), CURRENT_DATE, 'today'",
        "pass the time as a parameter, rounded as far as the page allows: filter(until__gt=today) with today = "
        "date.today(), in place of filter(until__gt=Now())",
    ),
    reasons.RANDOM: Meaning(
        'order_by("?"), random(), a new UUID, TABLESAMPLE',
        "choose in Python from a cached list of ids",
    ),
    reasons.SEQUENCE: Meaning(
        "nextval(), NEXT VALUE FOR, LAST_INSERT_ID(), changes() and the like",
        "nothing",
    ),
    reasons.SESSION_FUNCTION: Meaning(
        "the answer depends on the session: current_user, current_setting(), @@variables, advisory locks",
        "pass the value as a parameter",
    ),
    reasons.FUNCTION: Meaning(
        "a function that is not known to give the same answer again: one of your own, or one of an extension",
        "PostgreSQL: declare your function IMMUTABLE, if that is true. It then may read no table",
    ),
    reasons.NOT_UNDERSTOOD: Meaning(
        "the text could not be read to its end, has several statements, or is enormous: more than a million "
        "characters, or than 100,000 words and signs",
        "nothing, or write the fragment of raw SQL in it in plainer words",
    ),
    reasons.PARAMETER: Meaning(
        "a parameter of a type whose value cannot be told exactly, a geometry for instance",
        "pass a plain type",
    ),
    reasons.BLACKLISTED: Meaning(
        "one of the tables is in BLACKLIST, or not in ONLY",
        "nothing; you asked for it",
    ),
    reasons.TEMPORARY: Meaning(
        "this session has made one, which may hide a table of that name from it alone",
        "nothing; a new connection, or DISCARD ALL, begins afresh",
    ),
    reasons.SYSTEM_CATALOG: Meaning(
        "pg_…, information_schema, sqlite_… and PostgreSQL's ctid change without a write that could be seen",
        "nothing",
    ),
    reasons.UNKNOWN_RELATION: Meaning(
        "a name that is no table or view which this user can see in the database",
        "qualify it with its schema; on MySQL, tables of another database are not cached",
    ),
    reasons.FOREIGN_TABLE: Meaning(
        "its rows are elsewhere, and others write them. On SQLite: a virtual table of a module other than FTS and "
        "R*Tree",
        "list it in FOREIGN_TABLES if rows that are out of date for a while do no harm",
    ),
    reasons.UNLOGGED: Meaning(
        "or a table with such a partition: PostgreSQL empties it after a crash and tells nobody",
        "ALTER TABLE … SET LOGGED",
    ),
    reasons.NOT_TRANSACTIONAL: Meaning(
        "a storage engine whose rows change before COMMIT (MyISAM, MEMORY, Aria)",
        "ALTER TABLE … ENGINE=InnoDB",
    ),
    reasons.DISABLED: Meaning(
        "inside ormcache.disabled(), or ENABLED is False",
        "nothing; you asked for it",
    ),
    reasons.NO_STORE: Meaning(
        "the database is not certain to be on this host and no STORE is named; or the connection leads to no database",
        "name a store",
    ),
    reasons.UNIDENTIFIED: Meaning(
        "the server did not tell who it is, or its catalog could not be read",
        "look at the log of ormcache: it has the error, often a missing right",
    ),
    reasons.REPLICA: Meaning(
        "the server is a replica, or read-only, and PRIMARY is not named, or is not cached or not reachable itself",
        "name it",
    ),
    reasons.DIRTY: Meaning(
        "this transaction has written one of the tables: you read your own writes from the database",
        "keep transactions short; read first, then write",
    ),
    reasons.SNAPSHOT: Meaning(
        "the transaction may see older rows than the cache: above READ COMMITTED, or on SQLite after its first "
        "statement",
        "READ COMMITTED, where that is enough; read before the transaction begins",
    ),
    reasons.UNCOMMITTED: Meaning(
        "READ UNCOMMITTED shows rows that may never be committed",
        "another isolation level",
    ),
    reasons.SESSION: Meaning(
        "something was set in this session that cannot be followed: a procedure was called, DISCARD, an SQL_MODE "
        "under which SQL reads differently, or the driver's connection was replaced",
        "use SET name = value or SELECT set_config(name, value, false); a new connection begins afresh",
    ),
    reasons.BROKEN_TRANSACTION: Meaning(
        "an error has ended the transaction; Django lets nothing run until it is rolled back",
        "nothing",
    ),
    reasons.NOT_WORTH: Meaning(
        "asking the cache for this query has cost more time than it saved: its tables are written all the time, or "
        "the query is quicker than the store",
        "nothing; it is tried again. ormcache.left_alone() has the figures, PINNED overrules",
    ),
    reasons.STORE_AWAY: Meaning(
        "the store did not answer, or answered with an error",
        "look at the log of ormcache; what it means for writes",
    ),
    reasons.PENDING: Meaning(
        "this process has written the table while the store was away and could not tell it yet",
        "as above",
    ),
    reasons.TOO_MANY_ROWS: Meaning(
        "more than MAX_ROWS",
        "raise it, or read less",
    ),
    reasons.TOO_LARGE: Meaning(
        "more than MAX_BYTES, more than one item of memcached may have, more than about a twentieth of the embedded "
        "store, or Redis has no memory left",
        "raise the limit, give the store more room or an eviction policy, or read fewer columns",
    ),
    reasons.UNENCODABLE: Meaning(
        "a value of a type that would not come back equal in value and in type",
        "nothing, or cast it in the query",
    ),
    reasons.MARKED: Meaning(
        "a writer was committing to one of the tables, or somebody was changing the schema, at that moment",
        "nothing. Often, for one table: it is written all the time, and BLACKLIST may be the place for it",
    ),
    reasons.OPEN_CURSOR: Meaning(
        "SQLite: an unfinished SELECT of this connection holds an older state of the database",
        "fetch results to their end, close cursors, let .iterator() run out",
    ),
    reasons.ON_REPLICA: Meaning(
        "a replica's rows may be older than the stamps",
        "nothing; the primary fills the cache",
    ),
}
