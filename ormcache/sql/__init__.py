"""What one SQL text is: its tokens, its kind, the names in it. Knows no Django and no database."""

from ormcache.sql.analysis import analyse, names_in
from ormcache.sql.lexer import VENDORS
from ormcache.sql.reading import reads_clock
from ormcache.sql.statement import Effect, Name, SessionChange, Statement

__all__ = ["VENDORS", "Effect", "Name", "SessionChange", "Statement", "analyse", "names_in", "reads_clock"]
