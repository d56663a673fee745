"""What one SQL text is: its tokens, its kind, the names in it. Knows no Django and no database."""

from ormcache.sql.analysis import analyse
from ormcache.sql.lexer import VENDORS
from ormcache.sql.lists import collapsed
from ormcache.sql.masking import masked
from ormcache.sql.reading import reads_clock
from ormcache.sql.search_path import split_path
from ormcache.sql.settings import setting
from ormcache.sql.statement import Effect, Name, Parameter, SessionChange, Statement
from ormcache.sql.stored import Stored, read_stored
from ormcache.sql.vocabulary import OTHER

__all__ = [
    "OTHER",
    "VENDORS",
    "Effect",
    "Name",
    "Parameter",
    "SessionChange",
    "Statement",
    "Stored",
    "analyse",
    "collapsed",
    "masked",
    "read_stored",
    "reads_clock",
    "setting",
    "split_path",
]
