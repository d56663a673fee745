"""Judgements on databases, tables, queries and pages, and what to change: from the statistics of a whole deployment.

What can be computed is computed elsewhere. The modules here draw conclusions and put them into words:
:mod:`~ormcache.diagnostics.advice.thresholds` says how much has to be known before; then there is a module for each
kind of subject; :mod:`~ormcache.diagnostics.advice.judgements` puts them in order, and
:mod:`~ormcache.diagnostics.advice.snippets` adds settings that are ready to paste.
"""

from ormcache.diagnostics.advice.advice import Advice, AdviceContext, Verdict, advice_context, describe_remedy
from ormcache.diagnostics.advice.derived import judge_derived
from ormcache.diagnostics.advice.judgements import advise
from ormcache.diagnostics.advice.queries import judge_query
from ormcache.diagnostics.advice.tables import judge_table

__all__ = [
    "Advice",
    "AdviceContext",
    "Verdict",
    "advice_context",
    "advise",
    "describe_remedy",
    "judge_derived",
    "judge_query",
    "judge_table",
]
