"""What one SQL text is: its tokens, its kind, the names in it. Knows no Django and no database."""

from ormcache.sql.lexer import VENDORS
from ormcache.sql.statement import Effect, SessionChange, Statement, analyse, names_in, reads_clock

__all__ = ["VENDORS", "Effect", "SessionChange", "Statement", "analyse", "names_in", "reads_clock"]
