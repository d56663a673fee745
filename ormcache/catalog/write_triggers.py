"""Knows the triggers that ``manage.py ormcache triggers`` installs: their code, and how to recognize it.

They record what is written by sessions that are not ormcache's in the table ``ormcache_outbox``. Their code changes
nothing that a query of the project reads, so the catalog leaves them out, as long as it is exactly this code.
"""

from __future__ import annotations

import hashlib
import re

#: PostgreSQL: the trigger of each table, and the function that all of them run
POSTGRESQL_NAME = "ormcache_record_write"
#: PostgreSQL: the channel that is notified of new rows in the outbox
CHANNEL = "ormcache_outbox"
#: PostgreSQL: the setting by which a session of ormcache says which tables it publishes the writes to
WRITER_SETTING = "ormcache.writer"
#: MySQL: the same as a user variable
WRITER_VARIABLE = "@ormcache_writer"

# One row a table and transaction, however many statements write to it: the setting ends with the transaction, and a
# rollback to a savepoint takes it back together with the row.
_POSTGRESQL_BODY = """
DECLARE
    recorded text := 'ormcache.recorded_' || TG_RELID;
BEGIN
    IF current_setting(recorded, true) = 'yes' THEN
        RETURN NULL;
    END IF;
    INSERT INTO {outbox} (relation, written_at) VALUES (
        CASE TG_TABLE_SCHEMA WHEN 'public' THEN '' ELSE TG_TABLE_SCHEMA || '.' END || TG_TABLE_NAME,
        clock_timestamp()
    );
    PERFORM set_config(recorded, 'yes', true), pg_notify('ormcache_outbox', '');
    RETURN NULL;
END
"""

# Runs for each row, and adds a row to the outbox for the first one of a statement. NOW() is the moment at which the
# statement began, and no two statements of a session begin in the same microsecond, unless the session has set its own
# clock ("SET timestamp"): to a full second, mostly, or to long ago. Then there is a row for each row that is written.
_MYSQL_BODY = """BEGIN
    IF NOT (@ormcache_writer <=> {writer}) THEN
        IF NOT (@ormcache_{key} <=> NOW(6) + 0) THEN
            INSERT INTO ormcache_outbox (relation, written_at) VALUES ({relation}, UTC_TIMESTAMP(6));
            SET @ormcache_{key} = IF(
                MICROSECOND(NOW(6)) > 0 AND ABS(TIMESTAMPDIFF(SECOND, NOW(6), SYSDATE(6))) < 600, NOW(6) + 0, NULL
            );
        END IF;
    END IF;
END"""

#: MySQL: what a trigger of each table is made for
EVENTS = ("INSERT", "UPDATE", "DELETE")


def postgresql_body(outbox: str) -> str:
    """Return the code of the function. ``outbox``: the table as SQL names it, with its schema."""
    return _POSTGRESQL_BODY.replace("{outbox}", outbox)


def mysql_body(table: str, writer: int) -> str:
    """Return the code of a table's triggers. ``writer``: the sessions that they leave out, see TableRules.writer."""
    body = _MYSQL_BODY.replace("{writer}", str(writer)).replace("{key}", _key(table))
    return body.replace("{relation}", _quoted(table))


def mysql_name(event: str, table: str) -> str:
    """Return the name of a table's trigger for one of the :data:`EVENTS`, which no other table's has."""
    return f"ormcache_{event.lower()}_{_key(table)}"


def _key(table: str) -> str:
    return hashlib.blake2b(table.encode(), digest_size=8).hexdigest()


def _quoted(table: str) -> str:
    """Return a name as a string that reads the same in every SQL mode, and in ``information_schema``."""
    return f"CONVERT(0x{table.encode().hex()} USING utf8mb4)"


def _pattern(body: str, **placeholders: str) -> re.Pattern[str]:
    pattern = re.escape(body)
    for name, value in placeholders.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), value)
    return re.compile(pattern)


_POSTGRESQL_CODE = _pattern(_POSTGRESQL_BODY, outbox=r'(?:[a-z_]\w*|"(?:[^"]|"")+")\.ormcache_outbox')
_MYSQL_CODE = _pattern(_MYSQL_BODY, writer=r"\d+", key="[0-9a-f]{16}", relation=r"CONVERT\(0x[0-9a-f]+ USING utf8mb4\)")


def is_postgresql_function(name: str, source: str | None) -> bool:
    """Return whether a function is the one that the triggers run."""
    return name == POSTGRESQL_NAME and source is not None and _POSTGRESQL_CODE.fullmatch(source) is not None


def is_mysql_trigger(name: str, body: str | None) -> bool:
    """Return whether a trigger is one of ormcache's."""
    return name.startswith("ormcache_") and body is not None and _MYSQL_CODE.fullmatch(body) is not None
